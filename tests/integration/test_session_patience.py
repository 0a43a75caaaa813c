"""How long a session may last, however busy its client keeps it, and that each end from our side is a 421."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.observe.events import SessionClosed
from integration.client import connect, log_in


async def until(condition, seconds: float = 60) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def reasons(server) -> list[str]:
    return [event.reason for event in server.events if isinstance(event, SessionClosed)]


async def said_at_the_end(client, *, line: bytes, pause: float) -> str:
    """Say *line* again and again until the server hangs up; return its last reply."""

    async def keep_busy() -> None:
        while True:
            client.writer.write(line)
            await asyncio.sleep(pause)

    busy = asyncio.create_task(keep_busy())
    last = ""
    try:
        async with asyncio.timeout(60):
            while reply := await client.reply():
                last = reply
    except ConnectionResetError:
        pass
    finally:
        busy.cancel()
        client.abort()
    return last


@pytest.mark.rfc("5321 §3.8")
@pytest.mark.parametrize("line", [b"NOOP\r\n", b"HELO x\r\n", b"NOOP\r\nNOOP\r\n", b"N"])
async def test_who_does_not_log_in_is_cut_off_however_busy(start, line):
    async with start(limits={"login_deadline": "1s"}) as server:
        client = await connect(server)
        assert (await client.reply()).startswith("220")
        last = await said_at_the_end(client, line=line, pause=0.05)
        assert last == "421 4.4.2 Timed out waiting for a login"
        await until(lambda: reasons(server))
        assert reasons(server) == ["no login in time"]


async def test_the_time_to_log_in_goes_on_in_tls_and_ends_with_the_login(start):
    limits = {"login_deadline": "5s", "idle_timeout": "300s"}
    async with start(limits=limits) as server:
        client = await log_in(server)
        await asyncio.sleep(5.5)
        assert (await client.say("NOOP")).startswith("250")
        await client.close()


@pytest.mark.parametrize("line", [b"", b"NOOP\r\n", b"NOOP\r\nEHLO x\r\n"])
async def test_a_session_has_its_time(start, line):
    async with start(limits={"session_deadline": "4s"}) as server:
        client = await log_in(server)
        last = await said_at_the_end(client, line=line, pause=0.02)
        assert last == "421 4.4.2 Session has lasted too long, connect again"
        await until(lambda: reasons(server))
        assert reasons(server) == ["session too long"]


async def test_a_flood_gains_no_time(start):
    async with start(limits={"session_deadline": "4s"}) as server:
        client = await log_in(server)
        last = await said_at_the_end(client, line=b"NOOP\r\n" * 300, pause=0)
        assert last.startswith("421 4.4.2 Session")


async def test_a_transaction_may_come_to_its_end_and_the_session_ends_then(start):
    async with start(limits={"session_deadline": "4s"}) as server:
        client = await log_in(server)
        await client.open_data()
        for _ in range(18):
            client.writer.write(b"X: y\r\n")
            await asyncio.sleep(0.25)
        client.writer.write(b"From: <tim@example.org>\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250 2.0.0")
        assert (await client.reply()).startswith("421 4.4.2 Session")
        await client.close()
        assert server.worker.spool.count() + len(list(server.sandbox.glob("*.eml"))) >= 1


async def test_a_message_that_never_ends_is_cut_off_and_not_kept(start):
    async with start(limits={"session_deadline": "4s"}) as server:
        client = await log_in(server)
        await client.open_data()
        last = await said_at_the_end(client, line=b"X: y\r\n", pause=0.05)
        assert last.startswith("421 4.4.2 Session")
        assert server.worker.spool.count() == 0


async def test_refused_commands_are_counted_until_a_message_is_accepted(start):
    async with start() as server:
        client = await log_in(server)
        for _ in range(2):
            for _ in range(90):
                assert (await client.say("MAIL FROM:<somebody@else.example>")).startswith("550 ")
            await client.open_data()
            client.writer.write(b"From: <tim@example.org>\r\n\r\n.\r\n")
            assert (await client.reply()).startswith("250 ")
        client.writer.write(b"MAIL FROM:<somebody@else.example>\r\n" * 300)
        replies = [await client.reply() for _ in range(101)]
        assert {each[:3] for each in replies[:100]} == {"550"}
        assert replies[100] == "421 4.7.0 Too many refused commands"
        client.abort()
        await until(lambda: reasons(server))
        assert reasons(server) == ["too many refused commands"]


async def test_refused_commands_one_by_one_end_the_session_too(start):
    async with start() as server:
        client = await log_in(server)
        for _ in range(100):
            assert (await client.say("RCPT TO:<bob@example.net>")).startswith("503 ")
        assert (await client.reply()).startswith("421 4.7.0 ")
        await client.close()


@pytest.mark.rfc("5321 §3.8")
async def test_whom_a_stopping_server_does_not_wait_for_hears_421_in_the_middle_of_a_message(start):
    async with start() as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(b"From: <tim@example.org>\r\n")
        await asyncio.sleep(0.1)
        await server.worker.stop(grace=0.1)
        assert (await client.reply()).startswith("421 4.3.2 ")
        assert await client.reply() == ""
        assert reasons(server) == ["shutting down"]
        await client.close()
