"""Waiting for the end of something, whatever became of it.

`ended_by` is for compiled code, which must not wait where it handles an exception, in `except` or `finally`, nor where
`async with` ends: what it handles would be what everybody else handles meanwhile, and it might go on with what others
handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

__all__ = ["cancelled", "ended_by"]

T = TypeVar("T")


async def ended_by(work: Awaitable[T], end: Callable[[], Awaitable[None]]) -> T:
    """Return what *work* returns, or raise what it raises, after *end*."""
    try:
        return await work
    finally:
        await end()


async def cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel *tasks*, and wait until all have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
