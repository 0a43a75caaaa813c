"""Reaching a next hop that has several addresses: dead ones cost little, nothing is left open, ours is where told."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest

from gatepost.model.delivery import Cause
from gatepost.relay.dialing import Place, dial
from gatepost.relay.trouble import Trouble

IPV4 = socket.AF_INET


@contextmanager
def deaf(address: str = "127.0.0.2") -> Iterator[Place]:
    """An address that takes connections and never says so: its queue is full."""
    with socket.socket() as listening:
        listening.bind((address, 0))
        listening.listen(0)
        callers = []
        place = listening.getsockname()
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(place)
            callers.append(caller)
        yield IPV4, place
        for caller in callers:
            caller.close()


@asynccontextmanager
async def live(address: str = "127.0.0.1") -> AsyncIterator[tuple[Place, list[str]]]:
    """An address where somebody answers, and who came there."""
    came: list[str] = []

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(writer.get_extra_info("peername")[0])
        writer.close()

    server = await asyncio.start_server(serve, address, 0)
    yield (IPV4, server.sockets[0].getsockname()), came
    server.close()
    await server.wait_closed()


def dead() -> Place:
    """An address where nobody listens."""
    with socket.socket() as end:
        end.bind(("127.0.0.9", 0))
        return IPV4, end.getsockname()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.rfc("8305 §5")
async def test_an_address_that_does_not_answer_holds_the_next_up_for_a_moment_only() -> None:
    with deaf() as silent:
        async with live() as (place, _):
            places = deque([silent, place])
            began = time.monotonic()
            with await dial("hop", places, {}, 600.0) as end:
                assert end.getpeername() == place[1]
            assert 0.25 <= time.monotonic() - began < 60
            assert list(places) == [silent], "it may still be tried"
            await settled()


@pytest.mark.rfc("8305 §5")
async def test_an_address_that_refuses_holds_nothing_up_and_is_not_tried_again() -> None:
    async with live() as (place, _):
        places = deque([dead(), dead(), place])
        with await dial("hop", places, {}, 600.0) as end:
            assert end.getpeername() == place[1]
        assert not places


async def test_one_that_answers_at_once_is_the_only_one_that_is_troubled() -> None:
    async with live() as (first, came_first), live() as (second, came_second):
        (await dial("hop", deque([first, second]), {}, 600.0)).close()
        async with asyncio.timeout(60):
            while not came_first:
                await asyncio.sleep(0.001)
        assert not came_second


async def test_when_none_can_be_reached_the_trouble_says_so() -> None:
    with deaf() as silent:
        places = deque([silent, dead()])
        with pytest.raises(Trouble, match=r"hop\[127\.0\.0\.2\]:\d+ does not answer") as caught:
            await dial("hop", places, {}, 0.5)
        assert caught.value.cause is Cause.NEXT_HOP
        assert not places


async def test_whoever_is_cancelled_or_lost_the_race_leaves_no_socket_open() -> None:
    with deaf() as silent, deaf("127.0.0.3") as other:
        async with live() as (place, _):
            before = open_files()
            (await dial("hop", deque([silent, other, place]), {}, 600.0)).close()
            task = asyncio.ensure_future(dial("hop", deque([silent, other]), {}, 600.0))
            async with asyncio.timeout(60):
                while open_files() < before + 2:
                    await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await settled()
            async with asyncio.timeout(60):
                while open_files() > before:
                    await asyncio.sleep(0.01)


async def test_connections_come_from_the_address_that_is_told() -> None:
    async with live() as (place, came):
        (await dial("hop", deque([place]), {IPV4: "127.0.0.5"}, 600.0)).close()
        async with asyncio.timeout(60):
            while not came:
                await asyncio.sleep(0.001)
        assert came == ["127.0.0.5"]


async def test_an_address_that_is_not_ours_is_trouble_of_the_route() -> None:
    async with live() as (place, came):
        with pytest.raises(Trouble, match=r"source_address 192\.0\.2\.1 cannot be used") as caught:
            await dial("hop", deque([place, dead()]), {IPV4: "192.0.2.1"}, 600.0)
        assert caught.value.cause is Cause.ROUTE
        assert not came
