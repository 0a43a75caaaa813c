"""Connections to a next hop that several workers share, on real sockets: the limit holds, and everybody has a turn."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.transport_contract import delivery
from gatepost.model.delivery import Delivered
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.state.outgoing import Outgoing
from next_hop import FakeNextHop, late


@contextlib.asynccontextmanager
async def workers(hop: FakeNextHop, folder: Path, count: int, limit: int) -> AsyncIterator[list[SmartHost]]:
    """Yield the same route of several workers."""
    outgoing = [Outgoing(folder, number, count, time.monotonic) for number in range(count)]
    hosts = [
        SmartHost(
            "out",
            "127.0.0.1",
            hop.port,
            hostname="gatepost.example",
            tls=TlsMode.NONE,
            connections=limit,
            idle_seconds=3600,
            share=each.share("out", limit),
        )
        for each in outgoing
    ]
    try:
        yield hosts
    finally:
        for host in hosts:
            await host.close()
        for each in outgoing:
            each.close()


async def deliver(host: SmartHost, count: int, at_once: int = 8) -> None:
    """Deliver so many messages."""
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            assert isinstance((await host.deliver(delivery()))[0], Delivered)

    await asyncio.gather(*[some() for _ in range(at_once)])


@pytest.mark.parametrize(("count", "limit"), [(2, 3), (3, 2)])
async def test_the_limit_holds_over_all_workers(tmp_path: Path, count: int, limit: int) -> None:
    async with FakeNextHop() as hop, workers(hop, tmp_path, count, limit) as hosts:
        async with asyncio.timeout(60):
            await asyncio.gather(*[deliver(host, 40) for host in hosts])
        assert hop.most_connections <= limit
        assert len(hop.mails) == 40 * count


async def test_a_message_of_one_worker_does_not_wait_for_thousands_of_another(tmp_path: Path) -> None:
    async with FakeNextHop() as hop, workers(hop, tmp_path, 2, 2) as (busy, other):
        hop.on("end", late(0.02))
        flood = asyncio.ensure_future(deliver(busy, 1_000_000))
        try:
            async with asyncio.timeout(60):
                while hop.most_connections < 2:
                    await asyncio.sleep(0.01)
                assert isinstance((await other.deliver(delivery()))[0], Delivered)
            assert not flood.done()
            assert hop.most_connections == 2
        finally:
            flood.cancel()
            await asyncio.gather(flood, return_exceptions=True)


async def test_an_idle_connection_is_given_up_for_another_worker(tmp_path: Path) -> None:
    async with FakeNextHop() as hop, workers(hop, tmp_path, 2, 1) as (one, two):
        await deliver(one, 1)
        assert hop.open_connections == 1
        async with asyncio.timeout(60):  # it would lie idle for longer
            await deliver(two, 1)
        assert hop.most_connections == 1


@pytest.mark.parametrize("step", ["greeting", "DATA"])
async def test_a_worker_that_is_cancelled_while_it_waits_leaves_nothing_behind(tmp_path: Path, step: str) -> None:
    async with FakeNextHop() as hop, workers(hop, tmp_path, 2, 1) as (one, two):
        hop.on(step, late(3600), times=1)
        first = asyncio.ensure_future(one.deliver(delivery()))
        async with asyncio.timeout(60):
            while not (hop.open_connections and (step == "greeting" or step in hop.commands)):
                await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(two.deliver(delivery()))
        await asyncio.sleep(0)
        for task in (waiting, first):
            task.cancel()
        await asyncio.gather(waiting, first, return_exceptions=True)
        async with asyncio.timeout(60):
            await deliver(one, 2)
            await deliver(two, 2)
