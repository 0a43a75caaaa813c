"""Attempts that take too long are ended, by a timer that all of them share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from gatepost.queue.overdue import Overdue


async def attempt(overdue: Overdue, seconds: float, work: Awaitable[object]) -> str:
    task = overdue.watch(seconds)
    try:
        await work
    except asyncio.CancelledError:
        if not overdue.has_ended(task):
            raise
        return "too slow"
    finally:
        overdue.forget(task)
    return "done"


def for_ever() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def test_who_takes_too_long_is_ended_and_goes_on_after_that() -> None:
    overdue = Overdue()

    async def two() -> list[str]:
        return [await attempt(overdue, 0.0, for_ever()), await attempt(overdue, 60.0, asyncio.sleep(0.01))]

    assert await asyncio.create_task(two()) == ["too slow", "done"]


async def test_each_has_its_own_time_also_when_times_become_shorter() -> None:
    overdue, ended = Overdue(), []

    async def one(name: str, seconds: float) -> None:
        ended.append((name, await attempt(overdue, seconds, for_ever())))

    tasks = [
        asyncio.create_task(one(name, seconds)) for name, seconds in (("never", 3600), ("late", 0.05), ("soon", 0))
    ]
    await asyncio.wait(tasks[1:])
    assert ended == [("soon", "too slow"), ("late", "too slow")]
    assert not tasks[0].done()
    tasks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]


async def test_who_is_cancelled_by_somebody_else_is_cancelled() -> None:
    overdue = Overdue()
    task = asyncio.create_task(attempt(overdue, 60.0, for_ever()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_is_cancelled_by_both_is_cancelled() -> None:
    overdue = Overdue()
    never = for_ever()

    async def slow_to_die() -> None:
        try:
            await never
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            raise

    task = asyncio.create_task(attempt(overdue, 0.0, slow_to_die()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_who_is_done_is_never_ended() -> None:
    overdue = Overdue()

    async def quick_and_then_long() -> str:
        said = await attempt(overdue, 0.01, asyncio.sleep(0))
        await asyncio.sleep(0.05)
        return said

    assert await asyncio.create_task(quick_and_then_long()) == "done"
