"""Lanes: the mail of one account of one priority, which takes turns with that of others, as a number.

The priority stands above the account, so that lanes in the order of their numbers begin with the most urgent ones.
Two accounts of the same checksum share a lane: one in four thousand million does.
"""

from __future__ import annotations

import zlib
from typing import Final

from gatepost.model.priority import Priority

__all__ = ["LEVELS", "ORDINARY_LANE", "lane_of", "level_of"]

LEVELS: Final = len(Priority)
_SHIFT: Final = 32


def lane_of(account: str, priority: int = Priority.NORMAL) -> int:
    """Return the lane of an account's mail; the empty name is that of our own notifications."""
    return priority << _SHIFT | zlib.crc32(account.encode("utf-8", "surrogatepass"))


def level_of(lane: int) -> int:
    """Return the priority of a lane, within what there is."""
    return min(lane >> _SHIFT, LEVELS - 1)


ORDINARY_LANE: Final = lane_of("")
"""That of our own notifications."""
