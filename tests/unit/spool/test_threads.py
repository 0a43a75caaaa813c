"""Threads that wait in the loop's place: what they find out comes back, and nothing is left behind."""

from __future__ import annotations

import asyncio
import sys
import threading
import weakref

import pytest

from gatepost.spool.threads import Threads


def named() -> list[str]:
    return sorted(each.name for each in threading.enumerate() if each.name.startswith("some-"))


async def test_what_a_thread_returns_or_raises_comes_back() -> None:
    threads = Threads(2, "some")
    assert named() == []
    assert await threads.run(divmod, 7, 2) == (3, 1)
    assert named() == ["some-0", "some-1"]
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    with pytest.raises(SystemExit):
        await threads.run(sys.exit)
    assert await threads.run(threading.get_ident) != threading.get_ident()
    threads.stop()
    assert named() == []


async def test_what_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, start, room = Threads(2, "some"), threading.Thread.start, 0

    def start_if_there_is_room(thread: threading.Thread) -> None:
        nonlocal room
        if not room:
            raise RuntimeError("can't start new thread")
        room -= 1
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_if_there_is_room)
        with pytest.raises(RuntimeError, match="start new thread"):
            threads.run(int, "7")
        room = 1
        assert await threads.run(int, "7") == 7
        assert named() == ["some-0"]
    assert await threads.run(int, "8") == 8
    assert named() == ["some-0", "some-1"]
    threads.stop()


async def test_so_many_work_at_once_and_the_rest_waits() -> None:
    threads = Threads(3, "some")
    started, go = threading.Semaphore(0), threading.Event()

    def work(number: int) -> int:
        started.release()
        go.wait(60)
        return number

    works = [threads.run(work, number) for number in range(8)]
    for _ in range(3):
        await asyncio.to_thread(started.acquire)
    await asyncio.sleep(0.05)
    assert not started.acquire(blocking=False)
    go.set()
    assert await asyncio.gather(*works) == list(range(8))
    threads.stop()


async def test_work_that_nobody_waits_for_any_more_is_done() -> None:
    threads = Threads(1, "some")
    go, done = threading.Event(), threading.Event()
    first, second = threads.run(go.wait, 60), threads.run(done.set)
    first.cancel()
    second.cancel()
    go.set()
    assert await asyncio.to_thread(done.wait, 60)
    assert await threads.run(int, "7") == 7
    threads.stop()


async def test_the_end_waits_for_what_was_to_be_done_and_nothing_comes_after_it() -> None:
    threads = Threads(2, "some")
    found: list[int] = []
    for number in range(50):
        threads.run(found.append, number)
    threads.stop()
    assert sorted(found) == list(range(50))
    with pytest.raises(RuntimeError, match="have stopped"):
        threads.run(found.append, 50)
    Threads(2, "some").stop()  # none ever lived


def test_a_loop_that_was_closed_meanwhile_hears_nothing() -> None:
    threads = Threads(1, "some")
    go = threading.Event()

    async def main() -> None:
        threads.run(go.wait, 60)

    asyncio.run(main())
    go.set()
    threads.stop()
    assert named() == []


async def test_nothing_large_is_held_once_it_was_done() -> None:
    class Large:
        pass

    gone = threading.Event()

    def make() -> asyncio.Future[None]:
        large = Large()
        weakref.finalize(large, gone.set)
        return threads.run(lambda _: None, large)

    threads = Threads(1, "some")
    await make()
    assert await asyncio.to_thread(gone.wait, 60)
    threads.stop()
