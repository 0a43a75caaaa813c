"""What we say last reaches a client that still talks: no reset takes it along (RFC 1122 §4.2.2.13)."""

from __future__ import annotations

import asyncio
import select
import smtplib
import time

import pytest

from stopwatch import Stopwatch


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read on for as long as a slow client may need to get to its reading."""
    monkeypatch.setattr("gatepost.session.wire.LINGER", 30.0)
    monkeypatch.setattr("gatepost.listener.ending.LINGER", 30.0)


def connect(server) -> smtplib.SMTP:
    """Connect in clear, and say EHLO."""
    client = smtplib.SMTP("127.0.0.1", server.ports["submission"], timeout=60)
    client.ehlo()
    return client


def open_data(server) -> smtplib.SMTP:
    """Log in over TLS, and go on to the content of a message."""
    client = smtplib.SMTP_SSL("localhost", server.ports["submissions"], context=server.client_context, timeout=60)
    client.login("tim@example.org", "secret-pass-1")
    client.mail("tim@example.org")
    client.rcpt("bob@example.net")
    assert client.docmd("DATA")[0] == 354
    return client


def talk_on(client: smtplib.SMTP, octets: bytes) -> str:
    """Say *octets* again and again, also after something was said, without reading; then return the last reply."""
    assert client.sock is not None
    with client.sock as sock:
        while not select.select([sock], [], [], 0)[0]:
            sock.sendall(octets)
            time.sleep(0.01)
        for _ in range(30):
            sock.sendall(octets)
            time.sleep(0.01)
        said = b""
        while octets := sock.recv(4096):
            said += octets
    return said.decode().splitlines()[-1]


@pytest.mark.rfc("5321 §3.8")
async def test_who_still_sends_a_message_hears_why_it_ends(start):
    async with start(limits={"session_deadline": "4s"}) as server:
        client = await asyncio.to_thread(open_data, server)
        last = await asyncio.to_thread(talk_on, client, b"X: y\r\n" * 50)
        assert last == "421 4.4.2 Session has lasted too long, connect again"


@pytest.mark.rfc("5321 §3.8")
async def test_who_talks_in_clear_hears_why_it_ends(start):
    async with start(limits={"login_deadline": "5s"}) as server:
        client = await asyncio.to_thread(connect, server)
        last = await asyncio.to_thread(talk_on, client, b"X")
        assert last == "421 4.4.2 Timed out waiting for a login"


@pytest.mark.rfc("5321 §3.8")
async def test_who_sends_while_the_server_stops_hears_so(start):
    async with start() as server:
        client = await asyncio.to_thread(open_data, server)
        stopping = asyncio.create_task(server.worker.stop(grace=1.0))
        last = await asyncio.to_thread(talk_on, client, b"X: y\r\n" * 50)
        assert last.startswith("421 4.3.2 ")
        await stopping


@pytest.mark.rfc("5321 §3.8")
async def test_octets_after_starttls_are_refused_and_read_to_the_end(start):
    async with start() as server:
        client = await asyncio.to_thread(connect, server)
        client.send(b"STARTTLS\r\n" + b"NOOP\r\n" * 10)
        last = await asyncio.to_thread(talk_on, client, b"NOOP\r\n" * 100)
        assert last.startswith("421 4.7.0 Data sent before the TLS handshake")


@pytest.mark.parametrize("opened", [connect, open_data])
async def test_who_does_not_hang_up_is_left(start, opened, monkeypatch):
    monkeypatch.setattr("gatepost.session.wire.LINGER", 6.0)
    async with start(limits={"login_deadline": "4s", "session_deadline": "4s"}) as server:
        connections = server.worker.listeners[0].connections
        client = await asyncio.to_thread(opened, server)
        assert (await asyncio.to_thread(client.getreply))[0] == 421
        assert await asyncio.to_thread(client.sock.recv, 1) == b""
        assert connections.count == 1
        with Stopwatch() as watch:
            async with asyncio.timeout(60):
                while connections.count or server.worker.sessions:
                    await asyncio.sleep(0.01)
            assert watch.seconds < 8.0
        client.close()


async def test_who_said_quit_is_not_waited_for(start):
    async with start() as server:
        client = await asyncio.to_thread(connect, server)
        assert (await asyncio.to_thread(client.docmd, "QUIT"))[0] == 221
        with Stopwatch() as watch:
            async with asyncio.timeout(60):
                while server.worker.listeners[0].connections.count or server.worker.sessions:
                    await asyncio.sleep(0.01)
            assert watch.seconds < 15.0
        client.close()
