"""Whether that by which somebody logged in still counts."""

from __future__ import annotations

__all__ = ["Standing"]


class Standing:
    """Whether that by which somebody logged in still counts; all sessions that came by the same share it.

    Attributes:
        ended: why it does not any more; empty while it does.
    """

    __slots__ = ("__weakref__", "ended")

    def __init__(self) -> None:
        self.ended = ""
