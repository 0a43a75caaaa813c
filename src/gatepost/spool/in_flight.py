"""Which messages are being tried, told to the next start if we die: slots in a small file that is mapped into memory.

An attempt begins and ends with a store into memory, and no call of the system: the page cache outlives every death of a
process, and a power cut, which it does not outlive, is no message's fault.  The file is full from its making, so that
no store ever asks the file system for room.  SQLite's own ``-shm`` file is of the same kind.

What cannot be counted is not: without a file, without a free slot, mail goes on all the same.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Final

from gatepost.model.envelope import MessageId
from gatepost.spool.message_id import is_message_id

__all__ = ["IN_FLIGHT_FILE", "InFlight", "left_in_flight"]

IN_FLIGHT_FILE: Final = "in-flight"
_MAGIC: Final = b"gatepost-flight1"
_SLOT: Final = len(_MAGIC)  # as long as a name; the first slot holds the magic
_BYTES: Final = 16 << 10
_EMPTY: Final = bytes(_SLOT)


def left_in_flight(folder: Path) -> list[MessageId]:
    """Read what was being tried when the last process died; nothing, if it closed the spool or left no file of ours."""
    try:
        fd = os.open(folder / IN_FLIGHT_FILE, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        octets = os.pread(fd, _BYTES + 1, 0)
    except OSError:
        return []
    finally:
        os.close(fd)
    if len(octets) != _BYTES or not octets.startswith(_MAGIC):
        return []
    slots = [octets[start : start + _SLOT] for start in range(_SLOT, _BYTES, _SLOT)]
    names = [slot.decode("ascii", "replace") for slot in slots if slot != _EMPTY]
    return [MessageId(name) for name in dict.fromkeys(names) if is_message_id(name)]


class InFlight:
    """The slots of this process; makes the file anew, and empty."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / IN_FLIGHT_FILE
        self._map: mmap.mmap | None = None
        self._slots: dict[MessageId, int] = {}
        self._more: dict[MessageId, int] = {}  # attempts of a message beyond its first
        self._free = list(range(_BYTES - _SLOT, 0, -_SLOT))
        with contextlib.suppress(OSError):
            self._map = _make(self._path)

    def begin(self, message_id: MessageId) -> None:
        """Note an attempt."""
        if message_id in self._slots:
            self._more[message_id] = self._more.get(message_id, 0) + 1
        elif self._map is not None and self._free and len(message_id) == _SLOT:
            slot = self._slots[message_id] = self._free.pop()
            self._map[slot : slot + _SLOT] = message_id.encode("ascii", "replace")

    def end(self, message_id: MessageId) -> None:
        """Note that an attempt has landed."""
        if message_id in self._more:
            self._more[message_id] -= 1
            if not self._more[message_id]:
                del self._more[message_id]
            return
        slot = self._slots.pop(message_id, None)
        if slot is not None and self._map is not None:
            self._map[slot : slot + _SLOT] = _EMPTY
            self._free.append(slot)

    def close(self) -> None:
        """Leave nothing behind: this end is no crash; waits for the disk."""
        if self._map is not None:
            self._map.close()
            self._map = None
            with contextlib.suppress(OSError):
                self._path.unlink()


def _make(path: Path) -> mmap.mmap:
    # Written over rather than made anew where it is already: a full disk then has room for it.
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        if os.pwrite(fd, _MAGIC + bytes(_BYTES - _SLOT), 0) != _BYTES:
            raise OSError("the file was not written whole")
        os.ftruncate(fd, _BYTES)
        return mmap.mmap(fd, _BYTES)
    finally:
        os.close(fd)
