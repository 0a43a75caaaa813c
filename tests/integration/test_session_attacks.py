"""A session over real sockets, with somebody at the other end who means harm."""

from __future__ import annotations

import asyncio
import base64
import errno
import os

import pytest

from gatepost.identity.passwords import Passwords
from gatepost.observe.events import LoginFailed, MessageAccepted, SessionClosed
from integration.client import connect, log_in
from tokens import AUDIENCE, ISSUER, Signer, jwks


async def until(condition, seconds: float = 60) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_guess_is_told_of_though_nobody_waits_for_the_no(start, how, monkeypatch):
    """A yes comes at once and a no later: who guesses need not wait for it, and must not stay unseen by that."""
    judged, find = asyncio.Event(), Passwords.find

    async def watched(*words):
        try:
            return await find(*words)
        finally:
            judged.set()

    monkeypatch.setattr(Passwords, "find", watched)
    async with start(auth={"failure_delay": "30s"}) as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        client.writer.write(f"AUTH PLAIN {encoded(chr(0) + 'tim@example.org' + chr(0) + 'guess')}\r\n".encode())
        await asyncio.wait_for(judged.wait(), 60)  # as somebody would wait for the yes
        if how == "close":
            await client.close()
        else:
            client.abort()
        await until(lambda: told(server, SessionClosed))
        [failed] = told(server, LoginFailed)
        assert (failed.login, failed.mechanism, failed.reason) == ("tim@example.org", "PLAIN", "wrong secret")


@pytest.mark.parametrize("end", ["*\r\n", "x" * 20_000 + "\r\n", "close", "reset", ""])
async def test_a_token_that_was_refused_is_told_of_whatever_its_client_does_then(start, tmp_path, end):
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(Signer().public()))
    oauth = {"issuers": [{"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": keys}]}
    limits = {"login_timeout": "1s"}
    async with start(auth={"mechanisms": ["XOAUTH2", "PLAIN"]}, oauth=oauth, limits=limits) as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        token = encoded("user=tim@example.org\x01auth=Bearer none.of.ours\x01\x01")
        assert (await client.say(f"AUTH XOAUTH2 {token}")).startswith("334 ")
        match end:
            case "close":
                await client.close()
            case "reset":
                client.abort()
            case _:
                client.writer.write(end.encode())
        await until(lambda: told(server, LoginFailed))
        [failed] = told(server, LoginFailed)
        assert (failed.login, failed.mechanism) == ("tim@example.org", "XOAUTH2")
        assert failed.reason == "token is no signed JWT"
        client.abort()
        await until(lambda: told(server, SessionClosed))
        assert told(server, LoginFailed) == [failed]


@pytest.mark.rfc("5321 §4.5.3.2.7")
@pytest.mark.parametrize("unit", ["x", "x" * 17_000])
async def test_a_line_that_never_ends_is_given_no_more_time_than_silence(start, unit):
    async with start(limits={"login_timeout": "1s"}) as server:
        client = await connect(server)
        await client.reply()
        reply = asyncio.create_task(client.reply())
        async with asyncio.timeout(60):
            while not reply.done():
                client.writer.write(unit.encode())
                await asyncio.sleep(0.1)
        assert (await reply).startswith("421 4.4.2 ")
        client.abort()


async def test_a_listener_outlives_all_that_accept_can_say(start, monkeypatch, caplog):
    async with start() as server:
        listener = server.worker.listeners[0]
        said = [errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ECONNABORTED, errno.EMFILE]

        class Sulking:
            """The listening socket, but for what it says of a connection."""

            def __init__(self, sock):
                self._sock = sock

            def __getattr__(self, name):
                return getattr(self._sock, name)

            def accept(self):
                if said:
                    number = said.pop(0)
                    raise OSError(number, os.strerror(number))
                return self._sock.accept()

        monkeypatch.setattr(listener, "socket", Sulking(listener.socket))
        monkeypatch.setattr("gatepost.listener.listener._RETRY_SECONDS", 0.01)
        client = await connect(server, "submission")
        assert (await client.reply()).startswith("220 ")
        assert not said
        assert "cannot accept a connection" in caplog.text
        await client.close()


@pytest.mark.parametrize("line", ["NOOP", "EHLO x", "MAIL FROM:<tim@example.org>", "AUTH NONE", "AUTH PLAIN !", "RSET"])
async def test_strangers_have_so_many_commands(start, line):
    """Each refusal is a line of the log, and each answer takes work: both end."""
    async with start() as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        client.writer.write(f"{line}\r\n".encode() * 5_000)
        replies = []
        async with asyncio.timeout(60):
            while not replies or not replies[-1].startswith("421"):
                replies.append(await client.reply())
        assert replies[-1].startswith("421 4.7.0 Too many commands without a login")
        assert len(replies) == 100
        client.abort()
        await until(lambda: told(server, SessionClosed))
        assert len(server.events) < 120


@pytest.mark.parametrize("line", ["RSET\rx", "NOOP\r ", "FROG", "DATA\x1d", "QUIT\r", "QUIT\x0b", "EHLO\u2028x"])
async def test_what_is_almost_a_command_is_none_and_ten_of_them_end_the_session(start, line):
    async with start() as server:
        client = await log_in(server)
        for _ in range(9):
            assert (await client.say(line)).startswith("500 5.5.1 ")
        assert (await client.say(line)).startswith("500 5.5.1 ")
        assert (await client.reply()).startswith("421 4.7.0 ")
        assert await client.reply() == ""
        client.abort()


async def test_who_is_logged_in_has_as_many_commands_as_they_like(start):
    async with start() as server:
        client = await log_in(server)
        client.writer.write(b"NOOP\r\n" * 1_000)
        assert {(await client.reply())[:3] for _ in range(1_000)} == {"250"}
        await client.close()


@pytest.mark.sources
async def test_a_message_kept_while_its_client_hung_up_is_told_of_and_relayed(start, monkeypatch):
    """The spool may have it already: it must not lie there unseen until another message wakes the queue."""
    async with start() as server:
        spool = server.worker.spool
        keep, begun = spool.keep, asyncio.Event()

        async def watched(written):
            begun.set()
            await written
            await until(lambda: session.transport is None)

        monkeypatch.setattr(spool, "keep", lambda *args, **options: watched(keep(*args, **options)))
        client = await log_in(server)
        [session] = server.worker.listeners[0].service.sessions
        await client.open_data()
        client.writer.write(b"From: <tim@example.org>\r\n\r\nhello\r\n.\r\nMAIL FROM:<tim@example.org>\r\n")
        await begun.wait()
        session.transport.abort()
        await until(lambda: told(server, SessionClosed))
        [accepted] = told(server, MessageAccepted)
        await until(lambda: (server.sandbox / f"{accepted.message}.json").exists())
        await until(lambda: spool.count() == 0)
        assert not server.troubles
        assert server.worker.listeners[0].connections.count == 0
        client.abort()


async def test_trouble_in_the_middle_of_a_message_ends_the_session(start, monkeypatch):
    """What follows is still content, and no command, though nobody keeps it."""
    async with start() as server:

        async def broken(_incoming):
            raise RuntimeError("of our own")

        monkeypatch.setattr("gatepost.spool.incoming.SqliteIncoming.drain", broken)
        client = await log_in(server)
        await client.open_data()
        client.writer.write(b"From: <tim@example.org>\r\n\r\n" + b"NOOP\r\n" * 200_000 + b".\r\nNOOP\r\n")
        assert (await client.reply()).startswith("451 4.3.0 Internal error")
        assert await client.reply() == ""
        await until(lambda: told(server, SessionClosed))
        assert told(server, SessionClosed)[0].reason == "trouble in the middle of a message"
        assert server.worker.spool.count() == 0
        client.abort()


async def test_a_client_that_reads_nothing_gains_no_time_by_sending(start):
    async with start(limits={"idle_timeout": "1s"}) as server:
        client = await log_in(server)
        client.writer.transport.pause_reading()
        [session] = server.worker.listeners[0].service.sessions
        async with asyncio.timeout(60):
            while not session._is_writing_paused:
                client.writer.write(b"EHLO x\r\n" * 1_000)
                await asyncio.sleep(0)
        async with asyncio.timeout(60):
            while not told(server, SessionClosed):
                client.writer.write(b"x")
                await asyncio.sleep(0.1)
        assert told(server, SessionClosed)[0].reason == "timed out"
        client.abort()
