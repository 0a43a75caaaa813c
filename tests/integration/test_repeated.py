"""Idempotent submission over real sockets: what a client sends again, having heard no 250, goes once; nothing else."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.model.envelope import MessageId
from gatepost.model.identity import Secret
from gatepost.observe.events import MessageAccepted, MessageRepeated
from gatepost.spool.incoming import SqliteIncoming
from gatepost.state.database import Database
from gatepost.state.keys import Keys
from gatepost.state.unheard import Unheard
from identities import Clock
from integration.client import Client, log_in

ON = {"idempotence": {"enabled": True}}
MESSAGE = b"From: <tim@example.org>\r\nMessage-ID: <one@example.org>\r\nSubject: once\r\n\r\nbody\r\n"


async def until(condition, seconds: float = 60) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def accepted(server) -> int:
    return len(told(server, MessageAccepted))


async def begin(client: Client, recipients=("bob@example.net",), sender: str = "tim@example.org") -> None:
    commands = [f"MAIL FROM:<{sender}>", *(f"RCPT TO:<{each}>" for each in recipients)]
    client.writer.write("".join(f"{each}\r\n" for each in commands).encode())
    for _ in commands:
        assert (await client.reply()).startswith("250 2.1.")


async def send(client: Client, message: bytes = MESSAGE, *, by_chunks: bool = False) -> None:
    """Send the content; its reply is not read."""
    if by_chunks:
        half = len(message) // 2
        client.writer.write(b"BDAT %d\r\n" % half + message[:half])
        assert (await client.reply()).startswith("250 2.0.0")
        client.writer.write(b"BDAT %d LAST\r\n" % (len(message) - half) + message[half:])
    else:
        client.writer.write(b"DATA\r\n")
        assert (await client.reply()).startswith("354")
        client.writer.write(message + b".\r\n")


async def send_unheard(server, recipients=("bob@example.net",), **how) -> None:
    """Send a message, and lose the line once it is kept."""
    before, sessions = accepted(server) + len(told(server, MessageRepeated)), len(server.worker.sessions)
    client = await log_in(server)
    await begin(client, recipients)
    await send(client, **how)
    await until(lambda: accepted(server) + len(told(server, MessageRepeated)) > before)
    client.writer.transport.abort()
    await until(lambda: len(server.worker.sessions) <= sessions)


async def id_of_reply(client: Client) -> str:
    reply = await client.reply()
    assert reply.startswith("250 2.0.0 queued as ")
    return reply.rpartition(" ")[2]


@pytest.mark.parametrize("by_chunks", [False, True], ids=["DATA", "BDAT"])
async def test_a_message_whose_client_heard_no_250_gets_the_same_id_and_goes_once(start, by_chunks):
    async with start(**ON) as server:
        await send_unheard(server, by_chunks=by_chunks)
        await send_unheard(server)  # and the next 250 is lost, too
        client = await log_in(server)
        await begin(client)
        await send(client)
        assert await id_of_reply(client) == told(server, MessageAccepted)[0].message
        assert accepted(server) == 1
        assert len(told(server, MessageRepeated)) == 2
        # The session goes on as after any message; this one was heard of, so that another like it is another.
        await begin(client)
        await send(client, MESSAGE.replace(b"body", b"other"))
        await id_of_reply(client)
        assert accepted(server) == 2
        await client.close()


async def test_a_client_that_says_a_word_after_the_250_means_another_message(start):
    async with start(**ON) as server:
        ids = set()
        for _ in range(2):
            client = await log_in(server)
            await begin(client)
            await send(client)
            ids.add(await id_of_reply(client))
            client.writer.write(b"NOOP\r\n")
            await client.reply()
            client.writer.transport.abort()
            await until(lambda: not server.worker.sessions)
        assert len(ids) == 2
        assert accepted(server) == 2


async def test_a_client_that_has_heard_at_last_means_another_message_the_next_time(start):
    async with start(**ON) as server:
        await send_unheard(server)
        await send_unheard(server)
        ids = []
        for _ in range(2):
            client = await log_in(server)
            await begin(client)
            await send(client)
            ids.append(await id_of_reply(client))
            client.writer.write(b"QUIT\r\n")
            await client.reply()
            await client.close()
            await until(lambda: not server.worker.sessions)
        assert ids[0] == told(server, MessageAccepted)[0].message
        assert ids[1] == told(server, MessageAccepted)[1].message
        assert len(set(ids)) == 2
        assert len(told(server, MessageRepeated)) == 2


@pytest.mark.parametrize("by_chunks", [False, True], ids=["DATA", "BDAT"])
async def test_a_client_that_said_quit_in_one_go_with_the_message_means_another_one(start, by_chunks):
    async with start(**ON) as server:
        ids = set()
        for _ in range(2):
            client = await log_in(server)
            await begin(client)
            if by_chunks:
                client.writer.write(b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE + b"QUIT\r\n")
            else:
                client.writer.write(b"DATA\r\n")
                assert (await client.reply()).startswith("354")
                client.writer.write(MESSAGE + b".\r\nQUIT\r\n")
            ids.add(await id_of_reply(client))
            assert (await client.reply()).startswith("221 ")
            assert await client.reply() == ""
            client.writer.transport.abort()
            await until(lambda: not server.worker.sessions)
        assert len(ids) == 2
        assert not told(server, MessageRepeated)


async def test_it_is_off_by_default(start):
    async with start() as server:
        await send_unheard(server)
        await send_unheard(server)
        assert accepted(server) == 2
        assert not told(server, MessageRepeated)


@pytest.mark.parametrize(
    "message",
    [
        MESSAGE.replace(b"body", b"bodY"),
        MESSAGE.replace(b"once", b"oncE"),
        MESSAGE.replace(b"<one@", b"<two@"),
        MESSAGE.replace(b"\r\n\r\nbody", b"\r\nX: \r\n\r\nbody"),
    ],
)
async def test_another_content_is_another_message(start, message):
    async with start(**ON) as server:
        await send_unheard(server)
        await send_unheard(server, message=message)
        assert accepted(server) == 2


async def test_other_recipients_are_another_message_and_their_order_does_not_matter(start):
    async with start(**ON) as server:
        await send_unheard(server, ["bob@example.net", "eve@example.net"])
        for others in (["bob@example.net"], ["bob@example.net", "eve@example.org"]):
            await send_unheard(server, others)
        assert accepted(server) == 3
        await send_unheard(server, ["eve@example.net", "bob@example.net"])
        assert accepted(server) == 3


async def test_a_message_without_a_message_id_of_its_own_is_always_another(start):
    async with start(**ON) as server:
        for _ in range(2):
            await send_unheard(server, message=MESSAGE.replace(b"Message-ID: <one@example.org>\r\n", b""))
        assert accepted(server) == 2


async def test_a_line_that_breaks_while_the_message_is_being_kept_counts_as_well(start, monkeypatch):
    async with start(**ON) as server:
        begun, go = asyncio.Event(), asyncio.Event()
        commit = SqliteIncoming.commit

        async def slow(*arguments, **named):
            begun.set()
            await go.wait()
            return await commit(*arguments, **named)

        monkeypatch.setattr(SqliteIncoming, "commit", slow)
        client = await log_in(server)
        await begin(client)
        await send(client)
        await begun.wait()
        [session] = server.worker.sessions
        client.writer.transport.abort()
        await until(lambda: session.transport is None)
        go.set()
        await until(lambda: accepted(server))
        await send_unheard(server)
        assert accepted(server) == 1
        assert [event.message for event in told(server, MessageRepeated)] == [told(server, MessageAccepted)[0].message]


async def test_all_workers_know_it_for_its_time(tmp_path):
    clock = Clock()
    databases = [Database(tmp_path / "state.db") for _ in range(2)]
    keys = Keys(Secret(bytes(32)))
    here, there = (Unheard(each, keys, clock, 600) for each in databases)
    body: list[bytes] = []
    whole, pieces = here.fingerprint(body.append), there.fingerprint(body.append)
    whole.write(b"body")
    for piece in (b"bo", b"", b"dy"):
        pieces.write(piece)
    mark = whole.close(b"header", b"x")
    assert mark == pieces.close(b"header", b"x")
    assert b"".join(body) == b"bodybody"
    assert mark != here.fingerprint(body.append).close(b"bodyheader", b"x")
    assert here.find(mark) is None  # nor can it be read yet
    for each in databases:
        each.open()
    here.note(mark, MessageId("m1"))
    await here._database.write(lambda _: None)
    assert there.find(mark) == "m1"
    clock.time += 599
    assert there.find(mark) == "m1"
    clock.time += 1
    assert there.find(mark) is None
    here.note(bytes(16), MessageId("m2"))
    there.note(mark, MessageId("m3"))
    await there._database.write(lambda _: None)
    assert here.find(mark) == "m3"
    here.forget(mark)
    await here._database.write(lambda _: None)
    assert there.find(mark) is None
    assert await here._database.write(
        lambda connection: connection.execute("SELECT message FROM unheard").fetchall()
    ) == [("m2",)]
    for each in databases:
        each.close()
    assert there.find(mark) is None
