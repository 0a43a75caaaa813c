"""A delivery of several transactions: what the first came to holds, whatever becomes of those after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from contracts.transport_contract import delivery
from gatepost.errors import SpoolUnavailable
from gatepost.model.delivery import Deferred
from gatepost.queue.grouping import is_left_over
from gatepost.relay import smarthost
from gatepost.relay.failover import Failover
from gatepost.relay.host_rest import HostRest
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Delivery
from next_hop import FakeNextHop, say
from next_hop_answers import CLOSING, seen

THREE = ("r0@x.net", "r1@x.net", "r2@x.net")


class Fading:
    """A content that can be read some times, and then no more."""

    inline = None

    def __init__(self, octets: bytes, times: int) -> None:
        self.size_bytes = len(octets)
        self._octets = octets
        self._times = times

    async def chunks(self) -> AsyncIterator[bytes]:
        if not self._times:
            raise SpoolUnavailable("the disk is gone")
        self._times -= 1
        yield self._octets


def fading(times: int, *recipients: str) -> Delivery:
    return replace(delivery(*recipients), content=Fading(b"Subject: x\r\n\r\nbody\r\n", times))


def host_of(hop: FakeNextHop) -> SmartHost:
    options: dict[str, Any] = {"tls": TlsMode.NONE, "hostname": "gatepost.example", "recipients_per_transaction": 1}
    return SmartHost("out", "127.0.0.1", hop.port, **options)


async def test_who_has_it_has_it_when_the_content_cannot_be_read_again() -> None:
    async with FakeNextHop() as hop:
        host = host_of(hop)
        try:
            results = await host.deliver(fading(1, *THREE))
        finally:
            await host.close()
    assert seen(list(results)) == ["delivered 250", "deferred 451", "deferred 451"]


async def test_that_nothing_can_be_read_is_the_spools_trouble() -> None:
    async with FakeNextHop() as hop:
        host = host_of(hop)
        try:
            with pytest.raises(SpoolUnavailable):
                await host.deliver(fading(0, *THREE))
        finally:
            await host.close()


async def test_another_host_gets_those_whom_the_first_was_not_asked_for() -> None:
    async with FakeNextHop() as first, FakeNextHop() as second:
        first.on("RCPT r1@x.net", say(CLOSING, cut=True))
        route = Failover("out", [host_of(first), host_of(second)], [HostRest("first"), HostRest("second")])
        try:
            results = await route.deliver(delivery(*THREE))
        finally:
            await route.close()
        assert seen(list(results)) == ["delivered 250"] * 3
        assert [mail.recipients for mail in first.accepted] == [["r0@x.net"]]
        assert [mail.recipients for mail in second.accepted] == [["r1@x.net"], ["r2@x.net"]]


async def test_who_has_it_has_it_when_the_content_cannot_be_read_for_another_host() -> None:
    async with FakeNextHop() as first, FakeNextHop() as second:
        first.on("RCPT r1@x.net", say(CLOSING, cut=True))
        route = Failover("out", [host_of(first), host_of(second)], [HostRest("first"), HostRest("second")])
        try:
            results = await route.deliver(fading(1, *THREE))
        finally:
            await route.close()
    assert seen(list(results)) == ["delivered 250", "deferred next-hop 421", "deferred next-hop 421"]


async def test_a_slow_host_is_left_in_time_to_write_down_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smarthost, "GO_ON_SECONDS", 0.0)
    async with FakeNextHop() as hop:
        host = host_of(hop)
        try:
            results = list(await host.deliver(delivery(*THREE)))
        finally:
            await host.close()
        assert len(hop.accepted) == 1
    assert seen(results) == ["delivered 250", "deferred 452", "deferred 452"]
    assert isinstance(results[1], Deferred)
    assert is_left_over(results[1], results)


async def test_no_further_transaction_begins_when_the_server_ends() -> None:
    async with FakeNextHop() as hop:
        host = host_of(hop)
        try:
            results = list(await host.deliver(replace(delivery(*THREE), goes_on=lambda: len(hop.accepted) < 2)))
        finally:
            await host.close()
        assert len(hop.accepted) == 2
    assert seen(results) == ["delivered 250", "delivered 250", "deferred 452"]
    assert is_left_over(results[2], results)


async def test_who_was_left_over_by_us_is_so_though_nobody_before_was_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smarthost, "GO_ON_SECONDS", 0.0)
    async with FakeNextHop() as hop:
        hop.on("RCPT", say("550 5.1.1 no such user"))
        host = host_of(hop)
        try:
            results = list(await host.deliver(delivery(*THREE)))
        finally:
            await host.close()
    assert seen(results) == ["failed 550", "deferred 452", "deferred 452"]
    assert [is_left_over(each, results) for each in results] == [False, True, True]
