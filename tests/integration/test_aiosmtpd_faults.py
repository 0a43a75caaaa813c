"""What stock aiosmtpd 1.4.6 does wrong, and we do not: the faults that no dialog shows."""

from __future__ import annotations

import asyncio
import base64
import json
import smtplib
import threading
from email.message import EmailMessage
from pathlib import Path

import pytest

from gatepost.errors import SpoolFull
from gatepost.observe.events import LoginSucceeded, SessionFailed
from integration.client import connect, log_in
from servers import Authority, Gatepost

MESSAGE = b"From: <tim@example.org>\r\n\r\nhello\r\n"


@pytest.mark.parametrize("listener", ["submission", "submissions"])
async def test_auth_is_offered_and_works_on_both_kinds_of_listener(start, listener):
    """1: on an implicit TLS listener it was not offered, and got a 538."""
    async with start() as server:

        def talk() -> None:
            if listener == "submissions":
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    "localhost", server.ports[listener], context=server.client_context, timeout=60
                )
            else:
                client = smtplib.SMTP("localhost", server.ports[listener], timeout=60)
                client.ehlo()
                assert "auth" not in client.esmtp_features
                client.starttls(context=server.client_context)
            with client:
                client.ehlo()
                assert "PLAIN" in client.esmtp_features["auth"].split()
                client.login("tim@example.org", "secret-pass-1")

        await asyncio.to_thread(talk)
        [event] = [each for each in server.events if isinstance(each, LoginSucceeded)]
        assert event.listener == listener


async def test_hashing_happens_off_the_loop(start, monkeypatch):
    """8: an authenticator that hashes stopped the event loop."""
    threads: set[int] = set()
    from gatepost.identity import passwords

    real = passwords.matching

    def spy(*arguments):
        threads.add(threading.get_ident())
        return real(*arguments)

    monkeypatch.setattr(passwords, "matching", spy)
    async with start() as server:
        client = await log_in(server)
        await client.close()
    assert threads
    assert threading.get_ident() not in threads


async def test_the_null_path_is_no_string(start):
    """12: it was kept as the sender "<>"."""
    async with start(policy={"null_sender": "allow"}) as server:
        client = await log_in(server)
        assert (await client.say("MAIL FROM:<>")).startswith("250")
        assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250")
        assert (await client.say("DATA")).startswith("354")
        client.writer.write(MESSAGE + b".\r\n")
        message_id = (await client.reply()).split()[4]
        path = server.sandbox / f"{message_id}.json"
        while not path.exists():
            await asyncio.sleep(0.01)
        assert not json.loads(path.read_text())["reverse_path"]
        await client.close()


async def test_lines_over_1000_octets_are_taken(start):
    """15: a long line was a 500 after the data."""
    async with start() as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b"<p>" + b"x" * 100_000 + b"</p>\r\n.\r\n")
        message_id = (await client.reply()).split()[4]
        path = server.sandbox / f"{message_id}.eml"
        while not path.exists():
            await asyncio.sleep(0.01)
        assert b"x" * 100_000 in path.read_bytes()
        await client.close()


@pytest.mark.sources
@pytest.mark.parametrize(
    ("error", "reply"),
    [(ZeroDivisionError("a path: /etc/shadow"), "451 4.3.0 "), (SpoolFull("/var/lib/x is full"), "452 4.3.1 ")],
)
async def test_a_client_hears_nothing_of_our_trouble_but_its_kind(start, monkeypatch, error, reply):
    """17: the class and the text of an exception went to the client."""

    def begin():
        raise error

    async with start() as server:
        client = await log_in(server)
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
        assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250")
        monkeypatch.setattr(server.worker.spool, "begin", begin)
        said = await client.say("DATA")
        assert said.startswith(reply)
        for word in (type(error).__name__, "/etc", "/var", "Zero"):
            assert word not in said
        assert [event for event in server.events if isinstance(event, SessionFailed)]
        monkeypatch.undo()
        await client.say("RSET")
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250")
        await client.close()


def forms(secret: str) -> list[bytes]:
    """Return what *secret* looks like in logs that leak."""
    octets = secret.encode()
    found = [octets, octets.hex().encode()]
    for shift in range(3):
        encoded = base64.b64encode(b"x" * shift + octets + b"x" * (-(len(octets) + shift) % 3))
        found.append(encoded[4 if shift else 0 : -4])
    return found


def test_no_secret_and_no_content_gets_into_the_log_however_loud_it_is(tmp_path: Path, authority: Authority):
    """18: debug logs showed content, and every line of an exchange but the first."""
    secret, wrong = "Marked-Secret-4711-zebra", "Wrong-Secret-0815-okapi"
    sandbox = tmp_path / "sandbox"
    server = Gatepost(
        tmp_path / "server",
        authority,
        routes=f'[[route]]\nname = "sandbox"\ntransport = "sandbox"\npath = "{sandbox}"\n',
        auth='mechanisms = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]\nfailure_delay = "0s"',
        tables='[observe]\nlog_level = "debug"\n',
    )
    server.add_account("tim@example.org", secret=secret)
    message = EmailMessage()
    message["From"] = "tim@example.org"
    message.set_content("Marked-Content-1234")
    with server:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            for password in (wrong, secret):
                with smtplib.SMTP_SSL(
                    "localhost", server.implicit_port, context=authority.client_context(), timeout=60
                ) as client:
                    client.ehlo()
                    client.user, client.password = "tim@example.org", password
                    method = getattr(client, f"auth_{mechanism.lower().replace('-', '_')}")
                    try:
                        client.auth(mechanism, method)
                    except smtplib.SMTPAuthenticationError:
                        assert password == wrong
                    else:
                        assert password == secret
                        client.send_message(message, to_addrs=["bob@example.net"])
    assert server.process is not None
    assert server.process.returncode == 0
    output = server.log.read_bytes() + server.trouble.read_bytes()
    assert b"login succeeded" in output
    assert b"login failed" in output
    for form in [*forms(secret), *forms(wrong), b"Marked-Content"]:
        assert form not in output, form


async def test_pipelined_commands_in_a_batch_are_answered_in_order_in_few_writes(start):
    """13: PIPELINING was not offered."""
    async with start() as server:
        client = await log_in(server)
        client.writer.write(b"RSET\r\n" * 100)
        data = b""
        pieces = 0
        while data.count(b"\r\n") < 100:
            data += await client.reader.read(65536)
            pieces += 1
        assert data == b"250 2.0.0 OK\r\n" * 100
        assert pieces <= 5
        await client.close()


async def test_a_second_connection_is_served_while_one_waits(start):
    """20: nothing of one client holds up another."""
    async with start() as server:
        waiting = await connect(server)
        await waiting.reply()
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        assert (await client.reply()).startswith("250")
        await client.close()
        await waiting.close()
