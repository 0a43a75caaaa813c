"""No message hides in another: each way to fake the end of data, through to a next hop, which gets one message or none.

CERT/CC VU#302671 has most of the ways.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gatepost.testing import RunningServer
from integration.client import Client, log_in
from next_hop import FakeNextHop
from smuggling import FAKES, HEADER, SMUGGLED

HONEST = b"From: <tim@example.org>\r\nSubject: honest\r\n\r\n.honest\r\n"

# Those that a message may hold.
HARMLESS = {"CRLF..CRLF": b"\r\n..\r\n", "CRLF.space CRLF": b"\r\n. \r\n", "CRLF space.CRLF": b"\r\n .\r\n"}


@pytest.fixture
async def hop() -> AsyncIterator[FakeNextHop]:
    """Return a next hop that takes everything."""
    async with FakeNextHop() as hop:
        yield hop


def route_to(hop: FakeNextHop) -> list[dict[str, object]]:
    return [{"name": "hop", "transport": "smarthost", "host": "127.0.0.1", "port": hop.port, "tls": "none"}]


async def say(client: Client, pieces: list[bytes]) -> None:
    """Send *pieces* one by one: the server sees where they are cut."""
    for piece in pieces:
        client.writer.write(piece)
        await client.writer.drain()
        await asyncio.sleep(0.005)


async def send_honest_and_quit(client: Client) -> None:
    """Send an ordinary message, whose replies are the next that come."""
    assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250 2.1.0 ")
    assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250 2.1.5 ")
    assert (await client.say("DATA")).startswith("354 ")
    client.writer.write(HONEST.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    assert (await client.reply()).startswith("250 2.0.0 queued as ")
    assert (await client.say("QUIT")).startswith("221 ")
    assert await client.reply() == ""
    await client.close()


async def arrived(server: RunningServer, hop: FakeNextHop) -> list[bytes]:
    """Wait until nothing is on its way; return what the next hop got."""
    async with asyncio.timeout(60):
        while server.worker.spool.count():
            await asyncio.sleep(0.01)
    for mail in hop.mails:
        # Whatever became of it: nothing goes on that another server could read as an end.
        assert mail.content.count(b"\r") == mail.content.count(b"\n") == mail.content.count(b"\r\n")
        assert mail.recipients == ["bob@example.net"]
    return [mail.content.partition(b"\r\n\r\n")[2] for mail in hop.mails]


@pytest.mark.rfc("5321 §4.1.1.4")
@pytest.mark.rfc("5321 §2.3.8")
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("name", FAKES)
async def test_a_message_with_a_false_end_is_refused_whole(start, hop, name, is_cut):
    fake = FAKES[name]
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        await client.open_data()
        cover, rest = HEADER + b"hello", SMUGGLED + b".\r\n"
        pieces = [cover, *(fake[place : place + 1] for place in range(len(fake))), rest]
        await say(client, pieces if is_cut else [b"".join(pieces)])
        answer = await client.reply()
        await send_honest_and_quit(client)
        got = await arrived(server, hop)
        assert answer.startswith("554 5.6.0 ")
        assert got == [b".honest\r\n"]


@pytest.mark.rfc("5321 §4.5.2")
@pytest.mark.parametrize("is_cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("name", HARMLESS)
async def test_a_message_with_what_only_looks_like_an_end_arrives_whole(start, hop, name, is_cut):
    harmless = HARMLESS[name]
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        await client.open_data()
        pieces = [HEADER + b"hello", *(bytes([octet]) for octet in harmless), SMUGGLED + b".\r\n"]
        await say(client, pieces if is_cut else [b"".join(pieces)])
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        await send_honest_and_quit(client)
        # RFC 5321 §4.5.2: one dot at the start of a line goes.
        cover = b"hello" + harmless.replace(b"\r\n.", b"\r\n") + SMUGGLED
        assert sorted(await arrived(server, hop)) == sorted([cover, b".honest\r\n"])


@pytest.mark.rfc("2920 §3.1")
@pytest.mark.parametrize("name", FAKES)
async def test_commands_after_a_false_end_and_a_true_one_are_told_apart(start, hop, name):
    """Everything in one write: what follows the true end is answered as commands, and nothing else is."""
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        await client.open_data()
        after = b"NOOP\r\nMAIL FROM:<tim@example.org>\r\nRSET\r\n"
        client.writer.write(HEADER + b"hello" + FAKES[name] + b"QUIT\r\n" + SMUGGLED + b".\r\n" + after)
        assert (await client.reply()).startswith("554 5.6.0 ")
        replies = [(await client.reply())[:9] for _ in range(3)]
        assert replies == ["250 2.0.0", "250 2.1.0", "250 2.0.0"]
        await send_honest_and_quit(client)
        assert await arrived(server, hop) == [b".honest\r\n"]


@pytest.mark.parametrize("where", ["From: <tim@example.org>{}Bcc: x\r\n\r\nhello\r\n", "{}", "hello\r\n.{}"])
@pytest.mark.parametrize("bare", ["\n", "\r", "\r\r\n", "\n\r", "\0"])
async def test_no_bare_line_ending_and_no_nul_passes_wherever_it_stands(start, hop, where, bare):
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(where.format(bare).encode() + b"\r\n.\r\n")
        assert (await client.reply()).startswith("554 5.6.0 ")
        await send_honest_and_quit(client)
        assert await arrived(server, hop) == [b".honest\r\n"]


@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("place", [0, 1, 2, 3, 5])
async def test_a_chunk_that_holds_the_end_of_data_is_still_one_message(start, hop, place):
    """What is no end in a chunk must not become one at a next hop that is told DATA."""
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        body = b"hello\r\n.\r\n" + SMUGGLED + b".\r\n.\r\n"
        cut = len(HEADER) + 5 + place
        content = HEADER + body
        said = b"MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nBDAT %d\r\n%bBDAT %d LAST\r\n%b"
        client.writer.write(said % (cut, content[:cut], len(content) - cut, content[cut:]))
        replies = [(await client.reply())[:9] for _ in range(4)]
        assert replies == ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0"]
        await send_honest_and_quit(client)
        assert sorted(await arrived(server, hop)) == sorted([body, b".honest\r\n"])


@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("name", FAKES)
async def test_a_chunk_with_a_false_end_is_refused_whole(start, hop, name):
    async with start(route=route_to(hop)) as server:
        client = await log_in(server)
        content = HEADER + b"hello" + FAKES[name] + SMUGGLED
        said = b"MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nBDAT %d LAST\r\n%b"
        client.writer.write(said % (len(content), content))
        replies = [(await client.reply())[:9] for _ in range(3)]
        assert replies == ["250 2.1.0", "250 2.1.5", "554 5.6.0"]
        await send_honest_and_quit(client)
        assert await arrived(server, hop) == [b".honest\r\n"]
