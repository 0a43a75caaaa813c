"""Mail that is due and that nobody has looked at yet, by lanes: how far each was read, and whose turn it is.

After a start or a long stop everything may be due at once.  Then it is not read in the order in which it became due,
which would be one account's hundred thousand messages before the next one's, but a few of each lane in turn.  Finding
the lanes reads none of their messages.
"""

from __future__ import annotations

from typing import Final

from gatepost.queue.limits import Place
from gatepost.queue.rota import Rota
from gatepost.spool.spool import Spool

__all__ = ["START", "Backlog"]

START: Final[Place] = (float("-inf"), "")
"""The place before everything."""

# So many lanes are known at once; the others when some of these are read.
_LANES_LIMIT: Final = 10_000
_PAGE: Final = 200


class Backlog:
    """How far each lane was read.

    Args:
        spool: where messages lie.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._untouched: Rota[Place] = Rota()  # nothing of it was read since it was found
        self._begun: Rota[Place] = Rota()
        self._seeks: list[tuple[int, Place]] = []  # where to go on to look for lanes, and from which place on

    def seek(self, since: Place) -> None:
        """Look for lanes that hold something due behind that place."""
        if since == START:
            self._untouched.clear()
            self._begun.clear()
            self._seeks = []
        if len(self._seeks) > 1:
            # A third search before the first is over: the last one does for all behind it.
            since = min(since, self._seeks.pop()[1])
        self._seeks.append((-1, since))

    def wants(self, *, has_room: bool) -> bool:
        """Tell whether there is something to read: without room, only the beginning of each lane."""
        return bool(self._untouched or (has_room and self._begun) or (self._seeks and self._has_place()))

    def discover(self, now: float) -> None:
        """Go on looking for lanes, some at a time."""
        if not self._seeks or not self._has_place():
            return
        after, since = self._seeks[0]
        lanes, last = self._spool.lanes(now, _PAGE, after=after, since=since[0])
        for lane in lanes:
            if self._begun.get(lane) is None and self._untouched.get(lane) is None:
                self._untouched.put(lane, since)
        if last is None:
            self._seeks.pop(0)
        else:
            self._seeks[0] = (last, since)

    def read(self, now: float, limit: int, *, has_room: bool) -> list[Place]:
        """Read the next few messages of the lane whose turn it is."""
        rota = self._untouched or (self._begun if has_room else None)
        if not rota:
            return []
        lane, place = rota.turn()
        places = self._spool.in_lane(lane, now, limit + 1, start=place)
        rota.discard(lane)
        if len(places) > limit:
            self._begun.put(lane, places.pop())
        return places

    def _has_place(self) -> bool:
        return len(self._untouched) + len(self._begun) < _LANES_LIMIT
