"""What is counted over a window of time that slides: time is cut into slices, and a window is some of them.

All slices count that reach into the window, so that it is never shorter than its name says, and a slice longer at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gatepost.model.value import value

__all__ = ["MESSAGES", "RECIPIENTS", "Shortage", "Used", "Want", "Window", "add_up", "shortage_of"]

Used = dict[int, int]  # amount by slice


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Something that is counted, over some time.

    Args:
        name: in the file.
        slice_seconds: how time is cut.
        slices: how many make the window.
        part: a block is one in so many of the limit.
    """

    name: str
    slice_seconds: float
    slices: int
    part: int

    def slice(self, now: float) -> int:
        """Return the slice of this moment."""
        return int(now // self.slice_seconds)

    def reach(self, now: float) -> tuple[int, int]:
        """Return the first and the last slice that count now; one ahead is of a clock that was put back a little."""
        this = self.slice(now)
        return this - self.slices, this + 1

    def current(self, used: Used, now: float) -> Used:
        """Return what of *used* counts now."""
        first, last = self.reach(now)
        return {part: amount for part, amount in used.items() if first <= part <= last}


RECIPIENTS: Final = Window("recipients", 3600.0, 24, part=50)
"""Recipients in 24 hours."""
MESSAGES: Final = Window("messages", 10.0, 6, part=10)
"""Messages in a minute."""


@value(frozen=True, slots=True)
class Want:
    """So many of something, when so many may be had in its window."""

    window: Window
    amount: int
    limit: int


@value(frozen=True, slots=True)
class Shortage:
    """There is not enough left.

    Args:
        want: of what.
        seconds: how long until there is, if nobody takes any meanwhile.
    """

    want: Want
    seconds: float


def add_up(one: Used, other: Used) -> Used:
    """Return the sum, slice by slice."""
    return {part: amount for part in one.keys() | other if (amount := one.get(part, 0) + other.get(part, 0))}


def shortage_of(want: Want, used: Used, now: float) -> Shortage:
    """Return how long it takes until enough of what was used has left the window."""
    window = want.window
    used = window.current(used, now)
    lacking = sum(used.values()) + want.amount - want.limit
    for part in sorted(used):
        lacking -= used[part]
        if lacking <= 0:
            return Shortage(want, max((part + window.slices + 1) * window.slice_seconds - now, 1.0))
    return Shortage(want, (window.slices + 1) * window.slice_seconds)
