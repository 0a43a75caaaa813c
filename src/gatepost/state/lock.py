"""The lock of the state folder: one server, or one verb of the command line that changes files, works on it at a time.

It is an flock, shared by all processes that were forked since: a server whose parent died still holds it with the
last of its workers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["LOCK_FILE", "InUse", "StateLock"]

LOCK_FILE: Final = "lock"
_LOOK_AGAIN: Final = 0.1


class InUse(Exception):
    """Somebody else holds it.

    Attributes:
        owner: the process id of who took it; None if it cannot be read.
    """

    def __init__(self, folder: Path, owner: int | None) -> None:
        who = f"process {owner}" if owner else "another process"
        super().__init__(f"{folder}: is in use by {who}")
        self.owner = owner


class StateLock:
    """Held from the making until `release`, or until the last process that inherited it ends.

    Args:
        folder: the state folder.
        patience: how long to wait for whoever holds it, in seconds.
        wait: called once when there is somebody to wait for, with who it is.

    Raises:
        InUse: somebody holds it.
        OSError: the lock file cannot be made.
    """

    def __init__(self, folder: Path, *, patience: float = 0.0, wait: Callable[[InUse], None] | None = None) -> None:
        self._descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        try:
            while True:
                try:
                    fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    trouble = InUse(folder, owner(folder))
                    if time.monotonic() >= deadline:
                        raise trouble from None
                    if wait is not None:
                        wait(trouble)
                        wait = None
                    time.sleep(_LOOK_AGAIN)
        except BaseException:
            self.release()
            raise
        # For people, and for who wants to signal the server: on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go; harmless a second time."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def owner(folder: Path) -> int | None:
    """Return the process id of who took the lock of *folder* last, if that can be read."""
    try:
        text = (folder / LOCK_FILE).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if text.isdigit() else None
