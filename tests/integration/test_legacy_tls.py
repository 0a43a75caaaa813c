"""A listener for old devices: TLS 1.0 for those that are named, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from gatepost.observe.events import ConnectionRefused, LoginSucceeded
from integration.client import Client

LOCAL = {"address": "127.0.0.1", "port": 0}
PROXIES = ["127.0.0.2"]


def listeners(networks: list[str]) -> list[dict[str, object]]:
    fence = {"legacy_tls_networks": networks}
    return [
        {"name": "submission", "tls": "starttls", **LOCAL},
        {"name": "submissions", "tls": "implicit", **LOCAL},
        {"name": "old", "tls": "implicit", "proxy_networks": PROXIES, **fence, **LOCAL},
        {"name": "old-starttls", "tls": "starttls", "proxy_networks": PROXIES, **fence, **LOCAL},
    ]


def old_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context


async def dial(server, listener: str, context: ssl.SSLContext | None = None, source: str = "127.0.0.1") -> Client:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.ports[listener], ssl=context, local_addr=(source, 0)
    )
    return Client(reader, writer)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1 is deprecated:DeprecationWarning")
async def test_an_old_device_that_is_named_logs_in_with_tls_1_0_there_and_nowhere_else(start):
    async with start(listener=listeners(["127.0.0.1"])) as server:
        client = await dial(server, "old", old_context())
        assert (await client.reply()).startswith("220")
        assert "AUTH" in await client.say("EHLO x")
        assert (await client.say("AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwBzZWNyZXQtcGFzcy0x")).startswith("235")
        [event] = [each for each in server.events if isinstance(each, LoginSucceeded)]
        assert event.tls.startswith("TLSv1 ")
        await client.close()
        client = await dial(server, "old-starttls")
        assert (await client.reply()).startswith("220")
        assert (await client.say("EHLO x")).startswith("250")
        assert (await client.say("STARTTLS")).startswith("220")
        await client.writer.start_tls(old_context())
        assert "AUTH" in await client.say("EHLO x")
        await client.close()
        with pytest.raises(ssl.SSLError):
            await dial(server, "submissions", old_context())


async def test_nobody_else_is_let_in(start):
    async with start(listener=listeners(["192.0.2.1"])) as server:
        client = await dial(server, "old-starttls")
        assert await client.reply() == "554 5.7.1 No service here for your address"
        assert await client.reply() == ""
        await client.close()
        client = await dial(server, "old")
        assert await client.reader.read() == b""
        await client.close()
        told = [(each.peer, each.reason) for each in server.events if isinstance(each, ConnectionRefused)]
        assert told == [("127.0.0.1", "this listener is not for this address")] * 2
        client = await dial(server, "submission")
        assert (await client.reply()).startswith("220")
        await client.close()
        assert server.worker.listeners[0].connections.count <= 1


@pytest.mark.parametrize(("inner", "code"), [("192.0.2.1", "220"), ("192.0.2.2", "554")])
async def test_behind_a_proxy_the_inner_address_counts(start, inner, code):
    async with start(listener=listeners(["192.0.2.1"])) as server:
        client = await dial(server, "old-starttls", source="127.0.0.2")
        client.writer.write(f"PROXY TCP4 {inner} 192.0.2.9 1 2\r\n".encode())
        assert (await client.reply()).startswith(code)
        await client.close()
