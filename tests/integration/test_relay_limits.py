"""A next hop that says how much it takes at once gets no more of it (RFC 9422)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from contracts.transport_contract import delivery
from gatepost.relay.smarthost import SmartHost, TlsMode
from next_hop import ALL_EXTENSIONS, FakeNextHop, say
from next_hop_answers import CLOSING, NEVER, seen

FIVE = tuple(f"r{number}@x.net" for number in range(5))


@asynccontextmanager
async def smarthost(limits: str, **options: object) -> AsyncIterator[tuple[FakeNextHop, SmartHost]]:
    async with FakeNextHop(extensions=(*ALL_EXTENSIONS, limits)) as hop:
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, **options)
        try:
            yield hop, host
        finally:
            await host.close()


@pytest.mark.rfc("9422 §4.2")
async def test_a_transaction_has_no_more_recipients_than_the_next_hop_takes() -> None:
    async with smarthost("LIMITS RCPTMAX=2") as (hop, host):
        hop.on("RCPT r3@x.net", say(NEVER))
        assert seen(list(await host.deliver(delivery(*FIVE)))) == [
            *["delivered 250"] * 3,
            "failed 550",
            "delivered 250",
        ]
        assert [mail.recipients for mail in hop.mails] == [["r0@x.net", "r1@x.net"], ["r2@x.net"], ["r4@x.net"]]
        assert hop.connections == 1


async def test_a_limit_of_ours_that_is_lower_holds() -> None:
    async with smarthost("LIMITS RCPTMAX=4", recipients_per_transaction=3) as (hop, host):
        await host.deliver(delivery(*FIVE))
        assert [len(mail.rcpts) for mail in hop.mails] == [3, 2]


@pytest.mark.rfc("9422 §4.1")
async def test_a_connection_has_no_more_transactions_than_the_next_hop_takes() -> None:
    async with smarthost("LIMITS MAILMAX=2 RCPTMAX=1") as (hop, host):
        assert seen(list(await host.deliver(delivery(*FIVE)))) == ["delivered 250"] * 5
        assert [mail.connection for mail in hop.mails] == [1, 1, 2, 2, 3]


@pytest.mark.rfc("9422 §4.1")
async def test_those_who_wait_get_no_connection_that_is_used_up() -> None:
    async with smarthost("LIMITS MAILMAX=3", connections=2) as (hop, host):
        await asyncio.gather(*(host.deliver(delivery()) for _ in range(20)))
        of_each = [sum(mail.connection == number for mail in hop.mails) for number in range(1, hop.connections + 1)]
        assert sum(of_each) == 20
        assert max(of_each) == 3


@pytest.mark.rfc("9422 §4.3")
async def test_a_transaction_has_no_more_domains_than_the_next_hop_takes() -> None:
    async with smarthost("LIMITS RCPTDOMAINMAX=2") as (hop, host):
        to = ("a@one.net", "b@ONE.net", "c@two.net", "d@three.net", "e@two.net", "f@one.net")
        assert seen(list(await host.deliver(delivery(*to)))) == ["delivered 250"] * 6
        assert [mail.recipients for mail in hop.mails] == [list(to[:3]), list(to[3:5]), list(to[5:])]


@pytest.mark.parametrize("limits", ["LIMITS", "LIMITS RCPTMAX=0 MAILMAX=x", "LIMITS RCPTMAX=1000000", "LIMITS OTHER=1"])
async def test_what_cannot_be_read_limits_nothing(limits: str) -> None:
    async with smarthost(limits) as (hop, host):
        await host.deliver(delivery(*FIVE))
        assert [len(mail.rcpts) for mail in hop.mails] == [5]


async def test_when_the_next_hop_goes_away_the_rest_is_not_tried_one_by_one() -> None:
    async with smarthost("LIMITS RCPTMAX=1") as (hop, host):
        hop.on("RCPT r1@x.net", say(CLOSING, cut=True))
        results = await host.deliver(delivery(*FIVE))
        assert seen(list(results)) == ["delivered 250", *["deferred next-hop 421"] * 4]
        assert [mail.recipients for mail in hop.mails] == [["r0@x.net"]]


async def test_when_it_goes_away_without_a_reply_only_what_it_may_have_taken_is_in_doubt() -> None:
    async with smarthost("LIMITS RCPTMAX=2") as (hop, host):
        hop.on("end", say("354 what"))
        results = await host.deliver(delivery(*FIVE))
        assert [each.is_doubtful for each in results] == [True, True, False, False, False]
