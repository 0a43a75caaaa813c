"""Threads for what mechanisms from elsewhere wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from gatepost.errors import Malformed, StoreUnavailable
from gatepost.identity.beside import Beside


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Hold up a thread until it is set."""
    event = threading.Event()
    yield event
    event.set()


async def test_it_returns_what_was_returned_and_raises_what_was_raised() -> None:
    beside = Beside()

    def refuse() -> None:
        raise Malformed("no ticket")

    assert await beside.run(threading.current_thread) is not threading.current_thread()
    with pytest.raises(Malformed, match="no ticket"):
        await beside.run(refuse)
    beside.close()


async def test_what_takes_too_long_is_left_alone_and_is_nobody_s_no(gate: threading.Event) -> None:
    beside = Beside(patience=0.01)
    with pytest.raises(StoreUnavailable, match=r"takes longer than 0\.01 s"):
        await beside.run(gate.wait)
    gate.set()
    beside.close()


async def test_so_much_waits_and_no_more_and_room_comes_back(gate: threading.Event) -> None:
    beside = Beside(threads=1, queue_limit=1)
    waiting = [asyncio.create_task(beside.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable, match="too many logins wait"):
        await beside.run(gate.wait)
    gate.set()
    assert await asyncio.gather(*waiting) == [True, True]
    assert await beside.run(lambda: 1) == 1
    beside.close()


async def test_who_has_gone_takes_no_room(gate: threading.Event) -> None:
    beside = Beside(threads=1, queue_limit=1)
    first = asyncio.create_task(beside.run(gate.wait))
    await asyncio.sleep(0)
    for _ in range(5):
        gone = asyncio.create_task(beside.run(gate.wait))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
    gate.set()
    assert await first is True
    beside.close()


def test_closing_what_was_never_needed_is_nothing() -> None:
    Beside().close()
