"""A next hop that offers what it does not have, and has not what it should: nobody loses mail for it."""

from __future__ import annotations

import asyncio

import pytest

from contracts.transport_contract import Whole, delivery
from gatepost.model.envelope import Body
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.transport import Delivery
from gatepost.relay.wire import Timeouts
from next_hop import ALL_EXTENSIONS, Act, FakeNextHop, say
from next_hop_answers import AGAIN, seen
from next_hop_faults import judge

TO = ("a@x.net", "b@x.net", "c@x.net")
TAKEN, DOWN = ["delivered 250"] * 3, ["deferred next-hop 451"] * 3
EIGHT = Whole("Subject: eight bits\r\n\r\ngrüße\r\n".encode())
UNKNOWN = say("555 5.5.4 what parameter?")

PLAIN = delivery(*TO)
EIGHT_BIT = delivery(*TO, content=EIGHT, body=Body.EIGHT_BIT)
UTF8 = delivery("rené@x.net", smtputf8=True)

# What it lies about, what it offers, what it does, what is sent, what becomes of it at first, and at the next try.
LIES: list[tuple[str, tuple[str, ...], dict[str, Act], Delivery, list[str], list[str]]] = [
    ("CHUNKING is not asked for", (*ALL_EXTENSIONS, "CHUNKING"), {"BDAT": say("500 what?")}, PLAIN, TAKEN, TAKEN),
    ("nothing is offered at all", (), {}, PLAIN, TAKEN, TAKEN),
    (
        "the same twice",
        ("PIPELINING", "SIZE 5000", *ALL_EXTENSIONS[2:], "SIZE 0", "PIPELINING "),
        {},
        PLAIN,
        TAKEN,
        TAKEN,
    ),
    ("in other letters", tuple(each.lower() for each in ALL_EXTENSIONS), {}, PLAIN, TAKEN, TAKEN),
    ("with what nobody knows", (*ALL_EXTENSIONS, "X" * 300, "=", "-", "SIZE=3", ""), {}, PLAIN, TAKEN, TAKEN),
    ("SIZE beyond all numbers", ("SIZE " + "9" * 400,), {}, PLAIN, TAKEN, TAKEN),
    ("SIZE below 0", ("SIZE -1",), {}, PLAIN, TAKEN, TAKEN),
    ("SIZE offered, and not known", ("SIZE",), {"MAIL": UNKNOWN}, PLAIN, ["failed 555"] * 3, TAKEN),
    ("8BITMIME offered, and not known", ("8BITMIME",), {"MAIL": UNKNOWN}, EIGHT_BIT, ["failed 555"] * 3, TAKEN),
    ("8BITMIME not offered", (), {}, EIGHT_BIT, TAKEN, TAKEN),
    ("SMTPUTF8 not offered", ("8BITMIME",), {}, UTF8, ["failed 553"], ["failed 553"]),
    ("SMTPUTF8 without 8BITMIME", ("SMTPUTF8",), {}, UTF8, ["failed 553"], ["failed 553"]),
    (
        "DSN offered, and not known",
        ("DSN",),
        {"RCPT b@x.net": UNKNOWN},
        PLAIN,
        ["delivered 250", "failed 555", "delivered 250"],
        TAKEN,
    ),
    (
        "fewer recipients than RCPTMAX",
        ("LIMITS RCPTMAX=100",),
        {"RCPT c@x.net": say("452 4.5.3 too many")},
        PLAIN,
        [*TAKEN[:2], "deferred 452"],
        TAKEN,
    ),
    ("MAILMAX of one", (*ALL_EXTENSIONS, "LIMITS MAILMAX=1"), {}, PLAIN, TAKEN, TAKEN),
    ("AUTH offered in clear, to nobody", ("AUTH PLAIN LOGIN",), {}, PLAIN, TAKEN, TAKEN),
    ("STARTTLS offered where none is asked", ("STARTTLS",), {"STARTTLS": say(AGAIN)}, PLAIN, TAKEN, TAKEN),
]


@pytest.mark.parametrize(
    ("extensions", "script", "sent", "first", "then"), [row[1:] for row in LIES], ids=[row[0] for row in LIES]
)
async def test_what_is_offered_is_used_and_not_trusted(
    extensions: tuple[str, ...], script: dict[str, Act], sent: Delivery, first: list[str], then: list[str]
) -> None:
    async with FakeNextHop(extensions=extensions) as hop:
        for step, act in script.items():
            hop.on(step, act)
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE)
        async with asyncio.timeout(60):
            results = list(await host.deliver(sent))
            assert seen(results) == first
            if all(each.reply.is_remote for each in results):  # what cannot be sent there fails without its say
                judge(hop, [str(each) for each in sent.recipients], results)
            hop.usual()
            assert seen(list(await host.deliver(sent))) == then
        await host.close()
        assert not [command for command in hop.commands if command.startswith(("BDAT", "AUTH", "STARTTLS"))]


@pytest.mark.rfc("3030 §2")
async def test_content_never_leaves_before_the_next_hop_asks_for_it() -> None:
    """Content that comes as a surprise is run as commands by some: those are a client's words in our session."""
    async with FakeNextHop(extensions=(*ALL_EXTENSIONS, "CHUNKING")) as hop:
        hop.on("RCPT", say("550 5.1.1 nobody"))
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE)
        words = Whole(b"MAIL FROM:<boss@x.net>\r\nRCPT TO:<all@x.net>\r\nDATA\r\n")
        results = list(await host.deliver(delivery(*TO, content=words)))
        await host.close()
        assert seen(results) == ["failed 550"] * 3
        assert [command.split(":")[0] for command in hop.commands] == [
            "EHLO gatepost.example",
            "MAIL FROM",
            *["RCPT TO"] * 3,
            "DATA",
            "QUIT",
        ]


async def test_pipelining_that_is_offered_and_lost_is_not_used_again() -> None:
    async with FakeNextHop(loses_pipelined=True) as hop:
        timeouts = Timeouts(rcpt=0.1)
        host = SmartHost("out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, timeouts=timeouts)
        async with asyncio.timeout(60):
            assert seen(list(await host.deliver(PLAIN))) == DOWN
            while seen(list(await host.deliver(PLAIN))) != TAKEN:
                pass  # a slow machine may take longer than that for one RCPT
        await host.close()
        assert [mail.recipients for mail in hop.accepted] == [list(TO)]
