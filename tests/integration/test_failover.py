"""Several hosts of a route, as real servers: down, slow, refusing, back again; nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from contracts.transport_contract import delivery
from gatepost.control.verbs import route_states
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed
from gatepost.observe.events import Event, HostRested, HostRestored
from gatepost.relay.failover import Failover
from gatepost.relay.host_rest import HostRest
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from integration.client import log_in
from integration.conftest import Start
from next_hop import FakeNextHop, babble, cut, late, say, silent
from servers import Authority


class Hops:
    """Two next hops, and a route over both."""

    def __init__(self, first: FakeNextHop, second: FakeNextHop, patience: float, **options: Any) -> None:
        self.first, self.second = first, second
        self.events: list[Event] = []
        options = {"tls": TlsMode.NONE, "hostname": "mail.example.org", **options}
        self.rests = [HostRest(f"127.0.0.1:{each.port}") for each in (first, second)]
        hosts = [SmartHost("out", "127.0.0.1", each.port, **options) for each in (first, second)]
        self.route = Failover("out", hosts, self.rests, self.events.append, patience=patience)

    @property
    def accepted(self) -> tuple[int, int]:
        return len(self.first.accepted), len(self.second.accepted)

    def rest_is_over(self) -> None:
        """Let the first host be probed."""
        self.rests[0].until = asyncio.get_running_loop().time() - 1


async def close(hop: FakeNextHop) -> None:
    if hop.is_started:
        await hop.close()


@pytest.fixture
async def hops() -> AsyncIterator[Any]:
    async with AsyncExitStack() as stack:

        async def make(patience: float = 60.0, context: ssl.SSLContext | None = None, **options: Any) -> Hops:
            tls = "starttls" if context is not None else "none"
            both = [FakeNextHop(tls=tls, context=context) for _ in range(2)]
            for each in both:
                await each.start()
                stack.push_async_callback(close, each)
            made = Hops(*both, patience, **options)
            stack.push_async_callback(made.route.close)
            return made

        yield make


async def test_the_first_host_gets_everything_while_it_works(hops: Any) -> None:
    made = await hops()
    for _ in range(3):
        assert isinstance((await made.route.deliver(delivery("a@example.net")))[0], Delivered)
    assert made.accepted == (3, 0)
    assert made.second.connections == 0
    assert made.events == []


TROUBLES = {
    "421 for a greeting": lambda hop: hop.on("greeting", say("421 4.3.2 closing")),
    "450 for a greeting": lambda hop: hop.on("greeting", say("450 4.3.2 busy")),
    "554 for a greeting": lambda hop: hop.on("greeting", say("554 5.3.2 no service")),
    "no greeting": lambda hop: hop.on("greeting", silent()),
    "cut before the greeting": lambda hop: hop.on("greeting", cut()),
    "nonsense": lambda hop: hop.on("greeting", babble(b"\x00\xff\r\n")),
    "421 for EHLO": lambda hop: hop.on("EHLO", say("421 4.3.2 closing")),
    "421 for MAIL": lambda hop: hop.on("MAIL", say("421 4.3.2 closing", cut=True)),
    "421 for RCPT": lambda hop: hop.on("RCPT", say("421 4.3.2 closing", cut=True)),
    "cut at DATA": lambda hop: hop.on("DATA", cut()),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_what_the_first_host_never_saw_goes_to_the_next_at_once(hops: Any, trouble: str) -> None:
    made = await hops(patience=1.0 if trouble == "no greeting" else 60.0)
    TROUBLES[trouble](made.first)
    results = await made.route.deliver(delivery("a@example.net", "b@example.net"))
    assert [type(each) for each in results] == [Delivered, Delivered]
    assert made.accepted == (0, 1)
    [rested] = made.events
    assert isinstance(rested, HostRested)
    assert rested.host == made.rests[0].host

    # It rests, and is not asked again meanwhile.
    connections = made.first.connections
    await made.route.deliver(delivery("c@example.net"))
    assert made.first.connections == connections
    assert made.accepted == (0, 2)

    # Then it is probed, and takes the mail again.
    made.first.usual()
    made.rest_is_over()
    await made.route.deliver(delivery("d@example.net"))
    assert made.accepted == (1, 2)
    assert isinstance(made.events[-1], HostRestored)
    await made.route.deliver(delivery("e@example.net"))
    assert made.accepted == (2, 2)


async def test_all_recipients_go_to_the_next_host_at_once_though_they_need_several_transactions(hops: Any) -> None:
    made = await hops(recipients_per_transaction=2)
    await made.first.close()
    results = await made.route.deliver(delivery(*(f"u{number}@x.net" for number in range(5))))
    assert [type(each) for each in results] == [Delivered] * 5
    assert made.accepted == (0, 3)


async def test_who_was_still_to_come_when_the_first_host_closed_goes_to_the_next_at_once(hops: Any) -> None:
    made = await hops(recipients_per_transaction=2)
    made.first.on("RCPT u3@x.net", say("421 4.3.2 closing", cut=True))
    results = await made.route.deliver(delivery(*(f"u{number}@x.net" for number in range(6))))
    assert [type(each) for each in results] == [Delivered] * 6
    assert made.accepted == (1, 2)


async def test_a_host_that_is_down_comes_back(hops: Any) -> None:
    made = await hops()
    port = made.first.port
    await made.first.close()
    assert isinstance((await made.route.deliver(delivery("a@example.net")))[0], Delivered)
    made.rest_is_over()
    assert isinstance((await made.route.deliver(delivery("b@example.net")))[0], Delivered)
    assert made.accepted[1] == 2
    assert len(made.events) == 2
    await made.first.start(port)
    made.rest_is_over()
    assert isinstance((await made.route.deliver(delivery("c@example.net")))[0], Delivered)
    assert made.accepted == (1, 2)


async def test_while_one_delivery_probes_the_others_go_elsewhere(hops: Any) -> None:
    made = await hops()
    made.first.on("greeting", say("421 4.3.2 closing"), times=1)
    await made.route.deliver(delivery("a@example.net"))
    made.first.on("greeting", late(1.0))
    made.rest_is_over()
    await asyncio.gather(*[made.route.deliver(delivery(f"b{number}@example.net")) for number in range(5)])
    assert made.accepted == (1, 5)


async def test_a_broken_certificate_sends_mail_to_the_next_host(hops: Any, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    made = await hops(context=context, tls=TlsMode.STARTTLS, ca_file=authority.ca)
    made.first.on("STARTTLS", babble(b"220 go ahead\r\n\x00\x00no TLS\r\n"))
    assert isinstance((await made.route.deliver(delivery("a@example.net")))[0], Delivered)
    assert made.accepted == (0, 1)
    assert made.second.accepted[0].is_encrypted


async def test_a_certificate_that_is_not_good_anywhere_is_trouble_of_the_route(hops: Any, authority: Authority) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    made = await hops(context=context, tls=TlsMode.STARTTLS)
    await made.second.close()
    [result] = await made.route.deliver(delivery("a@example.net"))
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
    assert "certificate" in result.reply.text


async def test_with_all_hosts_down_each_is_tried_once_an_attempt(hops: Any) -> None:
    made = await hops()
    for hop in (made.first, made.second):
        hop.on("greeting", say("421 4.3.2 closing"))
    for number in range(1, 4):
        [result] = await made.route.deliver(delivery("a@example.net"))
        assert isinstance(result, Deferred)
        assert result.cause is Cause.NEXT_HOP
        assert (made.first.connections, made.second.connections) == (number, number)


async def test_the_last_host_has_all_the_time_that_the_standard_gives_it(hops: Any) -> None:
    made = await hops(patience=0.2)
    await made.first.close()
    made.second.on("greeting", late(1.0))
    assert isinstance((await made.route.deliver(delivery("a@example.net")))[0], Delivered)


async def test_a_fault_of_the_message_is_not_tried_elsewhere(hops: Any) -> None:
    made = await hops()
    made.first.on("RCPT no@example.net", say("550 5.1.1 nobody"))
    made.first.on("RCPT later@example.net", say("450 4.2.1 later"))
    results = await made.route.deliver(delivery("no@example.net", "later@example.net", "a@example.net"))
    assert [type(each) for each in results] == [Failed, Deferred, Delivered]
    made.first.on("end", say("451 4.7.1 greylisted"))
    [result] = await made.route.deliver(delivery("b@example.net"))
    assert isinstance(result, Deferred)
    assert made.second.connections == 0
    assert made.events == []


async def test_who_was_refused_by_the_first_host_is_not_asked_of_the_second(hops: Any) -> None:
    made = await hops()
    made.first.extensions = ()  # step by step
    made.first.on("RCPT no@example.net", say("550 5.1.1 nobody"))
    made.first.on("RCPT a@example.net", say("421 4.3.2 closing", cut=True))
    results = await made.route.deliver(delivery("no@example.net", "a@example.net"))
    assert [type(each) for each in results] == [Failed, Delivered]
    assert [each.recipients for each in made.second.accepted] == [["a@example.net"]]


@pytest.mark.parametrize("act", [cut(), silent()])
async def test_after_the_final_dot_without_a_reply_no_other_host_is_tried(hops: Any, act: Any) -> None:
    made = await hops(timeouts=Timeouts(final=1.0))
    made.first.on("end", act)
    [result] = await made.route.deliver(delivery("a@example.net"))
    assert isinstance(result, Deferred)
    assert result.is_doubtful
    assert not result.is_unseen
    assert made.second.connections == 0
    # The next attempt goes where it may work.
    assert isinstance((await made.route.deliver(delivery("a@example.net")))[0], Delivered)
    assert made.accepted[1] == 1


async def test_a_host_that_goes_away_in_the_middle_of_the_content_gets_no_second_chance_at_once(hops: Any) -> None:
    made = await hops()
    made.first.on("content", cut())
    [result] = await made.route.deliver(delivery("a@example.net"))
    assert isinstance(result, Deferred)
    assert not result.is_unseen
    assert made.second.connections == 0


async def test_a_kept_connection_that_died_is_no_reason_to_go_elsewhere(hops: Any) -> None:
    made = await hops()
    await made.route.deliver(delivery("a@example.net"))
    made.first.cut_all()
    await made.route.deliver(delivery("b@example.net"))
    assert made.accepted == (2, 0)
    assert made.events == []


async def test_a_server_loses_and_doubles_nothing_while_its_hosts_come_and_go(start: Start) -> None:
    first, second = FakeNextHop(), FakeNextHop()
    await first.start()
    await second.start()
    hosts = [f"127.0.0.1:{first.port}", f"127.0.0.1:{second.port}"]
    route = {"name": "out", "transport": "smarthost", "hosts": hosts, "tls": "none"}
    port = first.port
    async with start(route=[route]) as server:
        client = await log_in(server)
        for number in range(12):
            if number == 3:
                await first.close()
            elif number == 6:
                await first.start(port)
            elif number == 9:
                await second.close()
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
            assert (await client.say(f"RCPT TO:<r{number}@example.net>")).startswith("250")
            assert (await client.say("DATA")).startswith("354")
            assert (await client.say("From: tim@example.org\r\n\r\nhello\r\n.")).startswith("250")
            async with asyncio.timeout(60):
                while server.worker.spool.count():
                    await asyncio.sleep(0.01)
        await client.close()
        [row] = route_states(server.worker)
        assert [each["host"] for each in row["hosts"]] == hosts
        assert [each["rests"] for each in row["hosts"]] == [False, True]
        assert "cannot connect" in row["hosts"][1]["reason"]
        assert row["state"] == "open"
    await close(first)
    got = sorted(each for hop in (first, second) for mail in hop.accepted for each in mail.recipients)
    assert got == sorted(f"r{number}@example.net" for number in range(12))
    assert all(len(hop.accepted) >= 3 for hop in (first, second))
