"""Tell whether a folder would vanish with the container that gatepost runs in, from what Linux says of its mounts.

Only a container that is there for gatepost is looked at: our own image (it sets ``GATEPOST_IMAGE``), or another with a
layered root whose first process is ``gatepost serve``.  On a host, or in a shell inside of somebody's container, where
people build and try, nothing is said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["Mount", "holder", "parse_mounts", "why_vanishing"]

_IMAGE = "GATEPOST_IMAGE"
_IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_LAYERED = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs", "fuse-overlayfs"})
# What engines make for a volume that nobody named: Docker, Podman, containerd for Kubernetes, Buildah.
_NAMELESS = re.compile(
    r"(?:^|/)[0-9a-f]{64}/_data(?:/|$)|/containers/[0-9a-f]{64}/volumes/[0-9a-f]{64}(?:/|$)|/buildah-volumes/"
)
_EMPTY_DIR = "/volumes/kubernetes.io~empty-dir/"
_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of ``/proc/self/mountinfo``.

    Args:
        number: of the mount.
        parent: number of the mount it stands in.
        root: which folder of its file system it shows.
        point: where it stands.
        kind: of file system.
    """

    number: int
    parent: int
    root: str
    point: PurePosixPath
    kind: str


def parse_mounts(text: str) -> list[Mount]:
    """Read ``/proc/self/mountinfo`` (proc_pid_mountinfo(5)); lines that are none are left out."""
    mounts = []
    for line in text.splitlines():
        words = line.split(" ")
        try:
            kind = words[words.index("-", 6) + 1]
            mounts.append(
                Mount(int(words[0]), int(words[1]), _unescape(words[3]), PurePosixPath(_unescape(words[4])), kind)
            )
        except (ValueError, IndexError):
            continue
    return mounts


def _unescape(word: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), word)


def holder(path: PurePosixPath, mounts: list[Mount]) -> Mount | None:
    """Find the mount that *path*, free of symbolic links, lies on; None if only the root does, and it is no mount.

    Goes the way the kernel goes, from mount to mount: a later one on a folder above hides those below it.
    """
    numbers = {mount.number for mount in mounts}
    found: Mount | None = None
    while True:
        inside = [
            mount
            for mount in mounts
            if path.is_relative_to(mount.point)
            and (mount.parent not in numbers if found is None else mount.parent == found.number != mount.number)
        ]
        if not inside:
            return found
        found = min(inside, key=lambda mount: len(mount.point.parts))


def why_vanishing(path: Path, environ: Mapping[str, str], root: Path = Path("/")) -> str:
    """Say why *path* would vanish with this container; "" if it would not, or if this is none of gatepost's.

    Args:
        path: the folder, which need not exist.
        environ: where our image marks itself.
        root: where ``proc`` is looked for.
    """
    is_image = bool(environ.get(_IMAGE))
    if not is_image and not _serves_first(root):
        return ""
    try:
        mounts = parse_mounts((root / "proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ""
    top = holder(PurePosixPath("/"), mounts)
    # A process namespace alone makes no container: its root may be a disk.
    if not is_image and (top is None or top.kind not in _LAYERED):
        return ""
    mount = holder(PurePosixPath(path.resolve()), mounts)
    if mount is None or mount.point == PurePosixPath("/"):
        return "it lies in the container itself"
    if mount.kind in _IN_MEMORY:
        return f"it lies in memory ({mount.kind})"
    if mount.kind in _LAYERED and mount.root == "/":
        return f"it lies in a layer of the container ({mount.kind})"
    if _EMPTY_DIR in mount.root:
        return "it lies in an emptyDir of the pod"
    if _NAMELESS.search(mount.root):
        return "it lies in a volume without a name, which no other container finds again"
    return ""


def _serves_first(root: Path) -> bool:
    """Tell whether the first process is ``gatepost serve``, perhaps behind a small init."""
    try:
        words = (root / "proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    names = [PurePosixPath(word).name for word in words]
    return "gatepost" in names and "serve" in names[names.index("gatepost") + 1 :]
