"""The clock of the machine: the one place that asks it what time it is, for all that is given a clock."""

from __future__ import annotations

import asyncio
import time

__all__ = ["RealClock"]


class RealClock:
    """The clock of the machine."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)
