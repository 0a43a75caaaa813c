"""Which reports about a recipient are wanted (RFC 3461 §4.1)."""

from __future__ import annotations

import enum

__all__ = ["Notify"]


# By itself: mypyc leaves out what stands behind the base of a class, so that of strictness nothing would be left.
class Notify(enum.Flag, boundary=enum.STRICT):
    """Which reports about a recipient are wanted (RFC 3461 §4.1)."""

    NEVER = enum.auto()
    SUCCESS = enum.auto()
    FAILURE = enum.auto()
    DELAY = enum.auto()
