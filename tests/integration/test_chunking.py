"""BDAT over real sockets: through to a next hop, cut anywhere, too fast, too slow, hung up, the spool in trouble."""

from __future__ import annotations

import asyncio
import time

import pytest

from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.observe.events import CommandRefused, MessageAccepted, MessageRefused, SessionClosed
from gatepost.spool.incoming import SqliteIncoming
from integration.client import Client, connect, log_in
from next_hop import FakeNextHop

HEADER = b"From: <tim@example.org>\r\nSubject: chunks\r\n\r\n"
SMUGGLED = b"x\r\n.\r\nMAIL FROM:<tim@example.org>\r\nRCPT TO:<eve@example.net>\r\nDATA\r\n" + HEADER + b".\r\n"
OPEN = b"MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\n"


async def until(condition, seconds: float = 60) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def bdat(octets: bytes, last: str = "") -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), last.encode()) + octets


async def begin(client: Client) -> None:
    client.writer.write(OPEN)
    assert (await client.reply()).startswith("250 2.1.0")
    assert (await client.reply()).startswith("250 2.1.5")


def bodies(server) -> list[str]:
    folder = server.worker.config.spool_dir / "0" / "bodies"
    return [each.name for each in folder.iterdir()]


@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("length", [1, 2, 7, 1000])
@pytest.mark.parametrize("segment", [1, 5, 1 << 20])
async def test_a_message_in_chunks_reaches_the_next_hop_octet_for_octet_and_alone(start, length, segment):
    """However it is cut, also within CRLF: CRLF.CRLF in a chunk is content, and one message comes out."""
    content = HEADER + SMUGGLED + b"..\r\nbl\xc3\xb6d\r\n"
    chunks = [content[place : place + length] for place in range(0, len(content), length)]
    octets = OPEN + b"".join(map(bdat, chunks)) + b"BDAT 0 LAST\r\nNOOP\r\n"
    async with FakeNextHop() as hop:
        route = {"name": "hop", "transport": "smarthost", "host": "127.0.0.1", "port": hop.port, "tls": "none"}
        async with start(route=[route]) as server:
            client = await log_in(server)
            for place in range(0, len(octets), segment):
                client.writer.write(octets[place : place + segment])
                if segment < 1000:
                    await asyncio.sleep(0)
            for _ in range(2 + len(chunks)):
                assert (await client.reply()).startswith("250 2.")
            assert (await client.reply()).startswith("250 2.0.0 queued as ")
            assert await client.reply() == "250 2.0.0 OK"
            await until(lambda: hop.accepted)
            await until(lambda: server.worker.spool.count() == 0)
            [mail] = hop.accepted
            assert mail.content.endswith(content.partition(b"\r\n\r\n")[2])
            assert mail.recipients == ["bob@example.net"]
            assert len(told(server, MessageAccepted)) == 1
            await client.close()


async def test_a_large_message_is_streamed_no_faster_than_it_can_be_written(start, monkeypatch):
    """Back-pressure holds over many chunks as well as within one."""
    async with start() as server:
        backlogs = []
        drain = SqliteIncoming.drain

        async def watched(incoming):
            backlogs.append(incoming.backlog_bytes)
            await drain(incoming)

        monkeypatch.setattr(SqliteIncoming, "drain", watched)
        client = await log_in(server)
        line = b"x" * 998 + b"\r\n"
        for count, length in ((160, 100), (2, 8_000)):
            client.writer.write(OPEN + bdat(HEADER))
            for _ in range(count):
                client.writer.write(bdat(line * length))
                await client.writer.drain()
            client.writer.write(bdat(b"", " LAST"))
            for _ in range(3 + count):
                assert (await client.reply()).startswith("250 2.")
            assert (await client.reply()).startswith("250 2.0.0 queued as ")
        assert max(backlogs) < 1_000_000
        sizes = [event.size for event in told(server, MessageAccepted)]
        assert len(sizes) == 2
        assert min(sizes) > 16_000_000
        await client.close()


@pytest.mark.rfc("1870 §6.3")
async def test_the_limit_holds_over_all_chunks_and_the_session_goes_on(start):
    async with start(limits={"message_bytes": 100_000}) as server:
        client = await log_in(server)
        for _ in range(2):
            await begin(client)
            client.writer.write(bdat(HEADER) + bdat(b"x" * 60_000) + bdat(b"NOOP\r\n" * 10_000) + bdat(b"y", " LAST"))
            replies = [(await client.reply())[:9] for _ in range(4)]
            assert replies == ["250 2.0.0", "250 2.0.0", "552 5.3.4", "503 5.5.1"]
        assert len(told(server, MessageRefused)) == 2
        await until(lambda: not bodies(server))
        await begin(client)
        client.writer.write(bdat(HEADER + b"small", " LAST"))
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        await client.close()


@pytest.mark.rfc("3030 §2")
async def test_the_chunks_after_one_that_failed_are_all_answered_however_many(start):
    """A client sends them before it hears of the failure, which is one: it is told of once, and counted once."""
    async with start() as server:
        client = await log_in(server)
        for last in ("RSET", "MAIL FROM:<tim@example.org>", "EHLO x"):
            await begin(client)
            client.writer.write(bdat(b"a bare\n") + bdat(b"NOOP\r\n") * 150 + bdat(b"x", " LAST"))
            assert (await client.reply()).startswith("554 5.6.0 ")
            assert {await client.reply() for _ in range(151)} == {"503 5.5.1 Need MAIL first"}
            assert (await client.say(last)).startswith("250")
            client.writer.write(bdat(b"x", " LAST"))
            assert "[gp-" in await client.reply()
            assert (await client.say("RSET")).startswith("250")
        assert len(told(server, CommandRefused)) == 3
        await client.close()


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(
    "octets",
    [
        b"BDAT 1000\r\n",
        b"BDAT 1000 LAST\r\n" + HEADER,
        bdat(HEADER),
        bdat(HEADER) + bdat(b"x" * 300_000),
        bdat(HEADER) + bdat(b"x" * 300_000) + b"BDAT 300000\r\n" + b"x" * 250_000,
        bdat(HEADER) + bdat(b"x" * 300_000) + b"BDA",
    ],
    ids=["announced", "in the last", "between", "between large ones", "in a large one", "in a command"],
)
async def test_a_client_that_hangs_up_between_or_within_chunks_leaves_nothing_behind(start, octets, how):
    async with start() as server:
        client = await log_in(server)
        await begin(client)
        client.writer.write(octets)
        await client.writer.drain()
        if octets.startswith(bdat(HEADER)):
            await client.reply()
        if how == "close":
            await client.close()
        else:
            client.abort()
        await until(lambda: told(server, SessionClosed))
        await until(lambda: not [task for task in asyncio.all_tasks() if "session" in str(task.get_coro())])
        assert server.worker.spool.count() == 0
        await until(lambda: not bodies(server))
        assert not server.troubles
        assert server.worker.listeners[0].connections.count == 0


@pytest.mark.parametrize("again", ["RSET", "EHLO client.example"])
async def test_chunks_that_are_given_up_leave_nothing_behind(start, again):
    async with start() as server:
        client = await log_in(server)
        await begin(client)
        client.writer.write(bdat(HEADER) + bdat(b"x" * 300_000))
        assert (await client.reply()).startswith("250")
        assert (await client.reply()).startswith("250")
        assert bodies(server)
        assert (await client.say(again)).startswith("250")
        await until(lambda: not bodies(server))
        client.writer.write(bdat(b"NOOP\r\n", " LAST"))
        assert (await client.reply()).startswith("503 5.5.1")
        assert server.worker.spool.count() == 0
        await client.close()


@pytest.mark.rfc("5321 §3.8")
@pytest.mark.parametrize(
    ("octets", "limits"),
    [
        (b"BDAT 1000\r\n" + HEADER, {"data_timeout": "1s"}),
        (bdat(HEADER), {"idle_timeout": "1s"}),
        (b"BDAT 1000000000 LAST\r\n" + HEADER, {"data_timeout": "1s"}),
    ],
    ids=["within", "between", "within one too big"],
)
async def test_silence_ends_with_a_421(start, octets, limits):
    async with start(limits=limits) as server:
        client = await log_in(server)
        await begin(client)
        client.writer.write(octets)
        reply = await client.reply()
        if "idle_timeout" in limits:
            assert reply.startswith("250 2.0.0")
            reply = await client.reply()
        assert reply.startswith("421 4.4.2 ")
        assert await client.reply() == ""
        await until(lambda: told(server, SessionClosed))
        assert told(server, SessionClosed)[0].reason == "timed out"
        assert server.worker.spool.count() == 0
        await client.close()


async def test_a_stranger_gains_no_time_by_a_chunk(start):
    async with start(limits={"login_timeout": "1s"}) as server:
        client = await connect(server)
        await client.reply()
        client.writer.write(b"BDAT 99999999999999999999\r\n")
        reply = asyncio.create_task(client.reply())
        async with asyncio.timeout(60):
            while not reply.done():
                client.writer.write(b"x" * 1000)
                await asyncio.sleep(0.05)
        assert (await reply).startswith("421 4.4.2 ")
        client.abort()


@pytest.mark.sources
@pytest.mark.rfc("3030 §2")
async def test_a_spool_without_room_is_told_after_the_chunk_and_every_chunk_after_it_refused(start, monkeypatch):
    async with start() as server:
        begin_incoming = server.worker.spool.begin

        def full():
            monkeypatch.setattr(server.worker.spool, "begin", begin_incoming)  # there is room again at once
            raise SpoolFull("full")

        monkeypatch.setattr(server.worker.spool, "begin", full)
        client = await log_in(server)
        await begin(client)
        client.writer.write(bdat(HEADER + b"NOOP\r\n" * 1000) + bdat(b"the rest", " LAST"))
        assert (await client.reply()).startswith("452 4.3.1 ")
        assert (await client.reply()).startswith("503 5.5.1 ")
        assert server.worker.spool.count() == 0
        await begin(client)
        client.writer.write(bdat(HEADER + b"again", " LAST"))
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        await client.close()


@pytest.mark.parametrize("length", [100, 600_000])
async def test_a_spool_in_trouble_is_told_after_the_chunk(start, monkeypatch, length):
    async with start() as server:

        async def broken(_incoming):
            raise SpoolUnavailable("no disk")

        monkeypatch.setattr("gatepost.spool.incoming.SqliteIncoming.drain", broken)
        client = await log_in(server)
        await begin(client)
        client.writer.write(bdat(HEADER + b"NOOP\r\n" * length) + bdat(b"the rest", " LAST") + b"NOOP\r\n")
        assert (await client.reply()).startswith("451 4.3.0 ")
        assert (await client.reply()).startswith("503 5.5.1 ")
        assert await client.reply() == "250 2.0.0 OK"
        await until(lambda: not bodies(server))
        await client.close()


async def test_trouble_of_our_own_in_the_middle_of_a_chunk_ends_the_session(start, monkeypatch):
    """What follows is still content, and no command, though nobody keeps it."""
    async with start() as server:

        async def broken(_incoming):
            raise RuntimeError("of our own")

        monkeypatch.setattr("gatepost.spool.incoming.SqliteIncoming.drain", broken)
        client = await log_in(server)
        await begin(client)
        client.writer.write(bdat(HEADER + b"NOOP\r\n" * 600_000) + b"NOOP\r\n")
        assert (await client.reply()).startswith("451 4.3.0 Internal error")
        assert await client.reply() == ""
        await until(lambda: told(server, SessionClosed))
        assert told(server, SessionClosed)[0].reason == "trouble in the middle of a chunk"
        assert server.worker.spool.count() == 0
        client.abort()


async def test_a_group_of_many_small_chunks_takes_no_longer_than_its_length(start):
    """A buffer of them is not copied for each."""
    async with start() as server:
        client = await log_in(server)
        await begin(client)
        client.writer.write(bdat(HEADER) + b"BDAT 1\r\nx" * 20_000 + b"BDAT 0 LAST\r\n")
        before = time.process_time()
        for _ in range(20_001):
            assert (await client.reply()).startswith("250 2.0.0 OK")
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        assert time.process_time() - before < 15
        await client.close()
