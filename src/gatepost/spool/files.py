"""The file operations of the spool, each reachable by name so that a test can make it fail once."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["Files"]


class Files:
    """The real ones.  All of them wait for the disk: call them in a thread, never in the event loop."""

    def create(self, path: Path) -> int:
        """Open a new file to write; return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, fd: int, data: bytes | bytearray) -> None:
        """Write all of *data* at the end."""
        with memoryview(data) as rest:
            done = 0
            while done < len(rest):
                done += os.write(fd, rest[done:])

    def sync(self, fd: int) -> None:
        """Wait until the file's content is durable."""
        os.fsync(fd)

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are durable."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def read(self, path: Path, size: int, offset: int) -> bytes:
        """Read up to *size* octets from *offset*."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, size, offset)
        finally:
            os.close(fd)

    def statvfs(self, path: Path) -> os.statvfs_result:
        """Ask for free space and inodes."""
        return os.statvfs(path)
