"""A session over real sockets: what happens when the client hangs up, is silent, is slow, or sends too much."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from gatepost.observe.events import ConnectionRefused, LoginFailed, LoginSucceeded, MessageAccepted, SessionClosed
from integration.client import Client, connect, log_in
from stopwatch import Stopwatch

MESSAGE = b"From: <tim@example.org>\r\nSubject: hi\r\n\r\nhello\r\n"


async def until(condition, seconds: float = 200) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def closed(server) -> list[SessionClosed]:
    return [event for event in server.events if isinstance(event, SessionClosed)]


STEPS = [
    "",
    "EHLO client.example\r\n",
    "EHLO client.example\r\nAUTH LOGIN\r\n",
    "EHLO client.example\r\nAUTH SCRAM-SHA-256 biwsbj11c2VyLHI9ck9wck5HZndFYmVSV2diTkVrcU8=\r\n",
    "{login}MAIL FROM:<tim@example.org>\r\n",
    "{login}MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\n",
    "{login}MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n",
    "{login}MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\nFrom: <tim@example.org>\r\n\r\nhel",
    "{login}MAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n{big}",
]
LOGIN = "EHLO client.example\r\nAUTH PLAIN AHRpbUBleGFtcGxlLm9yZwBzZWNyZXQtcGFzcy0x\r\n"


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("step", range(len(STEPS)))
async def test_a_client_that_hangs_up_leaves_nothing_behind(start, step, how):
    async with start() as server:
        client = await connect(server)
        big = "From: <tim@example.org>\r\n\r\n" + ("x" * 76 + "\r\n") * 4000
        client.writer.write(STEPS[step].format(login=LOGIN, big=big).encode())
        await client.writer.drain()
        await client.reply()
        if how == "close":
            await client.close()
        else:
            client.abort()
        await until(lambda: closed(server))
        worker = server.worker
        assert not worker.listeners[0].service.sessions
        await until(lambda: not [task for task in asyncio.all_tasks() if "session" in str(task.get_coro())])
        assert worker.spool.count() == 0
        bodies = worker.config.spool_dir / "0" / "bodies"
        await until(lambda: not list(bodies.iterdir()))  # a thread takes them away
        assert not server.troubles
        assert worker.listeners[0].connections.count == 0


async def test_a_message_is_kept_relayed_and_told_of(start):
    async with start() as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        reply = await client.reply()
        assert reply.startswith("250 2.0.0 queued as ")
        message_id = reply.split()[4]
        await until(lambda: (server.sandbox / f"{message_id}.eml").exists())
        octets = (server.sandbox / f"{message_id}.eml").read_bytes()
        assert octets.startswith(b"Received: ")
        assert octets.endswith(b"\r\n\r\nhello\r\n")
        assert b"127.0.0.1" not in octets
        assert json.loads((server.sandbox / f"{message_id}.json").read_text())
        await until(lambda: server.worker.spool.count() == 0)
        [accepted] = [event for event in server.events if isinstance(event, MessageAccepted)]
        assert (accepted.message, accepted.login, accepted.peer) == (message_id, "tim@example.org", "127.0.0.1")
        assert accepted.size == len(octets)
        [login] = [event for event in server.events if isinstance(event, LoginSucceeded)]
        assert (login.mechanism, login.peer, login.listener) == ("PLAIN", "127.0.0.1", "submissions")
        assert await client.say("QUIT") == "221 2.0.0 Bye"
        assert await client.reply() == ""
        await client.close()


@pytest.mark.rfc("5321 §3.8")
@pytest.mark.parametrize("where", ["before login", "after login", "in data"])
async def test_silence_ends_with_a_421(start, where):
    limits = {"login_timeout": "4s", "idle_timeout": "4s", "data_timeout": "4s"}
    async with start(limits=limits) as server:
        if where == "before login":
            client = await connect(server)
            assert (await client.reply()).startswith("220")
        else:
            client = await log_in(server)
        if where == "in data":
            await client.open_data()
            client.writer.write(b"From: <tim@example.org>\r\n")
        assert (await client.reply()).startswith("421 4.4.2 ")
        assert await client.reply() == ""
        await client.close()
        await until(lambda: closed(server))
        assert closed(server)[0].reason == "timed out"
        assert server.worker.spool.count() == 0


async def test_data_that_keeps_coming_is_no_silence(start):
    async with start(limits={"data_timeout": "4s"}) as server:
        client = await log_in(server)
        await client.open_data()
        for _ in range(18):
            client.writer.write(b"X: y\r\n")
            await client.writer.drain()
            await asyncio.sleep(0.3)
        client.writer.write(b"From: <tim@example.org>\r\n\r\n.\r\n")
        assert (await client.reply()).startswith("250 ")
        await client.close()


@pytest.mark.rfc("1870 §6.3")
async def test_a_message_over_the_limit_is_refused_and_the_session_goes_on(start):
    async with start(limits={"message_bytes": "64KiB"}) as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b"x" * 998 + b"\r\n")
        client.writer.write((b"x" * 998 + b"\r\n") * 200 + b".\r\n")
        assert (await client.reply()).startswith("552 5.3.4 ")
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250 ")
        assert not server.troubles
        await client.close()


async def test_connections_are_capped_in_all_and_by_address(start):
    async with start(limits={"connections_per_address": 2}) as server:
        clients = [await connect(server, "submission") for _ in range(3)]
        greetings = [await client.reply() for client in clients]
        assert [greeting[:3] for greeting in greetings] == ["220", "220", "421"]
        assert [event.reason for event in server.events if isinstance(event, ConnectionRefused)]
        for client in clients:
            await client.close()
        await until(lambda: len(closed(server)) == 2)
        client = await connect(server, "submission")
        assert (await client.reply()).startswith("220")
        await client.close()


async def test_a_handshake_that_fails_is_told_of_and_counted_out(start):
    async with start() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.ports["submissions"])
        writer.write(b"EHLO not tls\r\n" * 10)
        await reader.read()
        writer.close()
        client = await connect(server, "submission")
        await client.reply()
        await client.say("EHLO x")
        assert (await client.say("STARTTLS")).startswith("220")
        client.writer.write(b"EHLO not tls\r\n" * 10)
        await client.reader.read()
        await client.close()
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        assert len([event for event in server.events if type(event).__name__ == "HandshakeFailed"]) == 2


async def test_failed_logins_are_told_of_with_the_true_reason_and_answered_alike(start):
    async with start() as server:
        replies = []
        for login, password in [("tim@example.org", "wrong"), ("nobody@example.org", "secret-pass-1")]:
            client = await connect(server)
            await client.reply()
            await client.say("EHLO x")
            token = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
            replies.append((await client.say(f"AUTH PLAIN {token}")).partition(" [")[0])
            await client.close()
        assert replies == ["535 5.7.8 Authentication credentials invalid"] * 2
        wrong, unknown = [event for event in server.events if isinstance(event, LoginFailed)]
        assert (wrong.login, unknown.login) == ("tim@example.org", "nobody@example.org")
        assert wrong.reason != unknown.reason
        assert wrong.peer == "127.0.0.1"
        assert "gp-" in wrong.reply


async def test_every_no_comes_at_the_same_moment(start):
    async with start(auth={"failure_delay": "1s", "max_failures": 5}) as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        moments = []
        for line in ["AUTH PLAIN AG5vYm9keQB4eHh4", "AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwB4eHh4"]:
            began = time.monotonic()
            with Stopwatch() as watch:
                assert (await client.say(line)).startswith("535")
                moments.append((time.monotonic() - began, watch.seconds))
        assert moments[0][0] > 0.99
        assert moments[0][1] < 1.5
        assert moments[1][0] > 1.99  # it grows
        assert moments[1][1] < 2.5
        await client.close()


async def test_stopping_dismisses_the_idle_and_lets_a_transaction_end(start):
    async with start() as server:
        idle, busy = await log_in(server), await log_in(server)
        await busy.open_data()
        stopping = asyncio.create_task(server.worker.stop(grace=10))
        assert (await idle.reply()).startswith("421 4.3.2 ")
        busy.writer.write(MESSAGE + b".\r\n")
        assert (await busy.reply()).startswith("250 ")
        assert (await busy.reply()).startswith("421 4.3.2 ")
        await stopping
        with pytest.raises(OSError):
            await connect(server)
        for client in (idle, busy):
            await client.close()


async def test_a_client_that_does_not_read_costs_one_buffer(start):
    async with start() as server:
        client = await log_in(server)
        client.writer.transport.pause_reading()
        sent = 0
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                while sent < 60_000_000:
                    client.writer.write(b"NOOP\r\n" * 10_000)
                    sent += 60_000
                    await client.writer.drain()
        [session] = server.worker.listeners[0].service.sessions
        assert len(session._buffer) < 400_000
        assert session.transport.get_write_buffer_size() < 400_000
        client.abort()
        await until(lambda: closed(server))


async def test_thousands_of_commands_in_one_go_leave_the_loop_to_others_and_are_not_answered_all_at_once(start):
    async with start() as server:
        client = await log_in(server)
        [session] = server.worker.listeners[0].service.sessions
        written, turns, is_over = [], 0, False

        class Noting:
            def __init__(self, transport: asyncio.Transport) -> None:
                self._transport = transport

            def write(self, octets: bytes) -> None:
                written.append(len(octets))
                self._transport.write(octets)

            def __getattr__(self, name: str) -> Any:
                return getattr(self._transport, name)

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not is_over:
                asyncio.get_running_loop().call_soon(turn)

        session.transport = Noting(session.transport)
        session.data_received(b"NOOP\r\n" * 5_000)
        turn()
        for _ in range(5_000):
            assert (await client.reply()).startswith("250 ")
        is_over = True
        assert max(written) <= 100 * len("250 2.0.0 OK\r\n")
        assert turns >= 49
        await client.close()


async def test_two_sessions_do_not_share_limits(start):
    """aiosmtpd keeps the lengths of commands in one object of the class; ours belong to the session."""
    async with start() as server:
        one: Client = await log_in(server)
        two = await log_in(server)
        long = "MAIL FROM:<tim@example.org> AUTH=" + "x" * 600 + "@example.org"
        for client in (one, two):
            assert (await client.say(long)).startswith("250 ")
            assert (await client.say("EHLO again")).startswith("250")
            assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
        for client in (one, two):
            await client.close()
