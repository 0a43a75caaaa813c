"""Which folders would vanish with a container: mounts as Docker, Podman, Kubernetes and Buildah make them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.config.check import check
from gatepost.config.load import load
from gatepost.config.vanishing import Mount, holder, parse_mounts, why_vanishing

HEX = "0f" * 32
IMAGE = {"GATEPOST_IMAGE": "1.0"}

DOCKER = """\
611 520 0:51 / / ro,relatime master:211 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/A:/x
612 611 0:54 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
613 611 0:55 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
616 611 0:58 / /tmp rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,size=16384k
617 611 254:1 /var/lib/docker/containers/ab/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
"""
DOCKER_VOLUME = (
    "618 611 254:1 /var/lib/docker/volumes/mail_state/_data /var/lib/gatepost rw,relatime - ext4 /dev/vda1 rw\n"
)
DOCKER_NAMELESS = (
    f"618 611 254:1 /var/lib/docker/volumes/{HEX}/_data /var/lib/gatepost rw,relatime - ext4 /dev/vda1 rw\n"
)
DOCKER_NAMELESS_OWN_DISK = f"618 611 254:2 /volumes/{HEX}/_data /var/lib/gatepost rw,relatime - xfs /dev/vdb rw\n"
DOCKER_BIND = "618 611 254:1 /srv/mail /var/lib/gatepost rw,relatime - ext4 /dev/vda1 rw\n"
DOCKER_BIND_ABOVE = "618 611 254:1 /srv /var/lib rw,relatime - ext4 /dev/vda1 rw\n"
DOCKER_TMPFS = "618 611 0:60 / /var/lib/gatepost rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw\n"
DOCKER_IN_DOCKER = (
    "618 611 0:77 /var/lib/docker/volumes/state/_data /var/lib/gatepost rw - overlay overlay rw,lowerdir=/x\n"
)
PODMAN = "700 650 0:90 / / rw,relatime - overlay overlay rw,lowerdir=/home/tim/containers/storage/overlay/l/A\n"
PODMAN_FUSE = "700 650 0:90 / / rw,relatime - fuse.fuse-overlayfs fuse-overlayfs rw,user_id=0,group_id=0\n"
PODMAN_VOLUME = (
    "701 700 254:1 /home/tim/containers/storage/volumes/state/_data /var/lib/gatepost rw - ext4 /dev/sda rw\n"
)
PODMAN_NAMELESS = (
    f"701 700 254:1 /home/tim/containers/storage/volumes/{HEX}/_data /var/lib/gatepost rw - ext4 /dev/sda rw\n"
)
PODMAN_OVERLAID_VOLUME = "701 700 0:91 / /var/lib/gatepost rw - overlay overlay rw,lowerdir=/srv/mail,upperdir=/tmp/x\n"
KUBERNETES = (
    "900 800 0:120 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containerd/io.containerd.snapshotter\n"
)
_POD = "/var/lib/kubelet/pods/6c2d5f1e-0000-4000-8000-000000000000/volumes"
EMPTY_DIR = f"901 900 259:1 {_POD}/kubernetes.io~empty-dir/state /var/lib/gatepost rw - ext4 /dev/nvme0n1p1 rw\n"
EMPTY_DIR_IN_MEMORY = "901 900 0:130 / /var/lib/gatepost rw,relatime - tmpfs tmpfs rw,size=1024k\n"
CLAIM_ON_A_DISK = "901 900 259:4 / /var/lib/gatepost rw,relatime - ext4 /dev/nvme1n1 rw\n"
CLAIM_ON_THE_NODE = (
    f"901 900 259:1 {_POD}/kubernetes.io~local-volume/pv-1 /var/lib/gatepost rw - ext4 /dev/nvme0n1p1 rw\n"
)
CLAIM_BY_NFS = "901 900 0:140 / /var/lib/gatepost rw,relatime - nfs4 10.0.0.5:/export/mail rw\n"
CONTAINERD_NAMELESS = (
    f"901 900 259:1 /var/lib/containerd/io.containerd.grpc.v1.cri/containers/{HEX}/volumes/{HEX} /var/lib/gatepost rw "
    "- ext4 /dev/nvme0n1p1 rw\n"
)
BUILDAH = """\
171 170 0:39 / / rw,relatime - overlay overlay rw,lowerdir=/var/lib/containers/storage/overlay/l/A
172 171 0:6 / /dev ro,nosuid,noexec,relatime - devtmpfs devtmpfs rw,size=12334460k,mode=755
177 171 0:21 / /proc rw,relatime - proc proc rw
185 171 0:22 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs rw
"""
BUILDAH_VOLUME = (
    f"239 171 254:0 /var/lib/containers/storage/overlay-containers/{HEX}/userdata/buildah-volumes/0a "
    "/var/lib/gatepost rw - ext4 /dev/vda rw\n"
)
HOST = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
30 27 0:25 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw
"""

VANISHES = {
    "docker": DOCKER,
    "docker, tmpfs": DOCKER + DOCKER_TMPFS,
    "docker, volume without a name": DOCKER + DOCKER_NAMELESS,
    "docker, volume without a name, on a disk for volumes": DOCKER + DOCKER_NAMELESS_OWN_DISK,
    "podman": PODMAN,
    "podman, fuse": PODMAN_FUSE,
    "podman, volume without a name": PODMAN + PODMAN_NAMELESS,
    "podman, volume under an overlay": PODMAN + PODMAN_OVERLAID_VOLUME,
    "kubernetes": KUBERNETES,
    "kubernetes, emptyDir": KUBERNETES + EMPTY_DIR,
    "kubernetes, emptyDir in memory": KUBERNETES + EMPTY_DIR_IN_MEMORY,
    "kubernetes, volume of the image": KUBERNETES + CONTAINERD_NAMELESS,
    "buildah": BUILDAH,
    "buildah, volume of the image": BUILDAH + BUILDAH_VOLUME,
}
STAYS = {
    "docker, volume": DOCKER + DOCKER_VOLUME,
    "docker, folder of the host": DOCKER + DOCKER_BIND,
    "docker, folder of the host above it": DOCKER + DOCKER_BIND_ABOVE,
    "docker in docker, volume": DOCKER + DOCKER_IN_DOCKER,
    "podman, volume": PODMAN + PODMAN_VOLUME,
    "kubernetes, claim on a disk": KUBERNETES + CLAIM_ON_A_DISK,
    "kubernetes, claim on the node": KUBERNETES + CLAIM_ON_THE_NODE,
    "kubernetes, claim by NFS": KUBERNETES + CLAIM_BY_NFS,
}
STATE = Path("/var/lib/gatepost")


def machine(folder: Path, mountinfo: str, first: bytes = b"/sbin/init\0") -> Path:
    """Make a root with a ``/proc`` that says this."""
    for name, content in (("self/mountinfo", mountinfo.encode()), ("1/cmdline", first)):
        path = folder / "proc" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("mountinfo", VANISHES.values(), ids=VANISHES)
def test_what_would_vanish_with_our_image_is_seen(mountinfo: str, tmp_path: Path) -> None:
    assert why_vanishing(STATE, IMAGE, machine(tmp_path, mountinfo)).startswith("it lies in ")


@pytest.mark.parametrize("mountinfo", STAYS.values(), ids=STAYS)
def test_what_outlives_a_container_is_good(mountinfo: str, tmp_path: Path) -> None:
    assert why_vanishing(STATE, IMAGE, machine(tmp_path, mountinfo)) == ""


@pytest.mark.parametrize("mountinfo", [*VANISHES.values(), HOST], ids=[*VANISHES, "host"])
@pytest.mark.parametrize("first", [b"bash\0", b"/sbin/init\0", b"", b"make\0serve\0", b"vi\0/src/gatepost\0"])
def test_a_container_that_is_there_for_something_else_is_left_alone(
    mountinfo: str, first: bytes, tmp_path: Path
) -> None:
    assert why_vanishing(STATE, {"GATEPOST_IMAGE": ""}, machine(tmp_path, mountinfo, first)) == ""


@pytest.mark.parametrize(
    "first",
    [
        b"/usr/bin/python3\0/opt/gatepost/bin/gatepost\0serve\0",
        b"/sbin/docker-init\0--\0gatepost\0serve\0--config\0/etc/x.toml\0",
        b"python\0-m\0gatepost\0serve\0",
    ],
)
def test_another_image_whose_first_process_is_gatepost_is_judged(first: bytes, tmp_path: Path) -> None:
    assert why_vanishing(STATE, {}, machine(tmp_path / "a", DOCKER, first)) == "it lies in the container itself"
    assert why_vanishing(STATE, {}, machine(tmp_path / "b", DOCKER + DOCKER_VOLUME, first)) == ""
    # A process namespace on a host, whose root is a disk: no container, whatever lies in memory there.
    assert why_vanishing(Path("/tmp/state"), {}, machine(tmp_path / "c", HOST, first)) == ""


def test_the_root_of_our_image_vanishes_on_whatever_it_lies(tmp_path: Path) -> None:
    btrfs = "40 39 0:33 /subvolumes/1 / rw - btrfs /dev/sda rw\n"
    assert why_vanishing(STATE, IMAGE, machine(tmp_path / "a", btrfs)) == "it lies in the container itself"
    assert why_vanishing(STATE, IMAGE, machine(tmp_path / "b", "")) == "it lies in the container itself"


def test_a_machine_that_tells_nothing_is_not_judged(tmp_path: Path) -> None:
    assert why_vanishing(STATE, IMAGE, tmp_path) == ""
    assert why_vanishing(STATE, {}, tmp_path) == ""


def test_a_symbolic_link_counts_as_what_it_leads_to(tmp_path: Path) -> None:
    real, link = tmp_path / "volume", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    mountinfo = PODMAN + f"701 700 254:1 /srv/mail {real.resolve()} rw,relatime - ext4 /dev/vda1 rw\n"
    root = machine(tmp_path / "root", mountinfo)
    assert why_vanishing(link / "not" / "made" / "yet", IMAGE, root) == ""
    assert why_vanishing(tmp_path, IMAGE, root) == "it lies in the container itself"


def test_a_neighbour_with_a_longer_name_is_no_volume_of_ours(tmp_path: Path) -> None:
    mountinfo = DOCKER + "618 611 254:1 /srv/mail /var/lib/gatepost-old rw,relatime - ext4 /dev/vda1 rw\n"
    assert why_vanishing(STATE, IMAGE, machine(tmp_path, mountinfo)) == "it lies in the container itself"


def test_a_later_mount_above_hides_a_volume_below(tmp_path: Path) -> None:
    hidden = DOCKER + DOCKER_VOLUME + "619 611 0:70 / /var/lib rw - tmpfs tmpfs rw\n"
    # The volume stands in the mount that is hidden now: both are children of the root.
    assert why_vanishing(STATE, IMAGE, machine(tmp_path / "a", hidden)) == "it lies in memory (tmpfs)"
    inside = DOCKER + "619 611 0:70 / /var/lib rw - tmpfs tmpfs rw\n" + DOCKER_VOLUME.replace("618 611", "618 619")
    assert why_vanishing(STATE, IMAGE, machine(tmp_path / "b", inside)) == ""


def test_of_two_mounts_at_one_place_the_upper_counts() -> None:
    lower = Mount(2, 1, "/", PurePosixPath("/a"), "tmpfs")
    upper = Mount(3, 2, "/", PurePosixPath("/a"), "ext4")
    root = Mount(1, 0, "/", PurePosixPath("/"), "overlay")
    assert holder(PurePosixPath("/a/b"), [upper, lower, root]) == upper
    assert holder(PurePosixPath("/ab"), [upper, lower, root]) == root
    assert holder(PurePosixPath("/b"), [lower]) is None


def test_mount_points_with_spaces_are_read() -> None:
    (mount,) = parse_mounts("1 0 0:1 /a\\040b /c\\134d\\011 rw shared:1 master:2 - ext4 /dev/sda rw\n")
    assert (mount.root, mount.point, mount.kind) == ("/a b", PurePosixPath("/c\\d\t"), "ext4")


@given(st.text(alphabet="0123456789 /-:\\aext4\n"))
def test_any_text_is_read_and_asked(text: str) -> None:
    mounts = parse_mounts(text)
    assert holder(PurePosixPath("/var/lib"), mounts) in (None, *mounts)


CONFIG = """
hostname = "mail.example.org"
state_dir = "state"
{more}
[[route]]
name = "sandbox"
transport = "sandbox"
path = "{sandbox}"
"""


def findings(folder: Path, more: str = "", environ: dict[str, str] | None = None) -> tuple[list[str], list[str]]:
    path = folder / "gatepost.toml"
    path.write_text(CONFIG.format(more=more, sandbox=folder / "sandbox"))
    found = check(load(path, environ or {}))
    keep = [[line for line in lines if "vanish" in line] for lines in (found.problems, found.warnings)]
    return keep[0], keep[1]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make this look like a container of our image whose file system has no volume."""
    monkeypatch.setattr("gatepost.config.check.why_vanishing", lambda path, environ: f"it is {path.name}")
    return tmp_path


def test_check_refuses_and_says_what_to_do(image: Path) -> None:
    problems, warnings = findings(image)
    assert problems == [
        f"{image}/gatepost.toml:3: state_dir: {image}/state would vanish with this container: it is state; "
        f"mount a volume there (docker run -v gatepost:{image}/state), or set state_may_vanish = true"
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("more", "environ"), [("state_may_vanish = true", {}), ("", {"GATEPOST_STATE_MAY_VANISH": "true"})]
)
def test_check_warns_if_it_was_told(image: Path, more: str, environ: dict[str, str]) -> None:
    problems, warnings = findings(image, more, environ)
    assert problems == []
    assert len(warnings) == 1
    assert f"state_dir: {image}/state will vanish with this container" in warnings[0]


def test_the_environment_can_take_it_back(image: Path) -> None:
    problems, _ = findings(image, "state_may_vanish = true", {"GATEPOST_STATE_MAY_VANISH": "false"})
    assert len(problems) == 1


def test_accounts_in_a_folder_of_their_own_are_looked_at_too(image: Path) -> None:
    problems, _ = findings(image, '[[store]]\ntype = "sqlite"\npath = "elsewhere/accounts.db"\n')
    assert all(f"{image}/{name} would" in line for name, line in zip(("state", "elsewhere"), problems, strict=True))
    assert "path: " in problems[1]


def test_a_host_hears_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GATEPOST_IMAGE", raising=False)
    assert findings(tmp_path) == ([], [])
