"""How many connections to a next hop there are, over all workers of a node, and who makes room for whom.

A connection is a lock of one octet in a file that nobody reads; the system gives back what a dead process held.  A
worker that wants a connection and gets none locks an octet that says so: others with more than their part of the limit
give one up then.  They are locks of open files (F_OFD_SETLK), so a worker knows its own by itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gatepost.errors import ConfigError

__all__ = ["OUTGOING_FILE", "Outgoing", "OutgoingShare"]

OUTGOING_FILE: Final = "outgoing-connections"

# l_type, l_whence, l_start, l_len, l_pid of struct flock.
_FLOCK: Final = struct.Struct("hhqqi4x")
_CONNECTIONS: Final = 1 << 16
_WORKERS: Final = 1 << 10
# How long what others want is taken for what they still want, in seconds.
_FRESH: Final = 0.1
# How long who gave one up leaves it to those who want it: they look some times meanwhile.
_REFRAIN: Final = 0.25


class Outgoing:
    """The connections of one worker to all next hops.

    Args:
        folder: where the file lies; made if missing.
        number: of the worker.
        workers: how many there are.
        monotonic: seconds.

    Raises:
        ConfigError: the file cannot be opened.
    """

    def __init__(self, folder: Path, number: int, workers: int, monotonic: Callable[[], float]) -> None:
        path = folder / OUTGOING_FILE
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be opened: {error.strerror}; make it writable") from None
        self.number = number
        self.workers = workers
        self.monotonic = monotonic
        self._shares: dict[str, OutgoingShare] = {}

    def share(self, next_hop: str, limit: int) -> OutgoingShare:
        """Return this worker's part of the connections to *next_hop*, of which there are so many at most.

        It is the same one each time: connections of a route that was replaced count until they are gone.
        """
        share = self._shares.get(next_hop)
        if share is None:
            share = self._shares[next_hop] = OutgoingShare(self, next_hop, limit)
        share.limit = limit
        return share

    def lock(self, place: int) -> bool:
        """Lock an octet, unless another worker has it.  Where there are no such locks, each worker counts alone."""
        try:
            self._set(fcntl.F_WRLCK, place)
        except OSError as error:
            return error.errno not in (errno.EAGAIN, errno.EACCES)
        return True

    def unlock(self, place: int) -> None:
        """Give back an octet."""
        with contextlib.suppress(OSError):
            self._set(fcntl.F_UNLCK, place)

    def is_locked_elsewhere(self, first: int, length: int) -> bool:
        """Tell whether another worker has one of these octets."""
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, length, 0)
            kind: int = _FLOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked))[0]
        except OSError:
            return False
        return kind != fcntl.F_UNLCK

    def _set(self, kind: int, place: int) -> None:
        if self._descriptor >= 0:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, place, 1, 0))

    def close(self) -> None:
        """Give everything back."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class OutgoingShare:
    """What one worker has of the connections to one next hop.

    Attributes:
        limit: how many there may be over all workers.
    """

    def __init__(self, outgoing: Outgoing, next_hop: str, limit: int) -> None:
        self.limit = limit
        self._outgoing = outgoing
        self._first = zlib.crc32(next_hop.encode("utf-8", "surrogatepass")) * (_CONNECTIONS + _WORKERS)
        self._own: set[int] = set()
        self._waiting: set[object] = set()
        self._wanted_at = float("-inf")
        self._is_wanted = False
        self._refrains_until = float("-inf")

    def take(self, who: object) -> bool:
        """Take one connection for *who*; tell whether there was one to be had."""
        outgoing = self._outgoing
        has_its_part = len(self._own) >= max(1, self.limit // outgoing.workers)
        if (has_its_part or outgoing.monotonic() < self._refrains_until) and self._is_wanted_elsewhere():
            return False
        for place in range(self._first, self._first + self.limit):
            if place not in self._own and outgoing.lock(place):
                self._own.add(place)
                self.wait(who, is_waiting=False)
                return True
        return False

    def give_back(self) -> None:
        """Give one back."""
        # Those beyond a limit that was lowered go first.
        place = max(self._own)
        self._own.discard(place)
        self._outgoing.unlock(place)

    def wait(self, who: object, *, is_waiting: bool) -> None:
        """Say whether *who* wants a connection and has none to be had."""
        before = bool(self._waiting)
        (self._waiting.add if is_waiting else self._waiting.discard)(who)
        if before != bool(self._waiting):
            mark = self._first + _CONNECTIONS + self._outgoing.number % _WORKERS
            if self._waiting:
                self._outgoing.lock(mark)
            else:
                self._outgoing.unlock(mark)

    def must_yield(self, who: object) -> bool:
        """Tell whether *who* should give up a connection that it does not need at this moment, for others want one."""
        if self._waiting and self._waiting != {who}:
            return True
        outgoing = self._outgoing
        if len(self._own) > self.limit // outgoing.workers and self._is_wanted_elsewhere():
            # Where there are fewer than workers, who gave one up would be the first to take it again.
            self._refrains_until = outgoing.monotonic() + _REFRAIN
            return True
        return False

    def _is_wanted_elsewhere(self) -> bool:
        outgoing = self._outgoing
        if outgoing.workers == 1:
            return False
        now = outgoing.monotonic()
        if now - self._wanted_at >= _FRESH:
            self._wanted_at = now
            self._is_wanted = outgoing.is_locked_elsewhere(self._first + _CONNECTIONS, _WORKERS)
        return self._is_wanted
