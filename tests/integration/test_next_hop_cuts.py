"""A next hop that is cut off after each octet, its and ours, that is slow, or takes three connections at most.

Nothing is lost, nobody gets a wrong bounce, nothing hangs: `judge` holds each case to what the next hop really did.
"""

from __future__ import annotations

import asyncio
import ssl

import pytest

from contracts.transport_contract import Pieces, delivery
from gatepost.model.delivery import Cause, Deferred, Delivered
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from next_hop import ALL_EXTENSIONS, Act, FakeNextHop, cut, late, say
from next_hop_answers import AGAIN, CLOSING, NEVER, seen
from next_hop_faults import Cutter, judge
from servers import Authority

TO = ("a@x.net", "b@x.net", "c@x.net")
TOLD = ["delivered 250", "failed 550", "delivered 250"]
WAYS = pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, ("SIZE", "8BITMIME")], ids=["pipelined", "step by step"])


async def through(way: Cutter, hop: FakeNextHop, **options: object) -> list[str]:
    """Deliver once over *way*, and judge it."""
    hop.mails.clear()
    hop.said.clear()
    options = {"tls": TlsMode.NONE, **options}
    host = SmartHost("out", "127.0.0.1", way.port, hostname="gatepost.example", **options)
    try:
        async with asyncio.timeout(60):
            results = list(await host.deliver(delivery(*TO)))
    finally:
        await host.close()
    judge(hop, TO, results)
    return seen(results)


def assert_in_order(results: list[list[str]]) -> None:
    """See that with each octet more at least as much is known, that all is known at last, and b is never another's."""
    known = [sum(not each.startswith("deferred") for each in result) for result in results]
    assert known == sorted(known)
    assert results[0] == ["deferred next-hop 451"] * 3
    assert results[-1] == TOLD
    assert {tuple(result) for result in results} == {
        tuple(results[0]),
        ("deferred next-hop 451", "failed 550", "deferred next-hop 451"),
        tuple(TOLD),
    }


@WAYS
@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_connection_that_ends_after_each_octet(extensions: tuple[str, ...], direction: str) -> None:
    async with FakeNextHop(extensions=extensions) as hop:
        hop.on("RCPT b@x.net", say(NEVER))
        async with Cutter(hop.port) as whole:
            assert await through(whole, hop) == TOLD
        most = whole.down_count if direction == "down" else whole.up_count
        results = []
        is_other_loop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
        step = 5 if is_other_loop or "PIPELINING" not in extensions else 1  # each octet once is enough
        for octets in (*range(0, most, step), most):
            async with Cutter(hop.port, **{direction: octets}) as way:
                results.append(await through(way, hop))
        assert_in_order(results)


@pytest.mark.parametrize("direction", ["down", "up"])
async def test_tls_that_ends_anywhere(authority: Authority, context: ssl.SSLContext, direction: str) -> None:
    async with FakeNextHop(tls="starttls", context=context) as hop:
        hop.on("RCPT b@x.net", say(NEVER))
        options = {"tls": TlsMode.STARTTLS, "ca_file": authority.ca}
        async with Cutter(hop.port) as whole:
            assert await through(whole, hop, **options) == TOLD
        most = whole.down_count if direction == "down" else whole.up_count
        results = []
        for octets in (*range(0, most, 61), most):
            async with Cutter(hop.port, **{direction: octets}) as way:
                results.append(await through(way, hop, **options))
        assert_in_order(results)


@WAYS
async def test_octets_that_come_one_by_one(extensions: tuple[str, ...]) -> None:
    async with FakeNextHop(extensions=extensions) as hop:
        hop.on("RCPT b@x.net", say(NEVER))
        async with Cutter(hop.port, each=1) as way:
            assert await through(way, hop) == TOLD


STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "content", "end")


@WAYS
@pytest.mark.rfc("5321 §4.5.3.2")
async def test_a_next_hop_that_is_slow_at_every_step_is_waited_for(extensions: tuple[str, ...]) -> None:
    async with FakeNextHop(extensions=extensions) as hop:
        for step in STEPS:
            hop.on(step, late(0.03))
        hop.on("RCPT b@x.net", late(0.03, say(NEVER)))
        async with Cutter(hop.port) as way:
            assert await through(way, hop) == TOLD


@pytest.mark.rfc("5321 §4.5.3.2")
def test_the_time_of_each_step_is_that_of_the_standard() -> None:
    minute = 60.0
    timeouts = Timeouts()
    assert timeouts.greeting == timeouts.command == timeouts.mail == timeouts.rcpt == 5 * minute
    assert (timeouts.data, timeouts.block, timeouts.final) == (2 * minute, 3 * minute, 10 * minute)


@pytest.mark.parametrize(
    ("step", "act"),
    [
        ("greeting", say(CLOSING, cut=True)),
        ("greeting", cut()),
        ("greeting", say("554 5.3.2 no")),
        ("EHLO", say(CLOSING)),
    ],
    ids=["greeting 421", "greeting cut", "greeting 554", "EHLO 421"],
)
async def test_a_next_hop_that_takes_three_connections_gets_all_mail_over_them(step: str, act: Act) -> None:
    async with FakeNextHop(most_at_once=3) as hop:
        hop.on_too_many = (step, act)
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, connections=10)
        async with asyncio.timeout(60):
            results = await asyncio.gather(*(host.deliver(delivery(f"r{number}@x.net")) for number in range(40)))
        await host.close()
        assert all(isinstance(result, Delivered) for (result,) in results)
        assert sorted(each for mail in hop.accepted for each in mail.recipients) == sorted(
            f"r{number}@x.net" for number in range(40)
        )


@pytest.mark.parametrize("act", [say(CLOSING, cut=True), say("432 4.3.2 too many", cut=True), cut(), say(AGAIN)])
async def test_one_that_says_so_only_at_mail_loses_none_and_bounces_none(act: Act) -> None:
    async with FakeNextHop(most_at_once=3) as hop:
        hop.on_too_many = ("MAIL", act)
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, connections=10)
        async with asyncio.timeout(60):
            left = list(range(40))
            while left:  # as the queue would
                results = await asyncio.gather(*(host.deliver(delivery(f"r{number}@x.net")) for number in left))
                assert all(isinstance(result, Deferred | Delivered) for (result,) in results)
                left = [number for number, (result,) in zip(left, results, strict=True) if isinstance(result, Deferred)]
        await host.close()
        assert sorted(each for mail in hop.accepted for each in mail.recipients) == sorted(
            f"r{number}@x.net" for number in range(40)
        )


async def test_a_huge_message_to_a_next_hop_that_leaves_in_the_middle_is_not_in_doubt() -> None:
    async with FakeNextHop() as hop, Cutter(hop.port, up=1_000_000) as way:
        host = SmartHost("out", "127.0.0.1", way.port, hostname="gatepost.example", tls=TlsMode.NONE)
        content = Pieces(*[(b"x" * 998 + b"\r\n") * 100] * 80)
        async with asyncio.timeout(60):
            (result,) = await host.deliver(delivery(content=content))
        await host.close()
        assert isinstance(result, Deferred)
        assert result.cause is Cause.NEXT_HOP
        assert not result.is_doubtful
        assert not hop.mails


@pytest.fixture
def context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    return context
