"""Finding in the spool what is due: as it becomes due, or, if that is much at once, by lanes in turn.

Promises: what is due was offered, or stands in the backlog, or is found at the next sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gatepost.model.envelope import MessageId
from gatepost.queue.backlog import START, Backlog
from gatepost.queue.limits import Place
from gatepost.spool.spool import Spool

__all__ = ["BATCH", "LOOK_AGAIN", "SWEEP", "Reading"]

BATCH: Final = 50
"""So many messages are looked at before somebody else has the loop."""

SWEEP: Final = 3600.0
LOOK_AGAIN: Final = 60.0
"""How soon everything is looked at again: as a rule, and after something went wrong."""

_FEW: Final = 5
_LAST: Final = "~"  # behind every id
_UNREADABLE_LIMIT: Final = 1000


class Reading:
    """Reads one spool.

    Args:
        spool: where messages lie.
        offer: takes what is due; returns its place, or None if it is not there.

    Attributes:
        sweep_at: when everything is looked at again.
    """

    def __init__(self, spool: Spool, offer: Callable[[MessageId], Place | None]) -> None:
        self._spool = spool
        self._offer = offer
        self._frontier = START  # up to here the spool was read
        self._backlog = Backlog(spool)
        self._unreadable: set[MessageId] = set()
        self.sweep_at = 0.0

    def sweep(self, now: float) -> None:
        """Look at everything again: has somebody waited too long, was a message missed?"""
        self.sweep_at = now + SWEEP
        # What was just being written while we look is found by its due time.
        self._frontier = (now - LOOK_AGAIN, _LAST)
        self._backlog.seek(START)
        self._unreadable.clear()

    def sweep_soon(self, now: float) -> None:
        """Something was missed, or may have been."""
        self.sweep_at = min(self.sweep_at, now + LOOK_AGAIN)

    def read(self, now: float, has_room: Callable[[], bool]) -> bool:
        """Offer what became due, and some of the backlog; tell whether there may be more."""
        batch = self._spool.due(now, BATCH, after=self._frontier, skip=frozenset(self._unreadable))
        if len(batch) == BATCH:
            self._backlog.seek(self._frontier)
            self._frontier = (now, _LAST)
        else:
            for message_id in batch:
                self._frontier = max(self._frontier, self._offer(message_id) or self._frontier)
        self._backlog.discover(now)
        for _ in range(BATCH // _FEW):
            for _, name in self._backlog.read(now, _FEW, has_room=has_room()):
                self._offer(MessageId(name))
        return self._backlog.wants(has_room=has_room())

    def due_again(self, due: float) -> None:
        """Take note that a message is due then, and that may be a time up to which everything was read."""
        if due <= self._frontier[0]:
            self._frontier = (due, "")

    def skip(self, message_id: MessageId) -> None:
        """Leave a message alone until the next sweep: its entry cannot be read."""
        if len(self._unreadable) < _UNREADABLE_LIMIT:
            self._unreadable.add(message_id)

    def next_due(self) -> float | None:
        """Return when the next message is due that was not offered."""
        return self._spool.next_due(after=self._frontier, skip=frozenset(self._unreadable))
