"""Our client against a next hop that answers as told: every reply at every step, what is said, what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from contracts.transport_contract import CONTENT, Pieces, Whole, delivery
from gatepost.errors import SpoolUnavailable
from gatepost.model.address import Mailbox
from gatepost.model.delivery import Delivered, Failed
from gatepost.model.envelope import Body, Envelope, Recipient
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Delivery
from gatepost.relay.wire import Timeouts
from next_hop import ALL_EXTENSIONS, Act, FakeNextHop, babble, cut, late, say, silent
from next_hop_answers import CLOSING, NEVER, OUT_OF_STEP, TABLE, seen

SHORT = 1.0
"""How long our client waits where a test lets it wait in vain, in seconds."""

QUICK = Timeouts(greeting=SHORT, command=SHORT, mail=SHORT, rcpt=SHORT, data=SHORT, block=SHORT, final=SHORT)

Start = Callable[..., Awaitable[SmartHost]]

PIPELINED = ALL_EXTENSIONS
PLAIN = ("SIZE", "8BITMIME", "SMTPUTF8")


@pytest.fixture(params=[PIPELINED, PLAIN], ids=["pipelined", "step by step"])
async def hop(request: pytest.FixtureRequest) -> AsyncIterator[FakeNextHop]:
    async with FakeNextHop(extensions=request.param) as hop:
        yield hop


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Make smart hosts on a next hop; close them at the end."""
    hosts: list[SmartHost] = []

    async def start(hop: FakeNextHop, **options: object) -> SmartHost:
        options.setdefault("tls", TlsMode.NONE)
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", **options)
        hosts.append(host)
        return host

    yield start
    for host in hosts:
        await host.close()


@pytest.mark.rfc("2920 §3.1")
@pytest.mark.rfc("5321 §4.2.1")
@pytest.mark.parametrize(
    ("script", "expected"),
    [row[1:] for row in (*TABLE, *OUT_OF_STEP)],
    ids=[row[0] for row in (*TABLE, *OUT_OF_STEP)],
)
async def test_each_reply_gives_each_recipient_its_result(
    hop: FakeNextHop, start: Start, script: dict[str, Act], expected: list[str]
) -> None:
    for step, act in script.items():
        hop.on(step, act)
    host = await start(hop)
    content = Whole()
    results = await host.deliver(delivery("a@x.net", "b@x.net", "c@x.net", content=content))
    assert seen(list(results)) == expected

    # Whatever happened, the next message goes its way once the next hop is well again.
    hop.usual()
    results = await host.deliver(delivery("d@x.net"))
    assert seen(list(results)) == ["delivered 250"]
    assert hop.accepted[-1].recipients == ["d@x.net"]
    assert all(mail.content == CONTENT for mail in hop.accepted if mail.recipients)


@pytest.mark.rfc("5321 §4.5.3.2")
@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"])
async def test_silence_defers(hop: FakeNextHop, start: Start, step: str) -> None:
    hop.on(step, silent(), times=1)
    host = await start(hop, timeouts=QUICK)
    (result,) = await host.deliver(delivery())
    assert seen([result]) == ["deferred next-hop 451"]
    assert "no answer within" in result.reply.text
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]


async def test_a_swallowed_reply_bounces_nobody(start: Start) -> None:
    """With a reply missing in a group, the refusal of the second recipient looks like that of the first."""
    async with FakeNextHop() as hop:
        hop.on("RCPT a@x.net", silent())
        hop.on("RCPT b@x.net", say(NEVER))
        host = await start(hop, timeouts=QUICK)
        assert seen(list(await host.deliver(delivery("a@x.net", "b@x.net")))) == ["deferred next-hop 451"] * 2
        assert seen(list(await host.deliver(delivery("c@x.net")))) == ["delivered 250"]


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "end"])
async def test_a_late_answer_is_waited_for(hop: FakeNextHop, start: Start, step: str) -> None:
    hop.on(step, late(0.05))
    host = await start(hop)
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]


async def test_a_message_is_one_write_of_commands_and_one_of_content(start: Start) -> None:
    async with FakeNextHop() as hop:
        host = await start(hop)
        await host.deliver(delivery("a@x.net", "b@x.net"))
    size = len(CONTENT)
    assert hop.commands == [
        "EHLO gatepost.example",
        f"MAIL FROM:<tim@example.org> SIZE={size}",
        "RCPT TO:<a@x.net>",
        "RCPT TO:<b@x.net>",
        "DATA",
    ]


async def test_reset_comes_before_the_next_message_and_only_where_it_is_needed(hop: FakeNextHop, start: Start) -> None:
    host = await start(hop)
    await host.deliver(delivery())
    hop.on("end", say("554 5.7.1 no"), times=1)
    await host.deliver(delivery())
    await host.deliver(delivery())
    await host.deliver(delivery())
    assert hop.connections == 1
    assert hop.commands.count("RSET") == 1


async def test_a_refused_reset_ends_the_connection_not_the_message(hop: FakeNextHop, start: Start) -> None:
    hop.on("end", say("554 5.7.1 no"), times=1)
    hop.on("RSET", say("500 what"), times=1)
    host = await start(hop)
    await host.deliver(delivery())
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
    assert hop.connections == 2


async def test_no_recipients_after_a_refused_mail_get_an_empty_message(start: Start) -> None:
    """A next hop that refuses MAIL and then takes RCPT and DATA must not be given the final dot."""
    async with FakeNextHop() as hop:
        hop.on("MAIL", say("550 5.7.1 no"))
        hop.on("RCPT", say("250 ok"))
        hop.on("DATA", say("354 go on"))
        host = await start(hop)
        assert seen(list(await host.deliver(delivery()))) == ["deferred next-hop 451"]
        await host.close()
        assert hop.mails == []


# What we say.


@pytest.mark.rfc("1870 §5")
async def test_what_is_larger_than_the_next_hop_takes_is_not_tried(start: Start) -> None:
    async with FakeNextHop(extensions=("PIPELINING", f"SIZE {len(CONTENT)}")) as hop:
        host = await start(hop)
        assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
        (result,) = await host.deliver(delivery(content=Whole(CONTENT + b"x\r\n")))
        assert isinstance(result, Failed)
        assert result.reply.enhanced == "5.3.4"
        assert len(hop.mails) == 1


async def test_no_parameter_is_said_that_is_not_offered(start: Start) -> None:
    async with FakeNextHop(extensions=()) as hop:
        host = await start(hop)
        await host.deliver(delivery())
        assert hop.mails[0].mail == "MAIL FROM:<tim@example.org>"


EIGHT = b"Subject: hi\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
EIGHT += "Content-Transfer-Encoding: 8bit\r\n\r\nGrüße\r\n".encode()


@pytest.mark.rfc("6152 §3")
async def test_8_bit_content_is_declared_where_it_may_be(hop: FakeNextHop, start: Start) -> None:
    host = await start(hop)
    await host.deliver(delivery(content=Whole(EIGHT), body=Body.EIGHT_BIT))
    assert hop.mails[0].mail.endswith(" BODY=8BITMIME")
    assert hop.mails[0].content == EIGHT


@pytest.mark.rfc("6152 §3")
@pytest.mark.parametrize("content", [Whole(EIGHT), Pieces(EIGHT[:50], EIGHT[50:])], ids=["in memory", "in pieces"])
async def test_8_bit_content_is_converted_where_it_may_not(start: Start, content: Whole | Pieces) -> None:
    async with FakeNextHop(extensions=("PIPELINING", "SIZE")) as hop:
        host = await start(hop)
        assert seen(list(await host.deliver(delivery(content=content, body=Body.EIGHT_BIT)))) == ["delivered 250"]
    (mail,) = hop.mails
    assert mail.content.isascii()
    assert b"Content-Transfer-Encoding: 8bit" not in mail.content
    assert mail.mail == f"MAIL FROM:<tim@example.org> SIZE={len(mail.content)}"


@pytest.mark.rfc("6152 §3")
async def test_8_bit_content_that_cannot_be_converted_fails(start: Start) -> None:
    async with FakeNextHop(extensions=("PIPELINING",)) as hop:
        host = await start(hop)
        content = Whole("Subject: Grüße\r\n\r\nhi\r\n".encode())
        (result,) = await host.deliver(delivery(content=content, body=Body.EIGHT_BIT))
        assert isinstance(result, Failed)
        assert (result.reply.code, result.reply.enhanced) == (554, "5.6.3")
        assert hop.mails == []


async def test_content_too_large_to_be_converted_fails_unread(start: Start) -> None:
    async with FakeNextHop(extensions=("PIPELINING",)) as hop:
        host = await start(hop)
        content = Pieces(b"x", size_bytes=33 * 2**20)
        (result,) = await host.deliver(delivery(content=content, body=Body.EIGHT_BIT))
        assert isinstance(result, Failed)
        assert result.reply.enhanced == "5.6.3"
        assert content.reads == 0


@pytest.mark.rfc("6531 §3.2")
async def test_internationalised_mail_is_declared_or_fails(start: Start) -> None:
    to_greek = delivery("χρήστης@example.net", smtputf8=True)
    async with FakeNextHop() as hop:
        host = await start(hop)
        assert seen(list(await host.deliver(to_greek))) == ["delivered 250"]
        assert " SMTPUTF8 " in hop.mails[0].mail
        assert hop.mails[0].recipients == ["χρήστης@example.net"]
    async with FakeNextHop(extensions=("PIPELINING", "8BITMIME")) as hop:
        host = await start(hop)
        (result,) = await host.deliver(to_greek)
        assert isinstance(result, Failed)
        assert result.reply.enhanced == "5.6.7"
        assert hop.mails == []


@pytest.mark.rfc("6531 §3.2")
async def test_without_smtputf8_domains_are_sent_as_a_labels(start: Start) -> None:
    async with FakeNextHop(extensions=("PIPELINING",)) as hop:
        host = await start(hop)
        await host.deliver(delivery("ann@bücher.example", sender="tim@grüße.example"))
        assert hop.mails[0].reverse_path == "tim@xn--gre-6ka8l.example"
        assert hop.mails[0].recipients == ["ann@xn--bcher-kva.example"]


async def test_a_quoted_local_part_is_written_quoted(hop: FakeNextHop, start: Start) -> None:
    host = await start(hop)
    await host.deliver(delivery('"odd >\\" one"@x.net'))
    assert 'RCPT TO:<"odd >\\" one"@x.net>' in hop.commands


@pytest.mark.parametrize("local", ["a\r\nRCPT TO:<evil@x.net>", "a\nb", "a\0b", "a\x7fb"])
async def test_no_control_character_reaches_a_command(hop: FakeNextHop, start: Start, local: str) -> None:
    host = await start(hop)
    evil = Recipient(Mailbox(local, "x.net"))
    good = delivery()
    envelope = Envelope(Mailbox("tim", "x.org"), (evil,))
    (result,) = await host.deliver(Delivery(good.message_id, envelope, (evil,), good.content))
    assert isinstance(result, Failed)
    assert result.reply.enhanced == "5.1.3"
    assert len(hop.commands) == 1


async def test_more_recipients_than_one_transaction_takes_go_in_several(hop: FakeNextHop, start: Start) -> None:
    host = await start(hop, recipients_per_transaction=2)
    hop.on("RCPT r3@x.net", say(NEVER))
    results = await host.deliver(delivery(*(f"r{number}@x.net" for number in range(5))))
    assert seen(list(results)) == ["delivered 250"] * 3 + ["failed 550", "delivered 250"]
    assert [mail.recipients for mail in hop.mails] == [["r0@x.net", "r1@x.net"], ["r2@x.net"], ["r4@x.net"]]


# Content.


async def test_large_content_streams_with_every_octet(hop: FakeNextHop, start: Start) -> None:
    block = (b"." + b"x" * 70 + b"\r\n") * 1000
    content = Pieces(*(block[:-1], b"\n" + block) * 20)
    host = await start(hop)
    assert seen(list(await host.deliver(delivery(content=content)))) == ["delivered 250"]
    assert hop.mails[0].content == b"".join(content.pieces)


async def test_a_single_huge_piece_is_sent_in_parts(hop: FakeNextHop, start: Start) -> None:
    huge = (b".line\r\n" * 300_000)[:-1] + b"\n"
    host = await start(hop)
    assert seen(list(await host.deliver(delivery(content=Pieces(huge))))) == ["delivered 250"]
    assert hop.mails[0].content == huge


class Endless:
    """Content that counts how much of it was taken."""

    def __init__(self) -> None:
        self.size_bytes = 2**30
        self.inline = None
        self.taken = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        while self.taken < self.size_bytes:
            self.taken += 2**16
            yield b"x" * 65534 + b"\r\n"


@pytest.mark.rfc("5321 §4.5.3.2")
async def test_a_next_hop_that_stops_reading_holds_us_back_and_is_given_up(hop: FakeNextHop, start: Start) -> None:
    hop.on("content", late(3600))
    host = await start(hop, timeouts=Timeouts(block=SHORT))
    content = Endless()
    assert seen(list(await host.deliver(delivery(content=content)))) == ["deferred next-hop 451"]
    assert content.taken < 50 * 2**20  # what the sockets hold, not what we have


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (say("552 5.3.4 too big"), "failed 552"),
        (say("452 4.3.1 no room"), "deferred 452"),
        (say(CLOSING), "deferred next-hop 421"),
        (say("552 5.3.4 too big", cut=True), "failed 552"),
        (say("250 2.0.0 what?"), "deferred next-hop 451"),
        (cut(), "deferred next-hop 451"),
        (babble(b"what\r\n"), "deferred next-hop 451"),
    ],
)
async def test_an_answer_in_the_middle_of_content_ends_it(
    hop: FakeNextHop, start: Start, act: Act, expected: str
) -> None:
    hop.on("content", act, times=1)
    host = await start(hop)
    content = Endless()
    assert seen(list(await host.deliver(delivery(content=content)))) == [expected]
    assert content.taken < 2**30
    assert hop.mails == []
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
    assert hop.connections == 2


@pytest.mark.parametrize("content", [Whole(), Pieces(b"short\r\n")], ids=["whole", "pieces"])
async def test_a_yes_before_the_content_is_none(hop: FakeNextHop, start: Start, content: Whole | Pieces) -> None:
    hop.on("DATA", say("354 go on", "250 2.0.0 taken"), times=1)
    host = await start(hop)
    assert seen(list(await host.deliver(delivery(content=content)))) == ["deferred next-hop 451"]
    assert hop.mails == []
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]


class Broken(Endless):
    """Content that cannot be read to its end."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"Subject: half\r\n\r\n"
        raise SpoolUnavailable("the disk is gone")


@pytest.mark.parametrize("content", [Broken(), Pieces(b"short\r\n", size_bytes=100)], ids=["broken", "too short"])
async def test_half_a_message_never_looks_whole(hop: FakeNextHop, start: Start, content: Broken | Pieces) -> None:
    host = await start(hop)
    with pytest.raises(SpoolUnavailable):
        await host.deliver(delivery(content=content))
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
    assert [mail.content for mail in hop.mails] == [CONTENT]


async def test_a_cancelled_delivery_leaves_nothing_behind(hop: FakeNextHop, start: Start) -> None:
    hop.on("end", silent(), times=1)
    host = await start(hop, connections=1)
    task = asyncio.create_task(host.deliver(delivery()))
    while not hop.mails:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]


async def test_the_reply_is_recorded_clean(hop: FakeNextHop, start: Start) -> None:
    hop.on("end", say("250-2.0.0 queued\x07 as", "250 2.0.0 Ärger 42"))
    host = await start(hop)
    (result,) = await host.deliver(delivery())
    assert isinstance(result, Delivered)
    assert result.reply.text == "2.0.0 queued? as ??rger 42"
    assert result.next_hop == "127.0.0.1"


# Lies.


async def test_a_next_hop_that_lies_about_pipelining_is_served_step_by_step(start: Start) -> None:
    async with FakeNextHop(loses_pipelined=True) as hop:
        host = await start(hop, timeouts=Timeouts(rcpt=SHORT))
        assert seen(list(await host.deliver(delivery()))) == ["deferred next-hop 451"]
        assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
