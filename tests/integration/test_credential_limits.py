"""What a credential may do, in a session: begin, recipients, rate; and what a suspended account hears."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from gatepost.identity.accounts import set_state
from gatepost.identity.credentials import Rules, list_credentials
from gatepost.identity.database import Database
from gatepost.identity.rotation import restrict_credential
from gatepost.observe.events import CommandRefused, LoginFailed
from gatepost.testing import RunningServer
from integration.client import log_in
from integration.conftest import LOGIN, MECHANISMS, SECRET
from integration.test_canary import attempt
from integration.test_lockout import greeted, told


def database(server: RunningServer) -> Database:
    return Database(server.worker.config.state_dir / "accounts.db")


def restrict(server: RunningServer, **given: Any) -> None:
    [row] = list_credentials(database(server), LOGIN)
    restrict_credential(database(server), Rules(MECHANISMS), row.id, given, now=time.time())


async def test_a_recipient_that_is_not_allowed_is_refused_and_others_stand(start):
    async with start() as server:
        await asyncio.to_thread(restrict, server, recipients=["*@example.net"])
        client = await log_in(server)
        assert (await client.say(f"MAIL FROM:<{LOGIN}>")).startswith("250")
        assert (await client.say("RCPT TO:<bob@example.net>")).startswith("250")
        said = await client.say("RCPT TO:<bob@example.com>")
        assert said.startswith("550 5.7.1 Recipient not allowed for this login [gp-")
        assert (await client.say("DATA")).startswith("354")
        assert (await client.say(f"From: {LOGIN}\r\n\r\nhello\r\n.")).startswith("250")
        await client.close()
        [refused] = told(server, CommandRefused)
        assert refused.reason.endswith("may not write to bob@example.com")


async def test_a_rate_holds_over_sessions_and_says_when_it_is_over(start):
    async with start() as server:
        await asyncio.to_thread(restrict, server, messages_per_minute=2)
        for _ in range(2):
            client = await log_in(server)
            await client.open_data()
            assert (await client.say(f"From: {LOGIN}\r\n\r\nhello\r\n.")).startswith("250")
            await client.close()
        client = await log_in(server)
        assert (await client.say(f"MAIL FROM:<{LOGIN}>")).startswith("250")
        said = await client.say("RCPT TO:<bob@example.net>")
        assert said.startswith("451 4.7.1 Too many messages in a minute, try again in ")
        await client.close()


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_who_is_too_early_or_suspended_hears_what_a_wrong_secret_hears(start, mechanism):
    async with start(auth={"max_failures": 5}) as server:
        client = await greeted(server)
        wrong = await attempt(client, mechanism, LOGIN, "a wrong one")
        await asyncio.to_thread(restrict, server, not_before=time.time() + 3600)
        assert await attempt(client, mechanism, LOGIN, SECRET) == wrong
        await asyncio.to_thread(
            set_state, database(server), LOGIN, active=True, reason="holiday", suspended_until=time.time() + 3600
        )
        assert await attempt(client, mechanism, LOGIN, SECRET) == wrong
        reasons = [each.reason for each in told(server, LoginFailed)][1:]
        assert reasons == ["credential not valid yet", "account suspended: holiday"]
        await client.close()


async def test_an_account_is_let_in_again_when_its_suspension_is_over(start):
    async with start() as server:
        until = time.time() + 6.0
        await asyncio.to_thread(set_state, database(server), LOGIN, active=True, suspended_until=until)
        client = await greeted(server)
        assert (await attempt(client, "PLAIN", LOGIN, SECRET))[0].startswith("535")
        await asyncio.sleep(max(0.0, until - time.time()))
        assert (await attempt(client, "PLAIN", LOGIN, SECRET))[0].startswith("235")
        await client.close()
