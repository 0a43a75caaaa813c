"""Which mail goes first: password resets before newsletters."""

from __future__ import annotations

import enum

__all__ = ["Priority"]


class Priority(enum.IntEnum):
    """How urgent a message is, the most urgent first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2
