"""Wait for a moment, so that what was done before it cannot be told by the clock."""

from __future__ import annotations

import asyncio
import math
import time

__all__ = ["wait_until"]


async def wait_until(moment: float) -> None:
    """Wait until *moment*, by the clock of the event loop.

    What a loop tells as its time is when its turn began, and uvloop counts whole milliseconds from a time that is
    rounded down.  So what is left is taken from the real clock and rounded up: on average both cancel out.
    """
    left = math.ceil((moment - time.monotonic()) * 1000 - 0.001)
    if left > 0:
        await asyncio.sleep(left / 1000)
