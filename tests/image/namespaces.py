"""Run an image without a container engine: in namespaces of its own, as an engine would.

Mount, process, network, IPC and host name namespaces; the image's file system as a read-only root, /proc, a small /dev
and /tmp; the image's user, environment, working folder and entry point; no capability, no new privileges.  Needs root.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from engines import Built, Mount
from shell import WORK, Failed, run

__all__ = ["NamespaceContainer"]

_NAMESPACES = ("--mount", "--pid", "--net", "--ipc", "--uts")
# Runs as the first process of the new namespaces; its arguments are the root, the mounts as JSON, and the command.
_INSIDE = """
set -eu
root=$1; shift
mount --make-rprivate /
mount --rbind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o size=64k,mode=755 tmpfs "$root/dev"
for each in null zero full random urandom; do : >"$root/dev/$each"; mount --bind "/dev/$each" "$root/dev/$each"; done
mount -t tmpfs -o size=1m,mode=755 tmpfs "$root/run"
mount -t tmpfs -o size=16m,mode=1777,noexec,nosuid,nodev tmpfs "$root/tmp"
while [ "$1" != -- ]; do
    if [ -d "$1" ]; then mkdir -p "$root$2"; else mkdir -p "$root$(dirname "$2")"; [ -e "$root$2" ] || : >"$root$2"; fi
    mount --bind "$1" "$root$2"
    [ "$3" = rw ] || mount -o remount,bind,ro "$root$2"
    shift 3
done
shift
for each in "$root" "$root/run" "$root/dev"; do mount -o remount,bind,ro "$each"; done
echo 0 >/proc/sys/net/ipv4/ip_unprivileged_port_start
ip link set lo up
exec chroot "$root" "$@"
"""


class NamespaceContainer:
    """A container of our own making, from an image that buildah or podman holds."""

    def __init__(self, image: Built, mounts: Iterable[Mount], environ: Mapping[str, str]) -> None:
        if os.geteuid() != 0:
            raise Failed("without docker or podman, only root can run the image (in namespaces of its own)")
        hosts = WORK / "hosts"
        hosts.write_text("127.0.0.1 localhost\n::1 localhost\n")
        self._mounts = [*mounts, Mount(hosts, "/etc/hosts")]
        self._engine = image.engine
        self._source = image.name
        if image.engine == "buildah":
            self._source = run("buildah", "from", "--pull-never", image.name).strip()
            self._root = run("buildah", "mount", self._source).strip()
            config = json.loads(run("buildah", "inspect", "--type=image", image.name))["OCIv1"]["config"]
        else:
            self._root = run("podman", "image", "mount", image.name).strip()
            config = json.loads(run("podman", "image", "inspect", image.name))[0]["Config"]
        user, _, group = config["User"].partition(":")
        self._entry = config["Entrypoint"]
        self._environ = [*config["Env"], *(f"{name}={value}" for name, value in environ.items())]
        self._as_user = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", "--inh-caps=-all"]
        self._as_user += ["--bounding-set=-all", "--no-new-privs", "/usr/bin/env", "-i", *self._environ]
        self._as_user += ["--chdir=" + config["WorkingDir"]]
        self._first = 0
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run the image's entry point with *arguments*; its standard output is a pipe."""
        mounts = [word for each in self._mounts for word in _words(each)]
        command = ["unshare", *_NAMESPACES, "--fork", "--kill-child", "sh", "-c", _INSIDE, "sh", self._root]
        self._process = subprocess.Popen(
            [*command, *mounts, "--", *self._as_user, *self._entry, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._first = _only_child(self._process)
        return self._process

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs *command* in the running container."""
        return ["nsenter", f"--target={self._first}", *_NAMESPACES, "--root", "--", *self._as_user, *command]

    def stop(self) -> None:
        """Send SIGTERM to its first process."""
        os.kill(self._first, signal.SIGTERM)

    def remove(self) -> None:
        """Leave nothing of it."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self._first, signal.SIGKILL)  # and with it all that runs inside
            self._process.wait()
        with suppress(Failed):
            if self._engine == "buildah":
                run("buildah", "rm", self._source)
            else:
                run("podman", "image", "unmount", self._source)


def _words(mount: Mount) -> tuple[str, str, str]:
    return str(mount.here), mount.there, "rw" if mount.is_writable else "ro"


def _only_child(process: subprocess.Popen[str]) -> int:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 5
    while time.monotonic() < until and process.poll() is None:
        words = children.read_text().split()
        if words:
            return int(words[0])
        time.sleep(0.005)
    _, errors = process.communicate()
    print(errors, file=sys.stderr)
    raise Failed("unshare: made no process")
