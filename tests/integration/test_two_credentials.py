"""Two credentials of one account on a running server: side by side, one revoked, and one in place of the other."""

from __future__ import annotations

import asyncio
import time

import pytest

from gatepost.identity.credentials import revoke_credential, show_credential
from gatepost.identity.restrictions import Rules
from gatepost.identity.rotation import rotate_credential
from gatepost.observe.events import CredentialExpiring, CredentialRetired, LoginFailed, LoginSucceeded, SessionRevoked
from gatepost.state.keys import load_keys
from gatepost.state.last_used import read_uses
from gatepost.testing import RunningServer
from integration.attempts import PASSWORDS, accounts, attempt, give
from integration.client import Client, connect
from integration.conftest import Start
from integration.test_revocation import does_end
from integration.test_session import until

DAY = 86_400.0
ANN = "ann@example.org"
IN_TURN = ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256")


class MovedClock:
    """The clock of the machine, until it is moved ahead; whoever sleeps wakes in time."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._moved = asyncio.Event()

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        end = self.monotonic() + seconds
        while (left := end - self.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._moved.wait()
            except TimeoutError:
                pass

    def move(self, seconds: float) -> None:
        self._ahead += seconds
        self._moved.set()
        self._moved = asyncio.Event()


async def log_in(server: RunningServer, mechanism: str, secret: str) -> tuple[Client, str]:
    """Return a session, and the id of the credential that is logged in there; empty for a no."""
    client = await connect(server)
    await client.reply()
    await client.say("EHLO laptop.example")
    before = len(server.events)
    reply = (await attempt(client, mechanism, ANN, secret))[-1]
    [told] = [each for each in server.events[before:] if isinstance(each, LoginSucceeded | LoginFailed)]
    assert reply.startswith("235 2.7.0 " if isinstance(told, LoginSucceeded) else "535 5.7.8 ")
    return client, told.credential if isinstance(told, LoginSucceeded) else ""


async def who(server: RunningServer, mechanism: str, secret: str) -> str:
    client, credential = await log_in(server, mechanism, secret)
    await client.close()
    return credential


async def is_alive(client: Client) -> bool:
    return (await client.say("NOOP")).startswith("250 2.0.0 ")


@pytest.mark.rfc("4954 §4")
async def test_two_credentials_log_in_in_turn_and_revoking_one_leaves_the_other(start: Start) -> None:
    async with start(auth={"mechanisms": PASSWORDS}) as server:
        one, one_secret = await asyncio.to_thread(give, server, ANN, new=True, label="laptop")
        other, other_secret = await asyncio.to_thread(give, server, ANN, label="printer")
        sessions = []
        for mechanism in (*IN_TURN, *(each for each in PASSWORDS if each not in IN_TURN)):
            for row, secret in ((one, one_secret), (other, other_secret)):
                client, credential = await log_in(server, mechanism, secret)
                assert credential == row.id, mechanism
                sessions.append((row, client))
        await asyncio.to_thread(revoke_credential, accounts(server), one.id, now=time.time())
        for row, client in sessions:
            if row is one:
                await does_end(client, 60.0)
        told = [event for event in server.events if isinstance(event, SessionRevoked)]
        assert {event.credential for event in told} == {one.id}
        assert len(told) == len(PASSWORDS)
        for row, client in sessions:
            if row is other:
                assert await is_alive(client)
                await client.close()
        for mechanism in PASSWORDS:
            assert await who(server, mechanism, one_secret) == "", mechanism
            assert await who(server, mechanism, other_secret) == other.id, mechanism
        assert not server.troubles


async def test_a_rotation_is_walked_through_all_its_states(start: Start) -> None:
    clock = MovedClock()
    async with start(auth={"mechanisms": PASSWORDS}, clock=clock) as server:
        config = server.worker.config
        row, old_secret = await asyncio.to_thread(give, server, ANN, new=True, label="printer")

        def state(identifier: str) -> str:
            return show_credential(accounts(server), identifier).state(clock.now())

        def told(kind: type) -> list:
            return [event for event in server.events if isinstance(event, kind)]

        # Active.
        assert state(row.id) == "active"
        first, credential = await log_in(server, "PLAIN", old_secret)
        assert credential == row.id
        old, new, brought = await asyncio.to_thread(
            rotate_credential, accounts(server), load_keys(config.secret_key_file), Rules(PASSWORDS, {}), row.id,
            now=clock.now(), overlap=30 * DAY,
        )  # fmt: skip
        new_secret = brought.reveal().decode()

        # Both work, with every mechanism, and the session of the old one goes on.
        assert (state(old.id), state(new.id)) == ("retiring", "active")
        for mechanism in PASSWORDS:
            assert await who(server, mechanism, old_secret) == old.id
            assert await who(server, mechanism, new_secret) == new.id
        clock.move(22 * DAY)
        second, credential = await log_in(server, "SCRAM-SHA-256", old_secret)
        assert credential == old.id
        assert await is_alive(first)
        assert not told(CredentialExpiring)

        # Before the end its owner is told who still uses it.
        key, used = (ANN, old.id), config.state_dir / "state.db"
        await until(lambda: key in read_uses(used) and read_uses(used)[key].mechanism == "SCRAM-SHA-256", 60)
        clock.move(DAY + 1)
        await until(lambda: told(CredentialExpiring), 60)
        [warning] = told(CredentialExpiring)
        assert (warning.credential, warning.successor, warning.mechanism, warning.client) == (
            old.id, new.id, "SCRAM-SHA-256", "laptop.example",
        )  # fmt: skip
        assert (state(old.id), await is_alive(second)) == ("retiring", True)

        # At the end it is gone, with its sessions; the other stays.
        third, credential = await log_in(server, "LOGIN", new_secret)
        assert credential == new.id
        clock.move(7 * DAY)
        for client in (first, second):
            await does_end(client, 60.0)
        await until(lambda: told(CredentialRetired), 60)
        [retired] = told(CredentialRetired)
        assert (retired.credential, retired.successor, retired.reason) == (old.id, new.id, "end of the overlap")
        assert (state(old.id), state(new.id)) == ("retired", "active")
        assert await is_alive(third)
        await third.close()
        for mechanism in PASSWORDS:
            assert await who(server, mechanism, old_secret) == ""
            assert await who(server, mechanism, new_secret) == new.id
        assert len(told(CredentialExpiring)) == len(told(CredentialRetired)) == 1
        assert not server.troubles
