"""Our LMTP client against a next hop that answers as told: a reply for each recipient, on TCP and on a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from contracts.transport_contract import CONTENT, Pieces, Whole, delivery
from gatepost.model.delivery import Cause, Deferred, Delivered, Handover
from gatepost.model.identity import Secret
from gatepost.observe.events import BounceQueued
from gatepost.relay.lmtp import Lmtp
from gatepost.relay.router import Route, Router
from gatepost.relay.smarthost import TlsMode
from gatepost.relay.transport import Content
from gatepost.relay.wire import Timeouts
from integration.test_queue_delivery import station
from lmtp_next_hop import LMTP_EXTENSIONS, FakeLmtpHop
from next_hop import Act, babble, cut, say, silent
from next_hop_answers import AGAIN, CLOSING, NEVER, seen
from servers import Authority

Start = Callable[..., Awaitable[Lmtp]]

THREE = ("a@x.net", "b@x.net", "c@x.net")

# What it proves, what the next hop does at which step, what becomes of each of three, and who may have it all the same.
TABLE: list[tuple[str, dict[str, Act], list[str], str]] = [
    ("all is well", {}, ["delivered 250"] * 3, "---"),
    (
        "each its own reply",
        {"end a@x.net": say("452 4.2.2 full"), "end b@x.net": say(NEVER)},
        ["deferred 452", "failed 550", "delivered 250"],
        "---",
    ),
    (
        "one RCPT refused: its place gets no reply",
        {"RCPT b@x.net": say(NEVER), "end c@x.net": say(AGAIN)},
        ["delivered 250", "failed 550", "deferred 451"],
        "---",
    ),
    (
        "replies of many lines",
        {"end a@x.net": say("250-2.1.5 kept", "250 2.1.5 well"), "end b@x.net": say("550-5.1.1 no", "550 5.1.1 one")},
        ["delivered 250", "failed 550", "delivered 250"],
        "---",
    ),
    (
        "cut before the first reply",
        {"end a@x.net": cut()},
        ["deferred next-hop 451"] * 3,
        "???",
    ),
    (
        "cut after the first reply",
        {"end b@x.net": cut()},
        ["delivered 250", "deferred next-hop 451", "deferred next-hop 451"],
        "-??",
    ),
    (
        "cut before the last reply",
        {"end a@x.net": say(NEVER), "end c@x.net": cut()},
        ["failed 550", "delivered 250", "deferred next-hop 451"],
        "--?",
    ),
    (
        "cut within a reply",
        {"end b@x.net": babble(b"250 2.1.5 ke", cut=True)},
        ["delivered 250", "deferred next-hop 451", "deferred next-hop 451"],
        "-??",
    ),
    (
        "one refused at RCPT, cut after the first reply",
        {"RCPT a@x.net": say(NEVER), "end c@x.net": cut()},
        ["failed 550", "delivered 250", "deferred next-hop 451"],
        "--?",
    ),
    (
        "421 for one, and replies for the others",
        {"end b@x.net": say(CLOSING)},
        ["delivered 250", "deferred next-hop 421", "delivered 250"],
        "---",
    ),
    (
        "421 for one, and then it closes",
        {"end b@x.net": say(CLOSING, cut=True)},
        ["delivered 250", "deferred next-hop 421", "deferred next-hop 451"],
        "--?",
    ),
    (
        "what is no reply to content",
        {"end b@x.net": say("354 go on")},
        ["delivered 250", "deferred next-hop 451", "deferred next-hop 451"],
        "-??",
    ),
    (
        "garbage",
        {"end b@x.net": babble(b"\xff\x00\r\n")},
        ["delivered 250", "deferred next-hop 451", "deferred next-hop 451"],
        "-??",
    ),
    (
        "a reply more than there are recipients",
        {"end c@x.net": say("250 ok", "250 ok")},
        ["delivered 250"] * 3,
        "---",
    ),
    (
        "a reply more than there are recipients, and not all the same",
        {"RCPT a@x.net": say(NEVER), "end b@x.net": say("250 ok", NEVER, NEVER)},
        ["failed 550", "deferred next-hop 451", "deferred next-hop 451"],
        "-??",
    ),
    ("every RCPT refused", {"RCPT": say(NEVER)}, ["failed 550"] * 3, "---"),
    (
        "every RCPT refused, DATA taken all the same",
        {"RCPT": say(NEVER), "DATA": say("354 go on")},
        ["failed 550"] * 3,
        "---",
    ),
    ("DATA refused", {"DATA": say("451 4.3.0 no")}, ["deferred 451"] * 3, "---"),
    ("MAIL refused", {"MAIL": say("550 5.7.1 no")}, ["failed 550"] * 3, "---"),
    ("LHLO 500: it is no LMTP", {"EHLO": say("500 5.5.1 what?")}, ["deferred next-hop 500"] * 3, "---"),
    ("greeting 421", {"greeting": say(CLOSING, cut=True)}, ["deferred next-hop 421"] * 3, "---"),
]


@pytest.fixture(params=["pipelined", "step by step", "socket"])
async def hop(request: pytest.FixtureRequest) -> AsyncIterator[FakeLmtpHop]:
    extensions = ("SIZE", "8BITMIME") if request.param == "step by step" else LMTP_EXTENSIONS
    with contextlib.ExitStack() as stack:
        socket = stack.enter_context(short_folder()) / "lmtp" if request.param == "socket" else None
        async with FakeLmtpHop(extensions=extensions, socket=socket) as hop:
            yield hop


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """Make a folder with a short path: that of a socket has 107 octets at most."""
    with tempfile.TemporaryDirectory(prefix="gp-lmtp-") as folder:
        yield Path(folder)


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Make transports to a next hop; close them at the end."""
    made: list[Lmtp] = []

    async def start(hop: FakeLmtpHop, **options: object) -> Lmtp:
        options.setdefault("tls", TlsMode.NONE)
        port = 0 if hop.socket else hop.port
        transport = Lmtp("in", "localhost", port, socket=hop.socket, hostname="gatepost.example", **options)
        made.append(transport)
        return transport

    yield start
    for each in made:
        await each.close()


@pytest.mark.rfc("2033 §4.2")
@pytest.mark.parametrize(("script", "expected", "doubtful"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
async def test_each_recipient_gets_the_result_of_its_reply(
    hop: FakeLmtpHop, start: Start, script: dict[str, Act], expected: list[str], doubtful: str
) -> None:
    for step, act in script.items():
        hop.on(step, act)
    transport = await start(hop)
    results = list(await transport.deliver(delivery(*THREE)))
    assert seen(results) == expected
    marks = ["?" if isinstance(each, Deferred) and each.is_doubtful else "-" for each in results]
    assert "".join(marks) == doubtful
    kept = [recipient for recipient, content in hop.kept if content == CONTENT]
    for recipient, result, mark in zip(THREE, results, doubtful, strict=True):
        assert mark == "?" or kept.count(recipient) == isinstance(result, Delivered)

    # Whatever happened, the next message goes its way once the next hop is well again.
    hop.usual()
    assert seen(list(await transport.deliver(delivery("d@x.net")))) == ["delivered 250"]
    assert hop.kept[-1] == ("d@x.net", CONTENT)


@pytest.mark.rfc("2033 §4.1")
async def test_it_says_lhlo_and_uses_one_connection_for_many_messages(hop: FakeLmtpHop, start: Start) -> None:
    transport = await start(hop)
    for number in range(4):
        hop.on(f"end b{number}@x.net", say(NEVER))
        results = await transport.deliver(delivery(f"a{number}@x.net", f"b{number}@x.net"))
        assert seen(list(results)) == ["delivered 250", "failed 550"]
    assert hop.connections == 1
    assert [line for line in hop.commands if line[:4] in ("LHLO", "EHLO", "HELO")] == ["LHLO gatepost.example"]


@pytest.mark.parametrize(
    ("extensions", "handover"),
    [(LMTP_EXTENSIONS, Handover.DELIVERED), ((*LMTP_EXTENSIONS, "DSN"), Handover.REPORTED)],
    ids=["we say so", "it was told to"],
)
async def test_what_is_taken_is_delivered(start: Start, extensions: tuple[str, ...], handover: Handover) -> None:
    async with FakeLmtpHop(extensions=extensions) as hop:
        (result,) = await (await start(hop)).deliver(delivery())
    assert isinstance(result, Delivered)
    assert result.handover is handover


async def test_who_had_a_reply_before_the_cut_gets_one_copy(hop: FakeLmtpHop, start: Start, tmp_path: Path) -> None:
    hop.on("end b@x.net", cut(), times=1)
    router = Router([Route("in", await start(hop))])
    async with station(tmp_path / "spool", router) as here:
        await here.accept(*THREE)
        await here.until_empty()
        assert not [event for event in here.events if isinstance(event, BounceQueued)]
    assert sorted(recipient for recipient, _ in hop.kept) == sorted(THREE)
    assert hop.mails[-1].recipients == ["b@x.net", "c@x.net"]


async def test_what_knows_no_lhlo_is_not_greeted_in_another_way(hop: FakeLmtpHop, start: Start) -> None:
    hop.on("EHLO", say("500 5.5.1 what?"))
    await (await start(hop)).deliver(delivery())
    assert {line.split()[0] for line in hop.commands} <= {"LHLO", "QUIT"}


@pytest.mark.parametrize("content", [Whole(), Pieces(b"Subject: x\r\n\r\n", (b"." * 70 + b"\r\n") * 3000)])
async def test_every_octet_reaches_each_recipient(hop: FakeLmtpHop, start: Start, content: Content) -> None:
    results = await (await start(hop)).deliver(delivery(*THREE, content=content))
    assert seen(list(results)) == ["delivered 250"] * 3
    whole = b"".join([chunk async for chunk in content.chunks()])
    assert hop.kept == [(each, whole) for each in THREE]


async def test_a_no_before_the_end_of_the_content_holds_for_whom_it_came(hop: FakeLmtpHop, start: Start) -> None:
    hop.on("content", say("552 5.3.4 too much", cut=True))
    content = Pieces(b"Subject: x\r\n\r\n", *((b"x" * 70 + b"\r\n") * 1000,) * 100)
    results = list(await (await start(hop)).deliver(delivery(*THREE, content=content)))
    assert seen(results)[0] in ("failed 552", "deferred next-hop 451")  # the cut may take the reply along
    assert seen(results)[1:] == ["deferred next-hop 451"] * 2
    assert not hop.kept


async def test_who_gets_no_reply_in_time_waits(hop: FakeLmtpHop, start: Start) -> None:
    hop.on("end b@x.net", silent(), times=1)
    hop.on("end c@x.net", silent(), times=1)
    transport = await start(hop, timeouts=Timeouts(final=0.5))
    results = list(await transport.deliver(delivery(*THREE)))
    assert seen(results) == ["delivered 250", "deferred next-hop 451", "deferred next-hop 451"]
    assert [each.is_doubtful for each in results[1:] if isinstance(each, Deferred)] == [True, True]


async def test_a_message_given_up_between_two_replies_leaves_no_connection(hop: FakeLmtpHop, start: Start) -> None:
    hop.on("end b@x.net", silent())
    transport = await start(hop)
    task = asyncio.create_task(transport.deliver(delivery(*THREE)))
    async with asyncio.timeout(60):
        while not hop.kept:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while hop.open_connections:
            await asyncio.sleep(0.01)


async def test_tls_and_a_login_are_those_of_a_smart_host(authority: Authority, start: Start) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    for tls in (TlsMode.STARTTLS, TlsMode.IMPLICIT):
        async with FakeLmtpHop(
            tls=tls.value, context=context, mechanisms=("SCRAM-SHA-256", "PLAIN"), logins={"tim": "secret"}
        ) as hop:
            transport = await start(hop, tls=tls, ca_file=authority.ca, login="tim", password=Secret(b"secret"))
            assert seen(list(await transport.deliver(delivery(*THREE)))) == ["delivered 250"] * 3
            [mail] = hop.mails
            assert (mail.is_encrypted, mail.login, hop.used_mechanisms) == (True, "tim", ["SCRAM-SHA-256"])
            assert not [line for line in hop.commands if line.startswith(("EHLO", "HELO"))]
            await transport.close()


async def test_a_socket_that_nobody_serves_is_a_next_hop_that_is_down(start: Start) -> None:
    with short_folder() as folder:
        hop = FakeLmtpHop(socket=folder / "lmtp")
        transport = await start(hop)
        (result,) = await transport.deliver(delivery())
        assert seen([result]) == ["deferred next-hop 451"]
        assert str(folder / "lmtp") in result.reply.text
        async with hop:
            assert seen(list(await transport.deliver(delivery()))) == ["delivered 250"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket; an ordinary user runs this")
async def test_a_socket_that_we_may_not_open_is_the_trouble_of_the_route(start: Start) -> None:
    with short_folder() as folder:
        async with FakeLmtpHop(socket=folder / "lmtp") as hop:
            (folder / "lmtp").chmod(0)
            (result,) = await (await start(hop)).deliver(delivery())
    assert isinstance(result, Deferred)
    assert result.cause is Cause.ROUTE
