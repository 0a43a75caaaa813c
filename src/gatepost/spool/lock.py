"""The lock of a spool's folder: one process works on it at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolUnavailable

__all__ = ["LOCK_FILE", "FolderLock"]

LOCK_FILE: Final = "lock"


class FolderLock:
    """Held from the making until `release`, or until the process ends, however it ends.

    Raises:
        SpoolUnavailable: another process, or another spool of this one, holds it.
        OSError: the lock file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(self._fd, 20, 0).decode("ascii", "replace").strip()
            self.release()
            raise SpoolUnavailable(
                f"{folder}: the spool is in use by {f'process {owner}' if owner else 'another process'}"
            ) from None
        except OSError:
            self.release()
            raise
        # For people only: on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; harmless a second time."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
