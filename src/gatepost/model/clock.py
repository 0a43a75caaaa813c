"""Time as a thing one is given: the real clock is made in `app`, tests bring their own."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Clock"]


class Clock(Protocol):
    """What time it is, and waiting."""

    def now(self) -> float:
        """Return the time of day, in seconds since the epoch (UTC)."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for *seconds*."""
        ...
