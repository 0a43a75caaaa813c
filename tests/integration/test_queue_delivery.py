"""The queue with a real spool on disk and a real client of SMTP: what is accepted arrives, whatever the next hop does.

Time runs 60 times as fast for the queue, and at its own pace for the sockets.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gatepost.model.address import parse_mailbox
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.observe.events import BounceQueued, Event, RecipientDeferred, RecipientDelivered, RoutePaused
from gatepost.queue.limits import Limits
from gatepost.queue.scheduler import Scheduler
from gatepost.relay.match import Match, parse_domain_pattern
from gatepost.relay.opening import TlsMode
from gatepost.relay.router import Route, Router
from gatepost.relay.sandbox import Sandbox
from gatepost.relay.smarthost import SmartHost
from gatepost.spool.sqlite import SqliteSpool
from next_hop import FakeNextHop, cut, say

SPEED = 60.0
HEADER = b"Message-ID: <1@example.org>\r\nFrom: tim@example.org\r\nSubject: hello\r\n\r\n"
BODY = b"a line\r\n.\r\n..dots\r\nthe end\r\n"


class FastClock:
    """Time on the run."""

    def __init__(self) -> None:
        self._start = time.time()
        self._zero = time.monotonic()

    def now(self) -> float:
        return self._start + self.monotonic()

    def monotonic(self) -> float:
        return (time.monotonic() - self._zero) * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / SPEED)


class Station:
    """Spool, queue and routes of one run."""

    def __init__(self, folder: Path, router: Router, limits: Limits | None = None) -> None:
        self.events: list[Event] = []
        self.clock = FastClock()
        self.spool = SqliteSpool(folder, clock=self.clock, reserve_bytes=0)
        self.scheduler = Scheduler(
            self.spool,
            router,
            hostname="mail.example.org",
            clock=self.clock,
            emit=self.events.append,
            limits=limits,
        )

    async def accept(self, *recipients: str, sender: str | None = "tim@example.org", body: bytes = BODY) -> MessageId:
        """Take a message as a session does."""
        incoming = self.spool.begin()
        incoming.write(body)
        await incoming.drain()
        envelope = Envelope(
            None if sender is None else parse_mailbox(sender),
            tuple(Recipient(parse_mailbox(each)) for each in recipients or ("ann@example.net",)),
            account="tim",
            credential="c1",
            header_bytes=len(HEADER),
            size_bytes=len(HEADER) + len(body),
        )
        receipt = await incoming.commit(envelope, HEADER)
        self.scheduler.wake(receipt.id)
        return receipt.id

    async def until_empty(self, seconds: float = 120.0) -> None:
        """Wait until nothing lies in the spool, and what was done is told: the commit comes before the events."""
        async with asyncio.timeout(seconds):
            while self.spool.count() or self.scheduler.in_flight:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def station(folder: Path, router: Router, limits: Limits | None = None) -> AsyncIterator[Station]:
    """Run a station."""
    station = Station(folder, router, limits)
    run = asyncio.create_task(station.scheduler.run())
    try:
        yield station
    finally:
        await station.scheduler.drain(0)
        await run
        await station.spool.close()


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    """Return a next hop."""
    async with FakeNextHop() as hop:
        yield hop


def to(port: int, name: str = "smart") -> SmartHost:
    return SmartHost(name, "127.0.0.1", port, hostname="mail.example.org", tls=TlsMode.NONE)


@pytest.fixture
async def router(hop: FakeNextHop) -> AsyncIterator[Router]:
    """Return one route to it."""
    router = Router([Route("smart", to(hop.port))])
    yield router
    await router.close()


@pytest.mark.parametrize("body", [BODY, b"x" * 70 + b"\r\n" + b"y" * 900_000 + b"\r\n"], ids=["small", "large"])
async def test_a_message_arrives_octet_for_octet(tmp_path: Path, hop: FakeNextHop, router: Router, body: bytes) -> None:
    async with station(tmp_path / "spool", router) as here:
        await here.accept(body=body)
        await here.until_empty()
    [mail] = hop.accepted
    assert (mail.reverse_path, mail.recipients) == ("tim@example.org", ["ann@example.net"])
    assert mail.content == HEADER + body


async def test_recipients_end_each_in_its_own_way_and_the_sender_hears_of_it(
    tmp_path: Path, hop: FakeNextHop, router: Router
) -> None:
    hop.on("RCPT never@example.net", say("550 5.1.1 no such user"))
    hop.on("RCPT later@example.net", say("450 4.2.1 busy"), times=1)
    async with station(tmp_path / "spool", router) as here:
        await here.accept("now@example.net", "later@example.net", "never@example.net")
        await here.until_empty()
        [queued] = [event for event in here.events if isinstance(event, BounceQueued)]
    assert queued.recipient == "tim@example.org"
    got = Counter(each for mail in hop.accepted for each in mail.recipients)
    assert got == {"now@example.net": 1, "later@example.net": 1, "tim@example.org": 1}
    [bounce] = [mail for mail in hop.accepted if not mail.reverse_path]
    report = email.message_from_bytes(bounce.content, policy=email.policy.default)
    status = list(report.iter_parts())[1].get_payload()[1]
    assert status["Final-Recipient"] == "rfc822; never@example.net"
    assert status["Action"] == "failed"
    assert status["Status"] == "5.1.1"
    assert status["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"


STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "content", "end")
ACTS = {"cut": cut(), "421": say("421 4.3.2 going down", cut=True), "451": say("451 4.3.0 not now")}
# A next hop that says no in the middle of the content and yes at its end has the message, and cannot be helped.
FAULTS = [(step, act) for step in STEPS for act in ACTS if (step, act) != ("content", "451")]


@pytest.mark.parametrize(("step", "act"), FAULTS)
async def test_whatever_goes_wrong_once_the_message_arrives_once(
    tmp_path: Path, hop: FakeNextHop, router: Router, step: str, act: str
) -> None:
    hop.on(step, ACTS[act], times=1)
    async with station(tmp_path / "spool", router) as here:
        await here.accept()
        await here.until_empty()
        assert not [event for event in here.events if isinstance(event, BounceQueued)]
    [mail] = hop.accepted
    assert mail.content == HEADER + BODY


async def test_mail_for_a_next_hop_that_is_down_goes_when_it_is_up(tmp_path: Path) -> None:
    hop = FakeNextHop()
    await hop.start()
    port = hop.port
    await hop.close()
    router = Router([Route("smart", to(port))])
    async with station(tmp_path / "spool", router) as here:
        for _ in range(150):
            await here.accept()
        async with asyncio.timeout(60):
            while not any(isinstance(event, RecipientDeferred) for event in here.events):
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        tries = [event for event in here.events if isinstance(event, RecipientDeferred)]
        assert here.spool.count() == 150
        assert len(tries) < 60
        await hop.start(port)
        try:
            await here.until_empty()
            assert len(hop.accepted) == 150
        finally:
            await router.close()
            await hop.close()


async def test_a_refused_login_holds_the_mail_and_bounces_nothing(tmp_path: Path, hop: FakeNextHop) -> None:
    hop.on("MAIL", say("530 5.7.0 authentication required"), times=2)
    router = Router([Route("smart", to(hop.port))])
    async with station(tmp_path / "spool", router) as here:
        for _ in range(10):
            await here.accept()
        await here.until_empty()
        assert [event for event in here.events if isinstance(event, RoutePaused)]
        assert not [event for event in here.events if isinstance(event, BounceQueued)]
    await router.close()
    assert len(hop.accepted) == 10


async def test_what_was_under_way_when_the_process_ended_is_tried_again(
    tmp_path: Path, hop: FakeNextHop, router: Router
) -> None:
    hop.on("DATA", say(), times=1)  # it never answers
    async with station(tmp_path / "spool", router) as here:
        name = await here.accept("ann@example.net", "bob@example.net")
        while not hop.commands or not hop.commands[-1].startswith("DATA"):
            await asyncio.sleep(0.01)
    async with station(tmp_path / "spool", router) as here:
        assert here.spool.entry(name) is not None
        await here.until_empty()
    assert [mail.recipients for mail in hop.accepted] == [["ann@example.net", "bob@example.net"]]


async def test_many_messages_over_two_routes_arrive_once_each(tmp_path: Path, hop: FakeNextHop) -> None:
    sandbox = Sandbox("sandbox", tmp_path / "sandbox")
    router = Router(
        [
            Route("sandbox", sandbox, Match(recipient_domains=(parse_domain_pattern("box.example"),))),
            Route("smart", to(hop.port)),
        ]
    )
    async with station(tmp_path / "spool", router, Limits(attempts=8, per_route=4)) as here:
        names = await asyncio.gather(
            *[here.accept(f"a{number}@box.example", f"b{number}@example.net") for number in range(200)]
        )
        await here.until_empty()
        delivered = [event for event in here.events if isinstance(event, RecipientDelivered)]
    await router.close()
    assert len(delivered) == 400
    kept = [json.loads(path.read_text()) for path in (tmp_path / "sandbox").glob("*.json")]
    assert sorted(each["id"] for each in kept) == sorted(names)
    assert sorted(address for each in kept for address in each["recipients"]) == sorted(
        f"a{number}@box.example" for number in range(200)
    )
    assert Counter(mail.rcpts[0] for mail in hop.accepted).most_common(1)[0][1] == 1
    assert len(hop.accepted) == 200
    assert hop.most_connections <= 4


async def test_a_message_with_more_recipients_than_one_transaction_has_reaches_all(
    tmp_path: Path, hop: FakeNextHop
) -> None:
    router = Router([Route("box", Sandbox("box", tmp_path / "sandbox"))])
    async with station(tmp_path / "spool", router) as here:
        name = await here.accept(*[f"r{number}@example.net" for number in range(230)])
        await here.until_empty()
    kept = json.loads((tmp_path / "sandbox" / f"{name}.json").read_text())
    assert len(kept["recipients"]) == 230
