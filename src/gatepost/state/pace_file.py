"""Slots in a small file that all workers of a node have mapped into memory: what was sent, and how fast it may go on.

    file = PaceFile(folder / PACE_FILE)
    file.open()
    slot = file.slot(b"whose", now)
    if file.lock(slot):
        file.memory[slot + 24 : slot + 32] = ...
        file.unlock(slot)

Changes are stores into memory under a lock that the system gives back when a process dies.  The page cache outlives
every death of a process; a power cut may cost the last half minute.  The file is full from its making, so that no
store ever asks the file system for room.  Where it cannot be had each process counts by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import struct
from hashlib import blake2b
from pathlib import Path
from typing import Final

__all__ = ["PACE_FILE", "SLOT_BYTES", "PaceFile"]

PACE_FILE: Final = "pace"
SLOT_BYTES: Final = 1024
_SLOTS: Final = 256
_BYTES: Final = (_SLOTS + 1) * SLOT_BYTES  # the first place holds the magic
_MAGIC: Final = b"gatepost-pace-01"
_KEY: Final = 16
_EMPTY: Final = bytes(_KEY)
_SEEN: Final = struct.Struct("=d")
# l_type, l_whence, l_start, l_len, l_pid of struct flock.
_FLOCK: Final = struct.Struct("hhqqi4x")


class PaceFile:
    """The slots in the file at *path*.

    Attributes:
        memory: all of it; each slot begins with its key, of 16 octets, and the time at which it was last looked for.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self.memory = mmap.mmap(-1, _BYTES)
        self.memory[: len(_MAGIC)] = _MAGIC

    def open(self) -> None:
        """Map the file, made if missing.

        Raises:
            OSError: it cannot be had; this process counts by itself.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
        try:
            # Held for a moment, by workers that start at the same time.
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
            if os.pread(fd, len(_MAGIC), 0) != _MAGIC or os.fstat(fd).st_size != _BYTES:
                if os.pwrite(fd, _MAGIC + bytes(_BYTES - len(_MAGIC)), 0) != _BYTES:
                    raise OSError("the file was not written whole")
                os.ftruncate(fd, _BYTES)
            self.memory = mmap.mmap(fd, _BYTES)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, 0, 1, 0))
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def close(self) -> None:
        """Write it down; waits for the disk."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self.memory.flush()
            self.memory.close()
            os.close(self._fd)
            self._fd = -1
            self.memory = mmap.mmap(-1, _BYTES)

    def slot(self, subject: bytes, now: float) -> int:
        """Return where the slot of *subject* begins; if all are taken, the one that was not used for longest is."""
        key = self.key(subject)
        memory = self.memory
        oldest, oldest_seen = 0, float("inf")
        # One slot after the other for all, so that two workers never take two for the same.
        self._wait_for(0)
        try:
            for start in range(SLOT_BYTES, _BYTES, SLOT_BYTES):
                held = memory[start : start + _KEY]
                if held == key:
                    oldest = start
                    break
                seen = float("-inf") if held == _EMPTY else _SEEN.unpack_from(memory, start + _KEY)[0]
                if seen < oldest_seen or not oldest:
                    oldest, oldest_seen = start, seen
                if held == _EMPTY:
                    break
            if memory[oldest : oldest + _KEY] != key:
                memory[oldest : oldest + SLOT_BYTES] = key + bytes(SLOT_BYTES - _KEY)
            _SEEN.pack_into(memory, oldest + _KEY, now)
        finally:
            self.unlock(0)
        return oldest

    @staticmethod
    def key(subject: bytes) -> bytes:
        """Return what the slot of *subject* begins with."""
        return blake2b(subject, digest_size=_KEY).digest()

    def lock(self, slot: int) -> bool:
        """Keep the other processes out of a slot; False if one of them is in it at this moment."""
        if self._fd < 0:
            return True
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0))
        except OSError:
            return False
        return True

    def unlock(self, slot: int) -> None:
        """Let the others in again."""
        if self._fd >= 0:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, slot, 1, 0))

    def _wait_for(self, slot: int) -> None:
        if self._fd >= 0:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0))
