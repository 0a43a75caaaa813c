"""Each code at each step, and what is no reply at each step: what our client makes of it for each recipient.

The expected outcome is that of the table below; besides, `judge` holds each case to what the next hop really did.  One
next hop serves all cases of a way to talk, each on a connection of its own; after each case it is well again, and the
next message must go its way.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace

import pytest

from contracts.transport_contract import delivery
from gatepost.model.identity import Secret
from gatepost.relay.smarthost import SmartHost, TlsMode
from gatepost.relay.wire import Timeouts
from next_hop import ALL_EXTENSIONS, Act, FakeNextHop, babble, say
from next_hop_answers import seen
from next_hop_faults import judge
from servers import Authority

TO = ("a@x.net", "b@x.net", "c@x.net")
WAYS = pytest.mark.parametrize("extensions", [ALL_EXTENSIONS, ("SIZE", "8BITMIME")], ids=["pipelined", "step by step"])

CODES = (
    *(200, 211, 214, 220, 221, 235, 250, 251, 252, 253, 299),
    *(300, 334, 354, 399),
    *(400, 421, 432, 450, 451, 452, 454, 455, 499),
    *(500, 501, 502, 503, 504, 521, 530, 534, 535, 538, 541, 550, 551, 552, 553, 554, 555, 556, 571, 599),
)

YES = ["delivered 250"] * 3
DOWN = ["deferred next-hop 451"] * 3

# RFC 5321 §4.2.1: the first digit counts, but for codes that answer other questions, and those about our login.
OTHER_YES = {211, 214, 220, 221, 235}
LOGIN = {530, 534, 535, 538}
OUT_OF_STEP = {500, 502, 503}


def closes(code: int) -> list[str] | None:
    """Return what a code means for all, where it is not about one message."""
    if code == 421:
        return ["deferred next-hop 421"] * 3
    if code in LOGIN:
        return [f"deferred route {code}"] * 3
    return DOWN if 300 <= code < 400 or code in OTHER_YES else None


def of_a_command(code: int) -> str:
    """Return what a code that is about one message means for it."""
    if code < 300:
        return "delivered 250"
    return f"{'deferred' if code < 500 or code in OUT_OF_STEP else 'failed'} {code}"


def expected(step: str, code: int) -> list[str]:
    """Return what becomes of each recipient when the next hop says *code* at *step*."""
    match step:
        case "greeting":
            return YES if code == 220 else [f"deferred next-hop {code}"] * 3
        case "EHLO":  # after 5yz comes HELO
            return YES if code == 250 or code >= 500 else [f"deferred next-hop {code}"] * 3
        case "HELO":
            return YES if code == 250 else [f"deferred next-hop {code}"] * 3
        case "RCPT b@x.net" if closes(code) is None:
            # RFC 5321 §4.5.3.1.10: after one that was taken, 552 means "too many", and is not for ever.
            of_b = "deferred 552" if code == 552 else of_a_command(code)
            return ["delivered 250", of_b, "delivered 250"]
        case "DATA" if code < 400:
            return YES if code == 354 else DOWN
        case "end" if closes(code) is None:
            if code < 300:
                return [f"delivered {code}"] * 3
            return [f"{'deferred' if code < 500 else 'failed'} {code}"] * 3
        case "RSET":  # the message that needed it goes over another connection
            return YES
        case _:
            return closes(code) or [of_a_command(code)] * 3


def patience(step: str, seconds: float, *, is_group: bool) -> Timeouts:
    """Wait *seconds* at *step*, and elsewhere for as long as a slow machine may take.

    In a group of commands half a reply makes one with the next, and then another is missed at the end.
    """
    of_group = {"mail": seconds, "rcpt": seconds, "data": seconds}
    if is_group and step.startswith(("MAIL", "RCPT", "DATA")):
        return replace(Timeouts(*[60.0] * 9), **of_group)
    name = {"greeting": "greeting", "MAIL": "mail", "DATA": "data", "end": "final"}.get(
        step, "rcpt" if step.startswith("RCPT") else "command"
    )
    return replace(Timeouts(*[60.0] * 9), **{name: seconds})


async def attempt(hop: FakeNextHop, step: str, act: Act, timeouts: Timeouts | None = None) -> list[str]:
    """Deliver once to a next hop that does *act* at *step*, judge it, and see that the next message arrives.

    With *timeouts* of its own no next one is sent, for it might be given up as well.
    """
    hop.usual()
    hop.mails.clear()
    hop.said.clear()
    if step == "HELO":
        hop.on("EHLO", say("502 5.5.1 what?"))
    host = SmartHost(
        "out", "127.0.0.1", hop.port, hostname="gatepost.example", tls=TlsMode.NONE, timeouts=timeouts or Timeouts()
    )
    try:
        async with asyncio.timeout(200):
            if step == "RSET":
                hop.on("MAIL", say("450 4.7.1 later"), times=1)
                await host.deliver(delivery("z@x.net"))
            hop.on(step, act)
            results = list(await host.deliver(delivery(*TO)))
            judge(hop, TO, results)
            hop.usual()
            if timeouts is None:
                assert seen(list(await host.deliver(delivery("d@x.net")))) == ["delivered 250"]
    finally:
        await host.close()
    return seen(results)


STEPS = ("greeting", "EHLO", "HELO", "MAIL", "RCPT", "RCPT b@x.net", "DATA", "end", "RSET")


@WAYS
@pytest.mark.rfc("5321 §4.2.1")
@pytest.mark.rfc("5321 §4.2.3")
@pytest.mark.parametrize("step", STEPS)
async def test_each_code_at_each_step(extensions: tuple[str, ...], step: str) -> None:
    wrong = {}
    async with FakeNextHop(extensions=extensions) as hop:
        for code in CODES:
            got = await attempt(hop, step, say(f"{code} so it is"))
            if got != expected(step, code):
                wrong[code] = got
    assert not wrong


# What is no reply.  None is a yes to anything; whether the next hop goes on talking or not, nobody is told a no.
NO_REPLIES = {
    "a code below 200": b"150 wait\r\n",
    "a code above 599": b"600 what\r\n",
    "two digits": b"25 ok\r\n",
    "four digits": b"2500 ok\r\n",
    "no digits": b"OK\r\n",
    "an empty line": b"\r\n",
    "LF alone": b"250 ok\n",
    "CR and LF, each alone": b"250 ok\r250 ok\n",
    "other letters": "٢٥٠ ok\r\n".encode(),
    "NUL before it": b"\0" * 50 + b"250 ok\r\n",
    "another code on the second line": b"250-so\r\n550 or so\r\n",
    "no text between code and letters": b"250ok\r\n",
    "a line without end": b"250 " + b"x" * 100_000,
    "a reply without end": b"250-again\r\n" * 20_000,
    "empty lines without end": b"250-\r\n" * 40_000,
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
}
UNFINISHED = {"half a line": b"250 o", "half a reply": b"250-ok\r\n", "half a line end": b"250 ok\r", "nothing": b""}


@WAYS
@pytest.mark.parametrize("step", STEPS)
async def test_what_is_no_reply_defers_at_each_step(extensions: tuple[str, ...], step: str) -> None:
    wrong = {}
    async with FakeNextHop(extensions=extensions) as hop:
        for name, octets in NO_REPLIES.items():
            got = await attempt(hop, step, babble(octets))
            if got != (YES if step == "RSET" else DOWN):
                wrong[name] = got
    assert not wrong


@WAYS
@pytest.mark.rfc("5321 §4.5.3.2")
@pytest.mark.parametrize("step", STEPS[:-1])
async def test_what_never_ends_is_given_up_in_the_time_of_its_step(extensions: tuple[str, ...], step: str) -> None:
    wrong = {}
    async with FakeNextHop(extensions=extensions) as hop:
        for name, octets in UNFINISHED.items():
            timeouts = patience(step, 0.05, is_group="PIPELINING" in extensions)
            got = await attempt(hop, step, babble(octets), timeouts)
            if got != DOWN:
                wrong[name] = got
    assert not wrong


# What may look odd, and is a reply.
ODD_REPLIES = {
    "no text": "{}\r\n",
    "a space and no text": "{} \r\n",
    "a tab": "{}\twell\r\n",
    "letters beyond ASCII": "{} ça va\r\n",
    "control characters": "{} \x07\x1b[31m\r\n",
    "many lines": "{}-well\r\n" * 900 + "{} now\r\n",
    "many lines without text": "{}-\r\n" * 900 + "{}\r\n",
    "a line of 4000 octets": "{} " + "x" * 4000 + "\r\n",
}
CODE_OF = {"greeting": 220, "DATA": 354}


@WAYS
@pytest.mark.rfc("5321 §4.2")
@pytest.mark.parametrize("step", STEPS)
async def test_odd_replies_are_replies(extensions: tuple[str, ...], step: str) -> None:
    wrong = {}
    code = CODE_OF.get(step, 250)
    async with FakeNextHop(extensions=extensions) as hop:
        for name, form in ODD_REPLIES.items():
            got = await attempt(hop, step, babble(form.replace("{}", str(code)).encode()))
            if got != YES:
                wrong[name] = got
    assert not wrong


def of_starttls(code: int) -> str:
    """Return what a code means as the reply to STARTTLS."""
    return "delivered 250" if code == 220 else f"deferred {'route' if code >= 500 else 'next-hop'} {code}"


def of_auth(code: int) -> str:
    """Return what a code means as the reply to AUTH: but for 421, nothing is the fault of a message or a next hop."""
    if code == 235:
        return "delivered 250"
    if code == 334:  # it asks for more than PLAIN has, and we stop
        return "deferred route 454"
    return f"deferred {'next-hop' if code == 421 else 'route'} {code}"


@pytest.mark.rfc("4954 §6")
@pytest.mark.parametrize("step", ["STARTTLS", "AUTH"])
async def test_each_code_on_the_way_in(authority: Authority, step: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    wrong = {}
    async with FakeNextHop(tls="starttls", context=context, mechanisms=("PLAIN",), logins={"tim": "pass"}) as hop:
        for code in CODES:
            hop.usual()
            hop.on(step, say(f"{code} so it is"))
            host = SmartHost(
                "out",
                "127.0.0.1",
                hop.port,
                hostname="gatepost.example",
                ca_file=authority.ca,
                login="tim",
                password=Secret(b"pass"),
            )
            async with asyncio.timeout(200):
                got = seen(list(await host.deliver(delivery())))
                hop.usual()
                assert seen(list(await host.deliver(delivery()))) == ["delivered 250"]
            await host.close()
            if got != [of_starttls(code) if step == "STARTTLS" else of_auth(code)]:
                wrong[code] = got
    assert not wrong
