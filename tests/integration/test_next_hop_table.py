"""One message through the running server to a next hop that does its worst: what becomes of each recipient.

A client submits over TLS; the next hop answers as the table says; notifications to the sender go to another next hop.
At first every recipient must be delivered, failed and told, or still queued.  Then either the next hop gets well, and
what was queued arrives once, or it never does, and what was queued comes back in time.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import shutil
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from gatepost.app import RealClock
from gatepost.model.envelope import MessageId
from gatepost.observe.events import (
    BounceDropped,
    BounceQueued,
    Event,
    MessageAccepted,
    NoticeQueued,
    RecipientDeferred,
    RecipientDelivered,
    RecipientFailed,
)
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.relay.match import Match, parse_domain_pattern
from gatepost.relay.opening import TlsMode
from gatepost.relay.router import Route, Router
from gatepost.relay.smarthost import SmartHost
from gatepost.relay.wire import Timeouts
from gatepost.spool.spool import Status
from gatepost.testing import RunningServer, running
from integration.client import Client, log_in
from next_hop import ALL_EXTENSIONS, Act, FakeNextHop, babble, cut, late, say, silent
from next_hop_answers import AGAIN, CLOSING, NEVER, OUT_OF_STEP, TABLE
from servers import Authority

LINES = b"one line\r\n.\r\n..two dots\r\nthe end\r\n"
EIGHT_BIT = "grüße, señor\r\n".encode()
ENVELOPE = ("a@x.net", "b@x.net", "c@x.net")
HOUR, WEEK = 3600.0, 7 * 86400.0


class MovedClock(RealClock):
    """The clock of the machine, set forward."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return RealClock.now() + self.ahead


@dataclass
class Row:
    """What the next hop is, what it does, what that comes to.

    Args:
        name: what it proves.
        script: what it does at which step.
        expected: what becomes of each recipient, as `next_hop_answers.seen` writes it.
        extensions: what it offers, true or not.
        server: what else it is.
        route: how we go there.
        body: what is sent, and whether with SMTPUTF8.
        recipients: to whom.
        knows_authority: whether we trust who made its certificate.
        is_doubtful: whether it takes the message and does not say so, so that one more copy is nobody's fault.
    """

    name: str
    script: dict[str, Act]
    expected: list[str]
    extensions: tuple[str, ...] = ALL_EXTENSIONS
    server: dict[str, Any] = field(default_factory=dict)
    route: dict[str, Any] = field(default_factory=dict)
    body: bytes = LINES
    smtputf8: bool = False
    recipients: tuple[str, ...] = ENVELOPE
    knows_authority: bool = False
    is_doubtful: bool = False

    @property
    def timeouts(self) -> Timeouts:
        """How long we wait: only for what never comes no longer than a moment."""
        acts = [act for act in self.script.values() if act.octets is not None and not act.cut]
        is_in_vain = self.server.get("loses_pipelined") or not all(act.octets.endswith(b"\r\n") for act in acts)
        return Timeouts(30.0, 30.0, *[1.0 if is_in_vain else 60.0] * 7)


DOWN, PAUSED, TAKEN = ["deferred next-hop 451"] * 3, ["deferred route 454"] * 3, ["delivered 250"] * 3
PLAIN = ("SIZE",)
STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "end")
BADLY_TOLD = {"end 354", "two codes in one reply"}
# Of those next hops that are out of step, as many as show what queue and notifications make of them.
LOST_THREAD = {"MAIL 503: it has lost the thread", "two replies to MAIL, one RCPT refused"}

ROWS = [Row(name, script, expected, is_doubtful=name in BADLY_TOLD) for name, script, expected in TABLE]
ROWS += [Row(name, script, expected) for name, script, expected in OUT_OF_STEP if name in LOST_THREAD]
ROWS += [Row(f"{step} late", {step: late(0.1)}, TAKEN) for step in STEPS]
ROWS += [Row(f"{step} never", {step: silent()}, DOWN) for step in STEPS]
ROWS += [
    Row(
        "each step by step, another way",
        {"RCPT a@x.net": say(NEVER), "RCPT b@x.net": say(AGAIN)},
        ["failed 550", "deferred 451", "delivered 250"],
        PLAIN,
    ),
    Row("cut in the content", {"content": cut()}, DOWN),
    Row("421 in the content", {"content": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3),
    Row("554 in the content", {"content": say("554 5.7.1 no", cut=True)}, ["failed 554"] * 3),
    Row("garbage at the end", {"end": babble(b"\x00\xff\r\n")}, DOWN),
    Row("LF alone at the end", {"end": babble(b"250 ok\n")}, DOWN, is_doubtful=True),
    # It lies about its extensions.
    Row("PIPELINING offered, and lost", {}, DOWN, server={"loses_pipelined": True}),
    Row("SIZE offered, and unknown", {"MAIL": say("555 5.5.4 SIZE?")}, ["failed 555"] * 3, PLAIN),
    Row("SIZE smaller than the message", {}, ["failed 552"] * 3, ("SIZE 100",)),
    Row("SIZE without a number", {}, TAKEN, ("SIZE lots",)),
    Row("SIZE larger than it takes", {"end": say("552 5.3.4 too big")}, ["failed 552"] * 3, ("SIZE 999999",)),
    Row("8BITMIME offered, and unknown", {"MAIL": say("555 5.5.4 BODY?")}, ["failed 555"] * 3, body=EIGHT_BIT),
    Row("8BITMIME not offered", {}, TAKEN, PLAIN, body=EIGHT_BIT),
    Row(
        "SMTPUTF8 offered without 8BITMIME",
        {},
        ["failed 553"],
        ("SMTPUTF8",),
        body=EIGHT_BIT,
        smtputf8=True,
        recipients=("rené@x.net",),
    ),
    Row(
        "SMTPUTF8 offered, and unknown",
        {"MAIL": say("555 5.5.4 what?")},
        ["failed 555"],
        smtputf8=True,
        recipients=("rené@x.net",),
    ),
    Row("STARTTLS needed, and not offered", {}, PAUSED, route={"tls": TlsMode.STARTTLS}),
    Row(
        "STARTTLS offered, and refused",
        {"STARTTLS": say("454 4.7.0 not now")},
        ["deferred next-hop 454"] * 3,
        server={"tls": "starttls"},
        route={"tls": TlsMode.STARTTLS},
        knows_authority=True,
    ),
    Row("certificate of nobody we know", {}, PAUSED, server={"tls": "starttls"}, route={"tls": TlsMode.STARTTLS}),
    Row("the same on implicit TLS", {}, PAUSED, server={"tls": "implicit"}, route={"tls": TlsMode.IMPLICIT}),
    Row("login without TLS", {}, PAUSED, server={"mechanisms": ("PLAIN",)}, route={"login": "tim"}),
]
WAITING = [
    row
    for row in ROWS
    # Served step by step, one that loses what is pipelined takes it all.
    if any(each.startswith("deferred") for each in row.expected) and not row.server.get("loses_pipelined")
]


@dataclass
class Stage:
    """A server between its client and its next hops."""

    server: RunningServer
    clock: MovedClock
    away: FakeNextHop
    home: FakeNextHop

    def events(self, *kinds: type[Event]) -> list[Any]:
        """Return the facts of these kinds so far."""
        return [event for event in self.server.events if isinstance(event, kinds)]

    async def until(self, *what: Any, seconds: float = 200.0) -> None:
        """Wait until each of *what* is true."""
        async with asyncio.timeout(seconds):
            while not all(each() for each in what):
                await asyncio.sleep(0.005)

    async def submit(self, row: Row) -> MessageId:
        """Hand the message in, over TLS and logged in."""
        client: Client = await log_in(self.server)
        parameters = "".join((" BODY=8BITMIME" * (not row.body.isascii()), " SMTPUTF8" * row.smtputf8))
        assert (await client.say(f"MAIL FROM:<tim@example.org>{parameters}")).startswith("250")
        for recipient in row.recipients:
            assert (await client.say(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await client.say("DATA")).startswith("354")
        stuffed = row.body.replace(b"\r\n.", b"\r\n..")
        client.writer.write(b"From: tim@example.org\r\nSubject: the table\r\n\r\n" + stuffed + b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0")
        await client.close()
        (accepted,) = self.events(MessageAccepted)
        return MessageId(accepted.message)

    def reports(self) -> list[EmailMessage]:
        """Return what came to the sender, parsed."""
        assert {each for mail in self.home.mails for each in mail.recipients} <= {"tim@example.org"}
        return [parsed(mail.content) for mail in self.home.accepted if not mail.reverse_path]

    def copies(self) -> Counter[str]:
        """Count what the next hop said yes to, by recipient."""
        return Counter(each for mail in self.away.accepted for each in mail.recipients)


@asynccontextmanager
async def stage(state: Path, authority: Authority, row: Row) -> AsyncIterator[Stage]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    away = FakeNextHop(extensions=row.extensions, context=context, **row.server)
    home = FakeNextHop()
    for step, act in row.script.items():
        away.on(step, act)
    clock = MovedClock()
    async with (
        away,
        home,
        running(
            state,
            certificate=authority.certificate,
            key=authority.key,
            settings={"auth": {"failure_delay": "0s"}},
            clock=clock,
        ) as server,
    ):
        server.client_context = authority.client_context()  # type: ignore[attr-defined]
        options = {"tls": TlsMode.NONE, "timeouts": row.timeouts, "hostname": "mail.example.org", **row.route}
        if row.knows_authority:
            options["ca_file"] = authority.ca
        match = Match(recipient_domains=(parse_domain_pattern("example.org"),))
        server.worker.router = Router(
            [
                Route("home", SmartHost("home", "127.0.0.1", home.port, hostname="x.example", tls=TlsMode.NONE), match),
                Route("away", SmartHost("away", "127.0.0.1", away.port, **options)),
            ]
        )
        server.worker.scheduler.adapt(server.worker.router, Schedule(), Limits())
        yield Stage(server, clock, away, home)


def parsed(octets: bytes) -> EmailMessage:
    """Read a message as Python's email package does, and find no fault in it."""
    message = email.message_from_bytes(octets, policy=email.policy.SMTP)
    assert isinstance(message, EmailMessage)
    assert not [defect for part in message.walk() for defect in part.defects]
    return message


def outcomes(here: Stage, row: Row) -> list[str]:
    """Return what became of each recipient at first, as the table writes it; nothing for one that was not tried."""
    first: dict[str, str] = {}
    for event in here.events(RecipientDelivered, RecipientDeferred, RecipientFailed):
        cause = " route" if getattr(event, "cause", "") == "route" else ""
        first.setdefault(event.recipient, f"{event.name}{cause} {event.reply[:3]}")
    return [first[each] for each in row.recipients if each in first]


def check_report(report: EmailMessage, here: Stage) -> list[str]:
    """Hold a report to RFC 3464 and to what was said; return who failed."""
    assert report.get_content_type() == "multipart/report"
    assert report["Content-Type"].params["report-type"] == "delivery-status"
    assert report["From"].addresses[0].addr_spec == "MAILER-DAEMON@mail.example.org"
    assert report["To"].addresses[0].addr_spec == "tim@example.org"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report["Message-ID"]
    assert report["Date"].datetime
    words, status, returned = report.iter_parts()
    assert words.get_content_type() == "text/plain"
    assert status.get_content_type() in ("message/delivery-status", "message/global-delivery-status")
    assert b"Subject: the table" in returned.as_bytes()
    if status.get_content_type() == "message/delivery-status":
        groups: Sequence[Any] = status.get_payload()
    else:  # the package knows nothing of the global form: to it, the first group is the header of a message
        inner = status.get_payload(0)
        rest = inner.get_payload(decode=True).strip().split(b"\r\n\r\n")
        groups = [inner, *[email.message_from_bytes(each, policy=email.policy.SMTPUTF8) for each in rest]]
    about, *each_recipient = groups
    assert about["Reporting-MTA"] == "dns; mail.example.org"
    assert about["Arrival-Date"]
    told = {event.recipient: event for event in here.events(RecipientFailed)}
    names = []
    for group in each_recipient:
        kind, _, name = group["Final-Recipient"].partition("; ")
        assert kind == ("rfc822" if name.isascii() else "utf-8")
        assert name in words.get_content()
        if group["Action"] == "delayed":  # the route is to blame, which is no matter for the sender
            assert group["Status"] == "4.3.5"
            assert group["Will-Retry-Until"]
            assert name not in told
            continue
        assert group["Action"] == "failed"
        event = told[name]
        assert group["Status"] == event.status
        assert re.fullmatch(r"5\.\d\.\d|4\.4\.7", group["Status"])
        kind, _, said = group["Diagnostic-Code"].partition("; ")
        assert said == event.reply
        assert kind in ("smtp", "x-gatepost")
        assert group["Remote-MTA"] == "dns; 127.0.0.1"
        assert group["Last-Attempt-Date"]
        names.append(name)
    return names


async def check(here: Stage, row: Row, failed: set[str]) -> None:
    """Wait for all reports, and hold them to those who *failed*."""
    await here.until(lambda: len(here.home.accepted) == len(here.events(BounceQueued, NoticeQueued)))
    told = [name for report in here.reports() for name in check_report(report, here)]
    assert sorted(told) == sorted(failed)
    assert not here.events(BounceDropped)
    assert not here.server.troubles
    expected_body = parsed(b"X: y\r\n\r\n" + row.body).get_payload(decode=True)
    for mail in here.away.accepted:
        if mail.recipients:
            assert parsed(mail.content).get_payload(decode=True) == expected_body


@asynccontextmanager
async def first_round(state: Path, authority: Authority, row: Row) -> AsyncIterator[tuple[Stage, MessageId]]:
    """Submit the message, and see what becomes of it at first."""
    async with stage(state, authority, row) as here:
        name = await here.submit(row)
        await here.until(lambda: len(outcomes(here, row)) == len(row.recipients))
        # Whose trouble it is, is judged for the attempt as a whole: here only a route's makes a difference.
        assert outcomes(here, row) == [each.replace(" next-hop", "") for each in row.expected]
        await check(here, row, of(row, "failed"))
        entry = here.server.worker.spool.entry(name)
        waiting = (
            set()
            if entry is None
            else {str(each.recipient) for each in entry.progress if each.status is Status.PENDING}
        )
        assert waiting == of(row, "deferred")
        yield here, name


def of(row: Row, outcome: str) -> set[str]:
    """Return the recipients that the table expects to come to *outcome*."""
    return {each for each, expected in zip(row.recipients, row.expected, strict=True) if expected.startswith(outcome)}


def state_in(folder: Path, state: Path) -> Path:
    """Copy the state folder of a server."""
    return shutil.copytree(state, folder / "state")


def named(rows: list[Row]) -> Any:
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@named(ROWS)
async def test_every_recipient_is_delivered_failed_and_told_or_queued_and_then_arrives_once(
    tmp_path: Path, server_state: Path, authority: Authority, row: Row
) -> None:
    async with first_round(state_in(tmp_path, server_state), authority, row) as (here, name):
        spool = here.server.worker.spool
        once = of(row, "delivered")
        if row.expected == PAUSED:
            assert spool.count() == 1
        else:
            here.away.usual()
            here.clock.ahead += HOUR
            here.server.worker.scheduler.wake(name)
            await here.until(lambda: not spool.count())
            once |= of(row, "deferred")
        await check(here, row, of(row, "failed"))
        copies = here.copies()
        assert set(copies) >= once
        assert {each for each, number in copies.items() if number > 1} <= (once if row.is_doubtful else set())
        assert not set(copies) & of(row, "failed") or row.is_doubtful


@named(WAITING)
async def test_what_stays_queued_for_too_long_comes_back_unless_the_route_is_to_blame(
    tmp_path: Path, server_state: Path, authority: Authority, row: Row
) -> None:
    async with first_round(state_in(tmp_path, server_state), authority, row) as (here, name):
        spool = here.server.worker.spool
        tries = len(here.events(RecipientDeferred, RecipientFailed))
        here.clock.ahead += WEEK
        here.server.worker.scheduler.wake(name)
        await here.until(lambda: len(here.events(RecipientDeferred, RecipientFailed)) > tries)
        failed = of(row, "failed")
        if any("route" in each for each in row.expected):
            assert spool.entry(name) is not None
            assert [event.action for event in here.events(NoticeQueued)] == ["delayed"]
        else:
            failed |= of(row, "deferred")
            await here.until(lambda: not spool.count())
        await check(here, row, failed)
