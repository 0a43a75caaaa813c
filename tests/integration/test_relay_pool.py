"""Kept connections on real sockets: reuse, limits, idle ends, and a next hop that restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from contracts.transport_contract import Whole, delivery
from gatepost.model.delivery import Cause, Deferred, Delivered
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from integration.test_relay_client import Endless
from next_hop import FakeNextHop, cut, late, say


@contextlib.asynccontextmanager
async def smarthost(hop: FakeNextHop, **options: object) -> AsyncIterator[SmartHost]:
    host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, **options)
    try:
        yield host
    finally:
        await host.close()


async def until(condition: object, *, seconds: float = 60) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def test_messages_share_a_connection() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        for _ in range(10):
            assert isinstance((await host.deliver(delivery()))[0], Delivered)
        assert hop.connections == 1


async def test_no_more_connections_than_the_limit_and_every_message_arrives_once() -> None:
    async with FakeNextHop() as hop, smarthost(hop, connections=3) as host:
        contents = [Whole(b"Subject: %d\r\n\r\n" % number) for number in range(60)]
        await asyncio.gather(*(host.deliver(delivery(content=content)) for content in contents))
        assert hop.most_connections == 3
        assert sorted(mail.content for mail in hop.mails) == sorted(content.inline for content in contents)


async def test_a_connection_is_closed_after_so_many_messages() -> None:
    async with FakeNextHop() as hop, smarthost(hop, messages_per_connection=3) as host:
        for _ in range(7):
            await host.deliver(delivery())
        assert hop.connections == 3
        await until(lambda: hop.open_connections == 1)
        assert hop.commands.count("QUIT") == 2


@pytest.mark.rfc("5321 §4.1.1.10")
async def test_an_idle_connection_is_parted_from_with_quit() -> None:
    async with FakeNextHop() as hop, smarthost(hop, idle_seconds=0.05) as host:
        await host.deliver(delivery())
        assert hop.open_connections == 1
        await until(lambda: hop.open_connections == 0)
        assert hop.commands[-1] == "QUIT"
        assert isinstance((await host.deliver(delivery()))[0], Delivered)


async def test_a_next_hop_that_does_not_answer_quit_is_cut() -> None:
    async with FakeNextHop() as hop, smarthost(hop, idle_seconds=0.01, timeouts=Timeouts(quit=0.05)) as host:
        hop.on("QUIT", late(3600))
        await host.deliver(delivery())
        await until(lambda: "QUIT" in hop.commands)
        await asyncio.wait_for(host.close(), 60)


async def test_a_connection_closed_while_idle_is_no_failure() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        await host.deliver(delivery())
        hop.cut_all()
        await until(lambda: hop.open_connections == 0)
        assert isinstance((await host.deliver(delivery()))[0], Delivered)
        assert len(hop.mails) == 2


async def test_a_goodbye_while_idle_is_no_failure() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        await host.deliver(delivery())
        hop.say_to_all(b"421 4.4.2 idle for too long\r\n")
        await until(lambda: hop.open_connections == 0)
        assert isinstance((await host.deliver(delivery()))[0], Delivered)
        assert hop.connections == 2


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "content"])
@pytest.mark.parametrize("act", [cut(), say("421 4.3.2 restarting", cut=True)], ids=["cut", "421"])
async def test_a_kept_connection_that_ends_before_the_final_dot_is_tried_again_at_once(step: str, act: object) -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        await host.deliver(delivery())
        hop.on(step, act, times=1)
        (result,) = await host.deliver(delivery())
        if isinstance(result, Deferred):
            # The whole message and its dot may have arrived: we had sent them before we heard of the end.
            assert step == "content"
            assert len(hop.mails) == 1
        else:
            assert isinstance(result, Delivered)
            assert len(hop.mails) == 2


async def test_after_the_final_dot_nothing_is_tried_again_at_once() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        await host.deliver(delivery())
        hop.on("end", cut(), times=1)
        (result,) = await host.deliver(delivery())
        assert isinstance(result, Deferred)
        assert result.cause is Cause.NEXT_HOP
        assert result.is_doubtful
        assert len(hop.mails) == 2
        hop.on("end", say("421 4.3.2 closing", cut=True), times=1)
        (result,) = await host.deliver(delivery())
        assert isinstance(result, Deferred)
        assert not result.is_doubtful


async def test_a_fresh_connection_that_fails_is_not_tried_again_at_once() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        hop.on("MAIL", cut())
        assert isinstance((await host.deliver(delivery()))[0], Deferred)
        assert hop.connections == 1


async def test_a_kept_connection_is_tried_again_once_only() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        await host.deliver(delivery())
        hop.on("MAIL", cut())
        assert isinstance((await host.deliver(delivery()))[0], Deferred)
        assert hop.connections == 2


@pytest.mark.parametrize("no", ["552 5.3.4 too big", "452 4.3.1 no room"])
async def test_what_a_next_hop_says_in_the_middle_of_content_holds_on_a_kept_connection_too(no: str) -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        assert isinstance((await host.deliver(delivery()))[0], Delivered)
        hop.on("content", say(no), times=1)
        (result,) = await host.deliver(delivery(content=Endless()))
        assert result.reply.code == int(no[:3])
        assert hop.connections == 1


async def test_a_next_hop_that_is_down_hears_one_knock_for_many_messages() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        hop.on("greeting", late(0.05, say("421 4.3.2 down", cut=True)))
        results = await asyncio.gather(*(host.deliver(delivery()) for _ in range(30)))
        assert all(isinstance(result, Deferred) and result.cause is Cause.NEXT_HOP for (result,) in results)
        assert hop.connections == 1


async def test_a_next_hop_that_takes_three_connections_gets_every_message() -> None:
    """Exchange Online takes three for a mailbox, and says 432 to the fourth."""
    async with FakeNextHop() as hop, smarthost(hop, connections=10) as host:
        real = hop.act

        def three_only(*steps: str) -> object:
            if "greeting" in steps and hop.open_connections > 3:
                return say("432 4.3.2 concurrent connections limit exceeded", cut=True)
            return real(*steps)

        hop.act = three_only
        hop.on("end", late(0.01))
        results = await asyncio.gather(*(host.deliver(delivery()) for _ in range(40)))
        assert all(isinstance(result, Delivered) for (result,) in results)
        assert len(hop.mails) == 40


async def test_closing_waits_for_nobody_and_a_delivery_in_progress_ends_well() -> None:
    async with FakeNextHop() as hop, smarthost(hop) as host:
        hop.on("end", late(0.1))
        task = asyncio.create_task(host.deliver(delivery()))
        await until(lambda: hop.mails)
        await host.close()
        assert isinstance((await task)[0], Delivered)
        await until(lambda: hop.open_connections == 0)


async def test_closing_fails_no_delivery_that_waits_for_a_connection() -> None:
    async with FakeNextHop() as hop, smarthost(hop, connections=1) as host:
        hop.on("end", late(0.05))
        tasks = [asyncio.create_task(host.deliver(delivery())) for _ in range(5)]
        await until(lambda: hop.mails)
        await host.close()
        results = await asyncio.gather(*tasks)
        assert all(isinstance(result, Delivered) for (result,) in results)
        assert len(hop.mails) == 5
        await until(lambda: hop.open_connections == 0)
