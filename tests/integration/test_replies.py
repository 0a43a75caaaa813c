"""What is said, word for word, where no dialog leads: by limits, by trouble of our own, when the server stops."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from gatepost.errors import SpoolFull, SpoolUnavailable, StoreUnavailable
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.model import reply as replies
from gatepost.model.reply import Reply
from gatepost.spool.incoming import SqliteIncoming
from integration.client import connect, log_in

ROOT = Path(__file__).parents[2]
MESSAGE = b"From: <tim@example.org>\r\n\r\nhello\r\n"
LOGIN = "AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwBzZWNyZXQtcGFzcy0x"


def said(reply: str, text: str) -> bool:
    """Tell whether *reply* is *text*, with a support id or without."""
    return re.fullmatch(re.escape(text) + r"( \[gp-[0-9a-f]{10}\.\d+\])?", reply) is not None


def test_every_reply_is_sent_and_expected_word_for_word():
    sources = [path for path in (ROOT / "src").rglob("*.py") if path.name != "reply.py"]
    code = "\n".join(path.read_text() for path in sources)
    dialogs = "\n".join(
        line
        for path in (ROOT / "tests/dialogs").glob("*.smtp")
        for line in path.read_text().splitlines()
        if line.startswith("S: ")
    )
    tests = "\n".join(path.read_text() for path in (ROOT / "tests/integration").glob("test_*.py"))
    listed = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}
    assert not [name for name in listed if not re.search(rf"\b{name}\b", code)], "never sent"
    assert not [name for name, value in listed.items() if str(value) not in dialogs + tests], "never expected"


@pytest.mark.rfc("5321 §3.8")
async def test_who_is_silent_hears_that_the_time_is_up(start):
    async with start(limits={"login_timeout": "1s"}) as server:
        client = await connect(server)
        assert (await client.reply()).startswith("220 ")
        assert said(await client.reply(), "421 4.4.2 Timed out waiting for you")
        assert await client.reply() == ""
        await client.close()


@pytest.mark.rfc("5321 §3.8")
async def test_who_is_idle_hears_that_the_server_stops(start):
    async with start() as server:
        client = await log_in(server)
        await asyncio.sleep(1.1)
        stopping = asyncio.create_task(server.worker.stop(grace=10))
        assert said(await client.reply(), "421 4.3.2 Service shutting down, try again later")
        assert await client.reply() == ""
        await stopping
        await client.close()


@pytest.mark.rfc("5321 §4.2.1")
async def test_a_connection_too_many_hears_so(start):
    async with start(limits={"connections_per_address": 1}) as server:
        first = await connect(server, "submission")
        assert (await first.reply()).startswith("220 ")
        second = await connect(server, "submission")
        assert said(await second.reply(), "421 4.7.0 Too many connections")
        assert await second.reply() == ""
        await first.close()
        await second.close()


@pytest.mark.rfc("5322 §2.1.1")
async def test_a_line_too_long_is_read_to_its_end_and_refused(start):
    async with start(limits={"line_bytes": 2000}) as server:
        client = await log_in(server)
        for size, answer in ((998, "250 2.0.0 queued as"), (2000, "250 2.0.0"), (2001, "554 5.6.0"), (300_000, "554")):
            for line in ("MAIL FROM:<tim@example.org>", "RCPT TO:<bob@example.net>", "DATA"):
                assert (await client.say(line))[0] in "23"
            client.writer.write(MESSAGE + b"x" * size + b"\r\nlast\r\n.\r\n")
            said_of_it = await client.reply()
            assert said_of_it.startswith(answer)
        assert said(said_of_it, "554 5.6.0 A line of the message is too long")
        await client.close()


@pytest.mark.rfc("5321 §2.3.8")
async def test_a_listener_mends_line_endings_when_it_is_told_to(start):
    listeners = [
        {"name": "submissions", "address": "127.0.0.1", "port": 0, "tls": "implicit", "bare_line_endings": "normalise"}
    ]
    async with start(listener=listeners) as server:
        client = await log_in(server)
        for line in ("MAIL FROM:<tim@example.org>", "RCPT TO:<bob@example.net>", "DATA"):
            assert (await client.say(line))[0] in "23"
        client.writer.write(b"From: <tim@example.org>\n\nhello\n.\nMAIL FROM:<eve@example.org>\r\n.\r\nQUIT\r\n")
        assert (await client.reply()).startswith("250 2.0.0 queued as")
        assert (await client.reply()).startswith("221 ")
        await client.close()
        (kept,) = await asyncio.to_thread(_wait_for_mail, server.sandbox)
        assert kept.endswith(b"\r\n\r\nhello\r\n.\r\nMAIL FROM:<eve@example.org>\r\n")


def _wait_for_mail(folder: Path) -> list[bytes]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [path.read_bytes() for path in folder.glob("*.eml")]
        if found:
            return found
        time.sleep(0.02)
    return []


@pytest.mark.rfc("5321 §4.2.1")
async def test_commands_too_many_without_a_login_hear_so(start):
    async with start() as server:
        client = await connect(server)
        client.writer.write(b"NOOP\r\n" * 101)
        answers = [await client.reply() for _ in range(102)]
        assert said(answers[-1], "421 4.7.0 Too many commands without a login")
        assert await client.reply() == ""
        await client.close()


@pytest.mark.rfc("5321 §4.2.1")
async def test_unknown_commands_too_many_hear_so(start):
    async with start() as server:
        client = await log_in(server)
        client.writer.write(b"XYZZY\r\n" * 10)
        answers = [await client.reply() for _ in range(11)]
        assert said(answers[-1], "421 4.7.0 Too many unknown commands")
        assert await client.reply() == ""
        await client.close()


@pytest.mark.rfc("3207 §6")
async def test_an_injection_hears_that_it_was_seen(start):
    async with start() as server:
        client = await connect(server, "submission")
        await client.reply()
        client.writer.write(b"STARTTLS\r\nNOOP\r\n")
        assert said(await client.reply(), "421 4.7.0 Data sent before the TLS handshake")
        assert await client.reply() == ""
        await client.close()


@pytest.mark.rfc("3207 §4")
async def test_without_a_certificate_starttls_is_not_offered_and_cannot_start(start):
    async with start() as server:
        for listener in server.worker.listeners:
            listener.service.tls_context = None
        client = await connect(server, "submission")
        await client.reply()
        assert "STARTTLS" not in await client.say("EHLO x")
        assert said(await client.say("STARTTLS"), "454 4.7.0 TLS not available now")
        assert (await client.say("NOOP")).startswith("250 ")
        await client.close()


@pytest.mark.rfc("4954 §6")
async def test_a_store_that_is_away_is_no_judgement(start, monkeypatch):
    async with start() as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")

        async def away(*arguments):
            raise StoreUnavailable("/var/lib/accounts is gone")

        with monkeypatch.context() as patched:
            patched.setattr(SqliteStore, "find", away)
            for _ in range(5):
                answer = await client.say(LOGIN)
                assert said(answer, "454 4.7.0 Temporary authentication failure, try again later")
        assert (await client.say(LOGIN)).startswith("235 ")
        await client.close()


@pytest.mark.rfc("5321 §4.5.3.1.10")
async def test_a_recipient_too_many_is_for_another_transaction(start):
    async with start() as server:
        client = await log_in(server)
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250 ")
        client.writer.write(b"".join(b"RCPT TO:<bob%d@example.net>\r\n" % number for number in range(101)))
        answers = [await client.reply() for _ in range(101)]
        # RFC 5321 §4.5.3.1.8: a hundred must pass.
        assert set(answers[:100]) == {"250 2.1.5 OK"}
        assert said(answers[100], "452 4.5.3 Too many recipients, send the rest in another transaction")
        await client.close()


@pytest.mark.rfc("1870 §6.3")
async def test_a_message_too_big_hears_so_at_its_end(start):
    async with start(limits={"message_bytes": "64KiB"}) as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b"x" * 65_536 + b"\r\n.\r\n")
        assert said(await client.reply(), "552 5.3.4 Message too big")
        assert (await client.say("NOOP")).startswith("250 ")
        await client.close()


@pytest.mark.sources
@pytest.mark.rfc("1870 §6.1")
async def test_what_finds_no_room_is_refused_before_it_is_sent(start, monkeypatch):
    async with start() as server:
        client = await log_in(server)
        spool = server.worker.listeners[0].service.spool
        free = 3 << 20
        monkeypatch.setattr(spool._room, "_ask", lambda: None)
        monkeypatch.setattr(spool._room, "_free_bytes", spool._room.reserve_bytes + free)
        monkeypatch.setattr(spool._room, "_free_files", float("inf"))
        full = "452 4.3.1 No room for mail now, try again later"
        assert said(await client.say(f"MAIL FROM:<tim@example.org> SIZE={free + 1}"), full)
        assert (await client.say("RCPT TO:<bob@example.net>")).startswith("503 5.5.1 ")
        assert (await client.say(f"MAIL FROM:<tim@example.org> SIZE={free}")).startswith("250 ")
        assert (await client.say("RSET")).startswith("250 ")
        monkeypatch.setattr(spool._room, "_free_bytes", spool._room.reserve_bytes - 1)
        assert said(await client.say("MAIL FROM:<tim@example.org>"), full)
        monkeypatch.setattr(spool._room, "_trouble", "the spool's file system is read-only")
        unavailable = "451 4.3.0 Cannot keep mail now, try again later"
        assert said(await client.say("MAIL FROM:<tim@example.org>"), unavailable)
        await client.close()


@pytest.mark.rfc("5321 §4.2.5")
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SpoolUnavailable("/var/spool is gone"), "451 4.3.0 Cannot keep mail now, try again later"),
        (SpoolFull("/var/spool is full"), "452 4.3.1 No room for mail now, try again later"),
        (RuntimeError("of our own, in /usr/lib"), "451 4.3.0 Internal error, try again later"),
    ],
)
async def test_trouble_of_our_own_is_for_later_and_says_nothing_of_us(start, monkeypatch, error, text):
    async with start() as server:
        client = await log_in(server)

        async def fail(*arguments, **names):
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(SqliteIncoming, "commit", fail)
            await client.open_data()
            client.writer.write(MESSAGE + b".\r\n")
            assert said(await client.reply(), text)
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        await client.close()
