"""Canaries: whoever brings one hears the ordinary no, and is told of and blocked."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import statistics
import time
from typing import Any

import pytest

from gatepost.identity.credentials import revoke_credential
from gatepost.identity.database import Database
from gatepost.observe.events import CanaryTouched, LoginFailed, LoginsLocked, LoginSucceeded
from gatepost.testing import RunningServer
from integration.attempts import PASSWORDS, give, shape
from integration.attempts import attempt as log_in
from integration.client import Client
from integration.conftest import LOGIN, MECHANISMS, SECRET
from integration.test_lockout import LOCKED, greeted, told

BAIT = "backup@example.org"


def add(server: RunningServer, login: str, *, canary: bool = True, **facts: Any) -> tuple[str, str]:
    """Add a credential; return its id and its secret."""
    row, secret = give(server, login, label="in the wiki", canary=canary, **facts)
    return row.id, secret


def add_bait(server: RunningServer) -> tuple[str, str]:
    return add(server, BAIT, new=True)


async def attempt(client: Client, mechanism: str, login: str, secret: str) -> list[str]:
    """Log in; return what was answered, line by line, without what is drawn anew each time."""
    return [shape(each).partition(" [")[0] for each in await log_in(client, mechanism, login, secret)]


@pytest.mark.parametrize("mechanism", PASSWORDS)
async def test_a_canary_hears_what_a_wrong_secret_hears_and_its_source_is_blocked(start, mechanism):
    async with start(auth={"mechanisms": PASSWORDS}) as server:
        identifier, secret = await asyncio.to_thread(add, server, LOGIN)
        client = await greeted(server, "127.0.0.3")
        wrong = await attempt(client, mechanism, LOGIN, "a wrong one")
        await client.close()
        client = await greeted(server, "127.0.0.2")
        assert await attempt(client, mechanism, LOGIN, secret) == wrong
        assert wrong[-1] == "535 5.7.8 Authentication credentials invalid"
        await client.close()
        [alarm] = told(server, CanaryTouched)
        assert (alarm.level, alarm.audited) == ("critical", True)
        assert (alarm.login, alarm.credential, alarm.label, alarm.peer, alarm.mechanism, alarm.client) == (
            LOGIN, identifier, "in the wiki", "127.0.0.2", mechanism, "client.example",
        )  # fmt: skip
        assert alarm.blocked_seconds == 3600.0
        assert told(server, LoginFailed)[-1].reason == "canary credential"
        # Nothing from there is judged any more, the right secret included; others come in.
        client = await greeted(server, "127.0.0.2")
        assert (await attempt(client, "PLAIN", LOGIN, SECRET)) == [LOCKED]
        await client.close()
        client = await greeted(server, "127.0.0.3")
        assert (await attempt(client, "PLAIN", LOGIN, SECRET))[0].startswith("235")
        await client.close()
        assert told(server, LoginsLocked) == []
        assert len(told(server, CanaryTouched)) == 1
        assert server.troubles == []


@pytest.mark.parametrize("mechanism", PASSWORDS)
async def test_who_tries_an_account_that_holds_canaries_only_is_known_by_the_name(start, mechanism):
    async with start(auth={"mechanisms": PASSWORDS}) as server:
        identifier, _ = await asyncio.to_thread(add_bait, server)
        client = await greeted(server, "127.0.0.2")
        said = await attempt(client, mechanism, BAIT, "some guess")
        assert said[-1] == "535 5.7.8 Authentication credentials invalid"
        await client.close()
        [alarm] = told(server, CanaryTouched)
        assert (alarm.login, alarm.credential, alarm.peer) == (BAIT, identifier, "127.0.0.2")
        client = await greeted(server, "127.0.0.2")
        assert (await attempt(client, "PLAIN", LOGIN, SECRET)) == [LOCKED]
        await client.close()


async def test_the_alarm_does_not_wait_for_the_moment_of_the_no(start):
    async with start(auth={"failure_delay": "30s"}) as server:
        _, secret = await asyncio.to_thread(add, server, LOGIN)
        client = await greeted(server)
        asking = asyncio.create_task(attempt(client, "PLAIN", LOGIN, secret))
        async with asyncio.timeout(25):
            while not told(server, CanaryTouched):
                await asyncio.sleep(0.01)
        assert not asking.done()
        client.abort()
        await asyncio.wait([asking])


async def test_who_hangs_up_or_gives_up_is_told_of_too(start):
    async with start() as server:
        await asyncio.to_thread(add_bait, server)
        client = await greeted(server, "127.0.0.2")
        first = base64.b64encode(f"n,,n={BAIT},r=nonce".encode()).decode()
        assert (await client.say(f"AUTH SCRAM-SHA-256 {first}")).startswith("334")
        assert (await client.say("*")).startswith("501")
        await client.close()
        client = await greeted(server, "127.0.0.3")
        assert (await client.say(f"AUTH SCRAM-SHA-256 {first}")).startswith("334")
        client.abort()
        async with asyncio.timeout(60):
            while len(told(server, CanaryTouched)) < 2:
                await asyncio.sleep(0.01)
        for source in ("127.0.0.2", "127.0.0.3"):
            client = await greeted(server, source)
            assert (await attempt(client, "PLAIN", LOGIN, SECRET)) == [LOCKED]
            await client.close()


async def test_a_source_that_is_not_counted_is_told_of_and_not_blocked(start):
    async with start(limits={"failed_logins_exempt": ["127.0.0.0/8"]}) as server:
        _, secret = await asyncio.to_thread(add, server, LOGIN)
        client = await greeted(server)
        assert (await attempt(client, "PLAIN", LOGIN, secret))[0].startswith("535")
        assert (await attempt(client, "PLAIN", LOGIN, SECRET))[0].startswith("235")
        await client.close()
        [alarm] = told(server, CanaryTouched)
        assert alarm.blocked_seconds == 0.0


async def test_a_canary_that_was_revoked_is_one_no_more(start):
    async with start() as server:
        identifier, secret = await asyncio.to_thread(add, server, LOGIN)
        database = Database(server.worker.config.state_dir / "accounts.db")
        await asyncio.to_thread(revoke_credential, database, identifier, now=time.time())
        client = await greeted(server)
        assert (await attempt(client, "PLAIN", LOGIN, secret))[0].startswith("535")
        assert (await attempt(client, "PLAIN", LOGIN, SECRET))[0].startswith("235")
        await client.close()
        assert told(server, CanaryTouched) == []


async def test_a_canary_withdraws_no_mechanism(start):
    async with start() as server:
        await asyncio.to_thread(add_bait, server)
        await asyncio.to_thread(lambda: add(server, LOGIN, mechanisms=["PLAIN"]))
        await server.worker.authority.refresh()
        offered = {each.name for each in server.worker.authority.offered("submissions")}
        assert offered == set(MECHANISMS)


async def test_no_yes_is_ever_said_or_remembered(start):
    """However often it comes, from wherever, and whatever else it may do."""
    async with start() as server:
        _, secret = await asyncio.to_thread(add, server, LOGIN)
        for number in range(2, 6):
            client = await greeted(server, f"127.0.0.{number}")
            assert (await attempt(client, "PLAIN", LOGIN, secret))[0].startswith("535")
            await client.close()
        assert told(server, LoginSucceeded) == []
        assert len(told(server, CanaryTouched)) == 4


async def test_its_no_takes_no_other_time_than_any(start):
    """Coarse: what the processor does for a few tries (whatever else it does), without a delay that would hide it."""
    async with start(limits={"failed_logins_exempt": ["127.0.0.0/8"]}, auth={"max_failures": 5}) as server:
        _, secret = await asyncio.to_thread(add, server, LOGIN)
        wrong = "gp_" + hashlib.sha256(b"wrong").hexdigest()[:33]
        took: dict[str, list[float]] = {secret: [], wrong: []}
        for _ in range(8):
            for each, times in took.items():
                client = await greeted(server)
                began = time.process_time()
                assert (await attempt(client, "PLAIN", LOGIN, each))[0].startswith("535")
                times.append(time.process_time() - began)
                await client.close()
        one, other = (statistics.median(each) for each in took.values())
        assert 0.5 < one / other < 2
