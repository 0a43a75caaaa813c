"""A worker as a whole: what the configuration says reaches the parts, and what its end cuts off is not sent twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from gatepost.observe.events import RecipientDelivered
from gatepost.testing import RunningServer
from integration.client import Client, log_in
from integration.conftest import Start
from next_hop import FakeNextHop, late

CONTENT = b"From: tim@example.org\r\nSubject: hello\r\n\r\nhello\r\n"


async def submit(server: RunningServer) -> None:
    """Hand in one message."""
    client = await log_in(server)
    await client.open_data()
    await finish(client)


async def finish(client: Client) -> None:
    """Send the content, hear the yes, hang up."""
    client.writer.write(CONTENT + b".\r\n")
    assert (await client.reply()).startswith("250 ")
    await client.close()


async def until(condition: Any) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def route_to(hop: FakeNextHop) -> dict[str, Any]:
    return {"name": "out", "transport": "smarthost", "host": "127.0.0.1", "port": hop.port, "tls": "none"}


async def test_a_sandbox_keeps_as_many_messages_as_it_should(start: Start, tmp_path: Path) -> None:
    box = tmp_path / "box"
    async with start(route=[{"name": "box", "transport": "sandbox", "path": box, "keep": 2}]) as server:
        for number in range(4):
            await submit(server)
            await until(
                lambda number=number: sum(isinstance(each, RecipientDelivered) for each in server.events) > number
            )
    assert len(list(box.glob("*.eml"))) == 2


async def test_what_is_accepted_at_the_end_is_delivered_once_and_after_the_restart(start: Start) -> None:
    """A delivery that begins while the last clients are waited for would be cut off after its final dot."""
    async with FakeNextHop() as hop:
        hop.on("end", late(3600))
        async with start(route=[route_to(hop)]) as server:
            slow, quick = await log_in(server), await log_in(server)
            await slow.open_data()
            await quick.open_data()
            stopping = asyncio.create_task(server.worker.stop(grace=5.0))
            await asyncio.sleep(0.6)
            await finish(quick)
            await stopping
            assert server.worker.spool.count() == 1
        hop.usual()
        async with start(route=[route_to(hop)]) as server:
            await until(lambda: not server.worker.spool.count())
        assert len(hop.mails) == 1


async def test_a_delivery_under_way_at_the_end_comes_to_its_end(start: Start) -> None:
    async with FakeNextHop() as hop:
        hop.on("end", late(0.4))
        async with start(route=[route_to(hop)]) as server:
            await submit(server)
            await until(lambda: hop.mails)
            await server.worker.stop(grace=60.0)
            assert server.worker.spool.count() == 0
        assert len(hop.accepted) == 1
