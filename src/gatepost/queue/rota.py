"""Lanes that take turns: the urgent first, but not for ever; those of one priority one after the other."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Generic, TypeVar

from gatepost.spool.lane import LEVELS, level_of

__all__ = ["Rota"]

Kept = TypeVar("Kept")

# One turn of so many goes to a lower priority, so that nothing starves behind a flood.
_LOWER_TURN: Final = 8


class Rota(Generic[Kept]):
    """What is kept for each lane, and whose turn it is."""

    def __init__(self) -> None:
        self._levels: tuple[OrderedDict[int, Kept], ...] = tuple([OrderedDict() for _ in range(LEVELS)])
        self._turns = 0

    def get(self, lane: int) -> Kept | None:
        """Return what is kept for a lane."""
        return self._levels[level_of(lane)].get(lane)

    def put(self, lane: int, kept: Kept) -> None:
        """Keep something for a lane; a new one comes last of its priority."""
        self._levels[level_of(lane)][lane] = kept

    def discard(self, lane: int) -> None:
        """Let go of a lane."""
        self._levels[level_of(lane)].pop(lane, None)

    def clear(self) -> None:
        """Let go of all."""
        for level in self._levels:
            level.clear()

    def turn(self) -> tuple[int, Kept]:
        """Return the lane whose turn it is, and what is kept for it; there must be one."""
        busy = [level for level in self._levels if level]
        level = busy[0]
        if len(busy) > 1:
            self._turns += 1
            if self._turns % _LOWER_TURN == 0:
                # The lower ones in turn, too.
                level = busy[1 + self._turns // _LOWER_TURN % (len(busy) - 1)]
        lane, kept = next(iter(level.items()))
        level.move_to_end(lane)
        return lane, kept

    def __len__(self) -> int:
        return sum([len(level) for level in self._levels])

    def __bool__(self) -> bool:
        for level in self._levels:  # noqa: SIM110 - any() would make a generator, for each message
            if level:
                return True
        return False
