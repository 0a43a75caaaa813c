"""Connections that come through a proxy: the header before everything, and the address that it names everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import struct

import pytest

from gatepost.observe.events import ConnectionRefused, HandshakeFailed, LoginFailed, SessionClosed, SessionOpened
from integration.client import Client

LOCAL = {"address": "127.0.0.1", "port": 0}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def listeners(networks: list[str]) -> list[dict[str, object]]:
    return [
        {"name": "submission", "tls": "starttls", "proxy_networks": networks, **LOCAL},
        {"name": "submissions", "tls": "implicit", "proxy_networks": networks, **LOCAL},
    ]


PROXIED = listeners(["127.0.0.0/8"])


def version_1(address: str, port: int = 4711) -> bytes:
    return f"PROXY TCP{ipaddress.ip_address(address).version} {address} {address} {port} 25\r\n".encode()


def version_2(address: str, port: int = 4711, tlv: bytes = b"\x02\x00\x04mail") -> bytes:
    packed = ipaddress.ip_address(address).packed
    body = packed + packed + struct.pack("!HH", port, 25) + tlv
    return SIGNATURE + bytes([0x21, 0x11 if len(packed) == 4 else 0x21]) + struct.pack("!H", len(body)) + body


VERSIONS = pytest.mark.parametrize("header", [version_1, version_2])


async def until(condition, seconds: float = 60) -> None:
    """Wait for *condition* without a fixed sleep."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


async def dial(server, listener: str, octets: bytes = b"") -> Client:
    """Connect in clear and send *octets*."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ports[listener])
    writer.write(octets)
    return Client(reader, writer)


class InTls:
    """TLS of a client whose octets are sent by the test, as it likes."""

    def __init__(self, server, client: Client, first: bytes) -> None:
        self.client = client
        self.first = first  # goes out together with the first octets of TLS
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = server.client_context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")

    async def run(self, action, step: int = 0):
        while True:
            try:
                result = action()
            except ssl.SSLWantReadError:
                result = None
            octets = self.first + self.outgoing.read()
            self.first = b""
            if octets and step:
                for start in range(0, len(octets), step):
                    self.client.writer.write(octets[start : start + step])
                    await asyncio.sleep(0)
            elif octets:
                self.client.writer.write(octets)
            if result is not None:
                return result
            data = await self.client.reader.read(65536)
            assert data
            self.incoming.write(data)

    async def shake_hands(self, step: int = 0) -> None:
        await self.run(lambda: self.tls.do_handshake() or True, step)

    async def reply(self) -> str:
        return (await self.run(lambda: self.tls.read(4096))).decode()

    async def say(self, text: str) -> str:
        self.tls.write(f"{text}\r\n".encode())
        return await self.reply()


@VERSIONS
@pytest.mark.parametrize("step", [0, 1, 7])
async def test_the_header_comes_before_tls_whole_or_split_at_every_octet(start, header, step):
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submissions")
        tls = InTls(server, client, header("192.0.2.7"))
        await tls.shake_hands(step)  # the header together with the ClientHello
        assert (await tls.reply()).startswith("220 ")
        assert "AUTH" in await tls.say("EHLO x")
        [opened] = told(server, SessionOpened)
        assert opened.peer == "192.0.2.7"
        client.abort()
        await until(lambda: told(server, SessionClosed))
        assert told(server, SessionClosed)[0].peer == "192.0.2.7"


@VERSIONS
async def test_what_a_client_says_right_after_the_header_is_answered(start, header):
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submission", header("2001:db8::7") + b"EHLO x\r\nNOOP\r\nQUIT\r\n")
        replies = [await client.reply() for _ in range(4)]
        assert [each[:3] for each in replies] == ["220", "250", "250", "221"]
        assert told(server, SessionOpened)[0].peer == "2001:db8::7"
        await client.close()


@VERSIONS
async def test_a_client_behind_a_proxy_goes_on_in_tls_with_the_same_address(start, header):
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submission", header("192.0.2.8"))
        assert (await client.reply()).startswith("220")
        assert (await client.say("EHLO x")).startswith("250")
        assert (await client.say("STARTTLS")).startswith("220")
        tls = InTls(server, client, b"")
        await tls.shake_hands()
        assert (await tls.say("EHLO x")).startswith("250")
        assert (await tls.say("AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwBndWVzcw==")).startswith("535")
        [failed] = told(server, LoginFailed)
        assert failed.peer == "192.0.2.8"
        client.abort()


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        SIGNATURE + b"\x20\x00\x00\x00",
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
    ],
)
async def test_a_connection_of_the_proxy_itself_has_the_proxys_address(start, header):
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submission", header)
        assert (await client.reply()).startswith("220")
        assert (await client.say("QUIT")).startswith("221")
        assert told(server, SessionOpened)[0].peer == "127.0.0.1"
        await client.close()


@pytest.mark.parametrize("listener", ["submission", "submissions"])
@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"EHLO x\r\n", "no PROXY header"),
        (b"\x16\x03\x01\x02\x00\x01", "no PROXY header"),
        (b"PROXY TCP4 there here 1 2\r\n", "PROXY header with a wrong address"),
        (b"PROXY UNKNOWN " + b"x" * 100, "PROXY header too long"),
        (SIGNATURE + b"\x21\x11\xff\xff", "PROXY header too long"),
        (SIGNATURE[:8], "no PROXY header within 0.3 s"),
        (b"", "no PROXY header within 0.3 s"),
    ],
)
async def test_a_proxy_without_a_right_header_is_hung_up_on_without_a_word(
    start, monkeypatch, listener, octets, reason
):
    if "within" in reason:
        monkeypatch.setattr("gatepost.listener.proxied._PATIENCE", 0.3)
    async with start(listener=PROXIED) as server:
        client = await dial(server, listener, octets)
        with contextlib.suppress(ConnectionResetError):
            assert await client.reply() == ""
        await until(lambda: told(server, ConnectionRefused))
        [refused] = told(server, ConnectionRefused)
        assert (refused.listener, refused.peer, refused.reason) == (listener, "127.0.0.1", reason)
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        await until(lambda: not any(each.is_opening for each in server.worker.listeners))
        assert told(server, SessionOpened) == told(server, HandshakeFailed) == []
        await client.close()


async def test_a_proxy_that_only_looks_whether_we_are_there_is_not_told_of(start):
    async with start(listener=PROXIED) as server:
        silent = await dial(server, "submission")
        await until(lambda: server.worker.listeners[0].connections.count == 1)
        await silent.close()
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        assert told(server, ConnectionRefused) == []
        half = await dial(server, "submission", b"PROXY TCP4 ")
        await until(lambda: server.worker.listeners[0].connections.count == 1)
        await half.close()
        await until(lambda: told(server, ConnectionRefused))
        assert told(server, ConnectionRefused)[0].reason == "hung up in its PROXY header"


@VERSIONS
async def test_from_anybody_else_the_header_is_a_bad_command(start, header):
    async with start(listener=listeners(["192.0.2.0/24"])) as server:
        client = await dial(server, "submission", header("192.0.2.9"))
        assert (await client.reply()).startswith("220")
        assert (await client.reply()).startswith("5")
        assert [each.peer for each in told(server, SessionOpened)] == ["127.0.0.1"]
        client.abort()
        client = await dial(server, "submissions", header("192.0.2.9"))
        with contextlib.suppress(ConnectionResetError):
            assert b"220" not in await client.reader.read()
        await until(lambda: told(server, HandshakeFailed))
        assert told(server, HandshakeFailed)[0].peer == "127.0.0.1"
        await client.close()


async def test_limits_are_those_of_the_address_that_was_named(start):
    async with start(listener=PROXIED, limits={"connections_per_address": 2}) as server:
        clients = [await dial(server, "submission", version_1(f"192.0.2.{1 + number // 2}")) for number in range(8)]
        assert {(await each.reply())[:3] for each in clients} == {"220"}  # eight from one proxy, two from each client
        late = await dial(server, "submission", version_2("192.0.2.1"))
        assert (await late.reply()).startswith("421 4.7.0 ")
        [refused] = told(server, ConnectionRefused)
        assert (refused.peer, refused.reason) == ("192.0.2.1", "too many connections from this address")
        silent = await dial(server, "submissions", version_2("192.0.2.1"))
        with contextlib.suppress(ConnectionResetError):
            assert await silent.reader.read() == b""
        for each in (*clients, late, silent):
            each.abort()
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        again = await dial(server, "submission", version_1("192.0.2.1"))
        assert (await again.reply()).startswith("220")
        again.abort()


async def test_those_whose_header_has_not_come_count_in_all(start):
    async with start(listener=PROXIED, limits={"connections": 2, "connections_per_address": 2}) as server:
        waiting = [await dial(server, "submissions") for _ in range(2)]
        await until(lambda: server.worker.listeners[0].connections.count == 2)
        late = await dial(server, "submission", version_1("192.0.2.1"))
        assert (await late.reply()).startswith("421 4.7.0 ")
        for each in (*waiting, late):
            each.abort()
        await until(lambda: server.worker.listeners[0].connections.count == 0)


async def test_a_failed_handshake_is_told_of_with_the_address_that_was_named(start):
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submissions", version_2("192.0.2.3") + b"EHLO x\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert b"220" not in await client.reader.read()
        await until(lambda: told(server, HandshakeFailed))
        assert told(server, HandshakeFailed)[0].peer == "192.0.2.3"
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        await client.close()


async def test_stopping_does_not_wait_for_headers(start, monkeypatch):
    monkeypatch.setattr("gatepost.listener.proxied._PATIENCE", 3600.0)
    async with start(listener=PROXIED) as server:
        client = await dial(server, "submission")
        await until(lambda: server.worker.listeners[0].connections.count == 1)
        async with asyncio.timeout(60):
            await server.worker.stop(grace=0.5)
        assert server.worker.listeners[0].connections.count == 0
        client.abort()


async def test_a_reload_names_other_proxies(start):
    from gatepost.config.schema import Config
    from gatepost.parts import key_pairs

    async with start(listener=PROXIED) as server:
        config = server.worker.config
        others = [each.model_copy(update={"proxy_networks": ()}) for each in config.listener]
        changed: Config = config.model_copy(update={"listener": tuple(others)})
        await server.worker.reload(changed, key_pairs(changed))
        client = await dial(server, "submission")
        assert (await client.reply()).startswith("220")
        client.abort()
