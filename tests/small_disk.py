"""A file system of a few megabytes that a test can fill: a tmpfs, or an ext4 in a file; mounting needs root.

An ordinary user is root in a namespace of their own: `in_a_namespace` runs a test file there.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from servers import wait_for

__all__ = ["Ballast", "ext4", "in_a_namespace", "missing_namespace", "tmpfs"]

_INSIDE = "GATEPOST_TESTS_IN_A_NAMESPACE"


class Ballast:
    """Somebody else who fills the disk."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._folder = disk / "ballast"

    @property
    def free_bytes(self) -> int:
        """What is free for us."""
        answer = os.statvfs(self._disk)
        return answer.f_bavail * answer.f_frsize

    @property
    def free_inodes(self) -> int:
        """How many files can still be made."""
        return os.statvfs(self._disk).f_favail

    def leave_bytes(self, count: int) -> None:
        """Fill the disk until no more than *count* octets are free."""
        self._folder.mkdir(exist_ok=True)
        with contextlib.suppress(OSError), (self._folder / "octets").open("ab", buffering=0) as file:
            while (more := self.free_bytes - count) > 0:
                file.write(bytes(min(max(more, 4096), 1 << 20)))

    def leave_inodes(self, count: int) -> None:
        """Make files until no more than *count* can be made."""
        self._folder.mkdir(exist_ok=True)
        with contextlib.suppress(OSError):
            while self.free_inodes > count:
                (self._folder / f"file-{self.free_inodes}").touch()

    def drop(self) -> None:
        """Give everything back."""
        shutil.rmtree(self._folder)


@contextlib.contextmanager
def _mounted(folder: Path, *words: str) -> Iterator[Ballast]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", *words, str(folder)], check=True, capture_output=True)
    try:
        yield Ballast(folder)
    finally:
        try:
            wait_for(
                "the disk to be free",
                lambda: not subprocess.run(["umount", str(folder)], capture_output=True).returncode,
            )
        except TimeoutError:
            # Nobody else shall find it there, whoever still has it.
            subprocess.run(["umount", "-l", str(folder)], check=True)
            raise


@contextlib.contextmanager
def tmpfs(folder: Path, *, size: str = "32m", inodes: int = 10_000) -> Iterator[Ballast]:
    """Mount an empty tmpfs at *folder*."""
    with _mounted(folder, "-t", "tmpfs", "-o", f"size={size},nr_inodes={inodes},mode=0700", "none") as ballast:
        yield ballast


@contextlib.contextmanager
def ext4(folder: Path, image: Path, *, size_bytes: int = 48 << 20) -> Iterator[Ballast]:
    """Mount an ext4 at *folder*: it turns read-only at an error, as the root file system of most servers does.

    Args:
        folder: where.
        image: the file that it lies in; made if it is missing, mended if it was given up.
        size_bytes: how large, if it is made.
    """
    if image.exists():
        subprocess.run(["e2fsck", "-fy", str(image)], check=False, capture_output=True)
    else:
        with image.open("wb") as file:
            file.truncate(size_bytes)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True, capture_output=True)
    with _mounted(folder, "-o", "loop,errors=remount-ro", str(image)) as ballast:
        yield ballast


def missing_namespace() -> str:
    """Say why nothing can be mounted here, not even in a namespace; empty if it can."""
    if os.environ.get(_INSIDE):
        return "this is the namespace"
    if os.geteuid() == 0:
        return "root needs no namespace"
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        return "an ordinary user may make no namespace here (unshare -Urm)"
    return ""


def in_a_namespace(test_file: str, config: Path) -> subprocess.CompletedProcess[str]:
    """Run the tests of a file as root of a namespace of their own."""
    return subprocess.run(
        [
            "unshare",
            "-Urm",
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            str(config),
            test_file,
        ],
        env={**os.environ, _INSIDE: "1"},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
