"""Locks that say how many are at something that is not written down yet, over all processes of a node.

A subject has a number of slots, each a place in a file that nobody reads.  Who begins takes one (`take`), and who must
know that nobody is at it any more takes all at once (`hold`).  The system gives back what a dead process held.  They
are locks of open files (F_OFD_SETLK), which count between threads and between two of us in one process, too.  A slot
that was given back is kept a moment for who comes next: clients that come often cost no call of the system.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import random
import struct
import zlib
from pathlib import Path
from typing import Final

__all__ = ["SLOT_LIMIT", "Slots", "first_slot"]

SLOT_LIMIT: Final = 1 << 16
"""So many slots one subject has at most."""

# l_type, l_whence, l_start, l_len, l_pid of struct flock.
_FLOCK: Final = struct.Struct("hhqqi4x")
_TRIES: Final = 3
# How long a slot is kept that nobody uses, in seconds.
_IDLE: Final = 0.1
_TAKEN: Final = frozenset({errno.EAGAIN, errno.EACCES})


class Slots:
    """The slots in the file at *path*; made if missing.

    Where there are no such locks nobody can take a slot, so that everything is written down beforehand.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._taker = -1
        self._holder = -1
        self._taken: set[int] = set()
        self._idle: dict[int, list[int]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_supported = True

    def open(self) -> None:
        """Open the file; without it no slot can be taken.

        Raises:
            OSError: it cannot be opened.
        """
        try:
            self._taker = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._holder = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            try:
                _set(self._taker, fcntl.F_UNLCK, 0, 1)
            except OSError:
                self._is_supported = False
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give everything back."""
        self._give_back_idle()
        for descriptor in (self._taker, self._holder):
            if descriptor >= 0:
                os.close(descriptor)
        self._taker = self._holder = -1
        self._taken.clear()

    def take(self, first: int, count: int) -> int | None:
        """Take one of the *count* slots from *first* on; None if that does not work at once."""
        idle = self._idle.get(first)
        if idle:
            return idle.pop()
        if not count or self._taker < 0 or not self._is_supported:
            return None
        for _ in range(_TRIES):
            place = first + int(random.random() * count)  # noqa: S311 - where it is does not matter
            # Locks of one open file do not exclude one another.
            if place in self._taken:
                continue
            try:
                _set(self._taker, fcntl.F_WRLCK, place, 1)
            except OSError:
                continue
            self._taken.add(place)
            return place
        return None

    def keep(self, first: int, place: int) -> None:
        """Give back what `take` gave, a little later; in the loop's thread."""
        idle = self._idle.get(first)
        if idle is None:
            self._idle[first] = [place]
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_IDLE, self._give_back_idle)
        else:
            idle.append(place)

    def give_back(self, place: int) -> None:
        """Give back what `take` gave, at once; from any thread."""
        if self._taker >= 0:
            with contextlib.suppress(OSError):
                _set(self._taker, fcntl.F_UNLCK, place, 1)
        self._taken.discard(place)

    def hold(self, first: int, count: int) -> bool:
        """Keep everybody from all slots, if nobody has one.

        Raises:
            OSError: the file is not open, and cannot be opened now.
        """
        if self._holder < 0:
            self.open()
        if not self._is_supported or not count:
            return True
        try:
            _set(self._holder, fcntl.F_WRLCK, first, count)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise
        return True

    def let_go(self, first: int, count: int) -> None:
        """Undo `hold`."""
        if self._holder >= 0 and self._is_supported and count:
            with contextlib.suppress(OSError):
                _set(self._holder, fcntl.F_UNLCK, first, count)

    def _give_back_idle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        idle, self._idle = self._idle, {}
        for places in idle.values():
            for place in places:
                self.give_back(place)


def first_slot(subject: str) -> int:
    """Return where the slots of *subject* lie; two that share theirs hinder one another a little, and no more."""
    return zlib.crc32(subject.encode("utf-8", "surrogatepass")) * SLOT_LIMIT


def _set(descriptor: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
