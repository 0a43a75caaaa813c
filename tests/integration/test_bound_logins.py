"""Logins bound to their TLS connection, over real sockets (RFC 5802 §6)."""

from __future__ import annotations

import base64
import dataclasses
import ssl

import pytest

from gatepost.channel_binding import bindings
from gatepost.model.identity import Secret
from gatepost.observe.events import LoginFailed, LoginSucceeded
from gatepost.sasl.client import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ClientMechanism, Credentials
from integration.client import Client, connect

CREDENTIALS = Credentials("tim@example.org", Secret(b"secret-pass-1"))
MECHANISMS = ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"]
WITH_PLUS = {"mechanisms": ["SCRAM-SHA-256-PLUS", *MECHANISMS]}


def channel(client: Client) -> tuple[str, bytes]:
    ((kind, data),) = bindings(client.writer.transport).items()
    return kind, data


async def log_in(client: Client, mechanism: ClientMechanism, credentials: Credentials) -> str:
    """Log in; return the reply at the end."""
    login = mechanism.start(credentials)
    reply = await client.say(f"AUTH {mechanism.name} {base64.b64encode(login.initial or b'').decode()}")
    while reply.startswith("334 "):
        reply = await client.say(base64.b64encode(login.respond(base64.b64decode(reply[4:]))).decode())
    if reply.startswith("235"):
        assert login.succeed() is True
    return reply


async def greeted(server, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> tuple[Client, str]:
    server.client_context.maximum_version = version
    client = await connect(server)
    await client.reply()
    return client, await client.say("EHLO client.example")


@pytest.mark.rfc("5802 §6")
@pytest.mark.rfc("9266 §2")
@pytest.mark.parametrize(
    ("version", "kind"), [(ssl.TLSVersion.TLSv1_3, "tls-exporter"), (ssl.TLSVersion.TLSv1_2, "tls-unique")]
)
async def test_a_login_is_bound_to_its_connection_and_to_no_other(start, version, kind):
    async with start(auth=WITH_PLUS) as server:
        client, said = await greeted(server, version)
        assert "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN" in said
        other, _ = await greeted(server, version)
        assert channel(client)[0] == kind
        # Somebody in the middle has a connection to each side, and carries what is said.
        carried = dataclasses.replace(CREDENTIALS, binding=channel(other))
        assert (await log_in(client, SCRAM_SHA_256_PLUS, carried)).startswith("535 5.7.8 ")
        bound = dataclasses.replace(CREDENTIALS, binding=channel(client))
        assert (await log_in(client, SCRAM_SHA_256_PLUS, bound)).startswith("235 ")
        [failed] = [event for event in server.events if isinstance(event, LoginFailed)]
        assert (failed.mechanism, failed.reason) == ("SCRAM-SHA-256-PLUS", "other end of another channel")
        [succeeded] = [event for event in server.events if isinstance(event, LoginSucceeded)]
        assert succeeded.mechanism == "SCRAM-SHA-256-PLUS"
        await client.close()
        await other.close()


@pytest.mark.rfc("5802 §6")
async def test_a_list_that_was_cut_on_the_way_is_noticed(start):
    async with start(auth=WITH_PLUS) as server:
        client, _ = await greeted(server)
        credentials = dataclasses.replace(CREDENTIALS, binding=channel(client))
        assert (await log_in(client, SCRAM_SHA_256, credentials)).startswith("535 5.7.8 ")
        # Whoever cannot bind at all says so, and is taken.
        assert (await log_in(client, SCRAM_SHA_256, CREDENTIALS)).startswith("235 ")
        [failed] = [event for event in server.events if isinstance(event, LoginFailed)]
        assert failed.reason == "client did not see that we offer channel binding"
        await client.close()


@pytest.mark.rfc("5802 §6")
async def test_a_listener_that_does_not_bind_takes_clients_that_could(start):
    async with start() as server:
        client, said = await greeted(server)
        assert "-PLUS" not in said
        credentials = dataclasses.replace(CREDENTIALS, binding=channel(client))
        assert (await client.say("AUTH SCRAM-SHA-256-PLUS biws")).startswith("504 ")
        assert (await log_in(client, SCRAM_SHA_256, credentials)).startswith("235 ")
        await client.close()


@pytest.mark.rfc("9266 §3")
@pytest.mark.rfc("7627 §1")
async def test_where_the_connection_cannot_be_bound_to_it_is_not_offered(start):
    async with start(auth=WITH_PLUS) as server:
        server.client_context.options |= 1  # SSL_OP_NO_EXTENDED_MASTER_SECRET
        client, said = await greeted(server, ssl.TLSVersion.TLSv1_2)
        assert "AUTH SCRAM-SHA-256 PLAIN" in said
        assert (await client.say("AUTH SCRAM-SHA-256-PLUS biws")).startswith("504 ")
        could = dataclasses.replace(CREDENTIALS, binding=("tls-exporter", bytes(32)))
        assert (await log_in(client, SCRAM_SHA_256, could)).startswith("235 ")
        await client.close()


@pytest.mark.rfc("5802 §6")
async def test_after_starttls_it_is_offered_and_in_clear_it_is_not(start):
    async with start(auth=WITH_PLUS) as server:
        client = await connect(server, "submission")
        await client.reply()
        assert "AUTH" not in await client.say("EHLO client.example")
        assert (await client.say("STARTTLS")).startswith("220 ")
        await client.writer.start_tls(server.client_context, server_hostname="localhost")
        assert "AUTH SCRAM-SHA-256-PLUS" in await client.say("EHLO client.example")
        bound = dataclasses.replace(CREDENTIALS, binding=channel(client))
        assert (await log_in(client, SCRAM_SHA_256_PLUS, bound)).startswith("235 ")
        await client.close()
