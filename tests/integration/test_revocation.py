"""Sessions whose logins do not count any more end within seconds, whatever they are doing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.accounts import add_account, remove_account, set_state
from gatepost.identity.credentials import Rules, list_credentials, revoke_credential
from gatepost.identity.database import Database
from gatepost.identity.rotation import expire_credential, rotate_credential
from gatepost.model.identity import Secret
from gatepost.observe.events import LoginFailed, LoginSucceeded, MessageAccepted, SessionClosed, SessionRevoked
from gatepost.sasl.client import SCRAM_SHA_256, Credentials
from gatepost.session.guard import Guard
from gatepost.spool.incoming import SqliteIncoming
from gatepost.state.keys import load_keys
from gatepost.testing import RunningServer
from integration.client import Client, connect, log_in
from integration.conftest import MECHANISMS
from integration.test_session import MESSAGE, until
from stopwatch import Stopwatch
from tokens import AUDIENCE, ISSUER, Signer, jwks

LOGIN = "tim@example.org"
GOODBYE = "421 4.7.0 This login is no longer valid [gp-"


def accounts(server: RunningServer) -> Database:
    return Database(server.worker.config.state_dir / "accounts.db")


def revoke(server: RunningServer) -> None:
    database = accounts(server)
    [row] = list_credentials(database, LOGIN)
    revoke_credential(database, row.id, now=time.time())


def disable(server: RunningServer) -> None:
    set_state(accounts(server), LOGIN, active=False, reason="left the company")


def suspend(server: RunningServer) -> None:
    set_state(accounts(server), LOGIN, active=True, reason="on holiday", suspended_until=time.time() + 3600)


def end_now(server: RunningServer) -> None:
    [row] = list_credentials(accounts(server), LOGIN)
    expire_credential(accounts(server), row.id, time.time(), now=time.time())


def rotate(server: RunningServer) -> None:
    [row] = list_credentials(accounts(server), LOGIN)
    keys = load_keys(server.worker.config.secret_key_file)
    rotate_credential(accounts(server), keys, Rules(MECHANISMS), row.id, now=time.time(), overlap=0.0)


def remove(server: RunningServer) -> None:
    remove_account(accounts(server), LOGIN)


def rule(column: str, value: object) -> Callable[[RunningServer], None]:
    """Change a credential as an import or another version would."""

    def change(server: RunningServer) -> None:
        with accounts(server).writing() as connection:
            connection.exec_driver_sql(f"UPDATE credentials SET {column} = ?", (value,))

    return change


async def does_end(client: Client, seconds: float = 5.0) -> None:
    """Read the goodbye and the end, in time."""
    with Stopwatch() as watch:
        assert (await client.reply(60)).startswith(GOODBYE)
        assert await client.reply(60) == ""
        assert watch.seconds < seconds
    await client.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (revoke, "credential revoked"),
        (disable, "account disabled: left the company"),
        (remove, "account removed"),
        (rule("listeners", '["elsewhere"]'), "credential not for listener submissions"),
        (rule("networks", '["192.0.2.0/24"]'), "credential not for network of 127.0.0.1"),
        (rule("mechanisms", '["SCRAM-SHA-256"]'), "credential not for mechanism PLAIN"),
        (rule("expires", 1.0), "credential expired"),
        (rule("not_before", 1e12), "credential not valid yet"),
        (suspend, "account suspended: on holiday"),
        (end_now, "credential expired"),
        (rotate, "credential expired"),
    ],
    ids=[
        "revoked",
        "disabled",
        "removed",
        "listener",
        "network",
        "mechanism",
        "expired",
        "pending",
        "suspended",
        "ended",
        "rotated",
    ],
)
async def test_an_idle_session_ends(start, change, reason):
    async with start() as server:
        client = await log_in(server)
        await asyncio.to_thread(change, server)
        await does_end(client)
        [told] = [event for event in server.events if isinstance(event, SessionRevoked)]
        assert (told.login, told.reason, told.peer) == (LOGIN, reason, "127.0.0.1")
        assert told.reply.startswith(GOODBYE)
        assert reason not in told.reply
        await until(lambda: [event.reason for event in server.events if isinstance(event, SessionClosed)] == [reason])
        await until(lambda: not server.worker.sessions)
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        again = await connect(server)
        assert (await again.reply()).startswith("220")
        await again.say("EHLO client.example")
        token = base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()
        assert (await again.say(f"AUTH PLAIN {token}")).startswith("535")
        await again.close()
        assert not server.troubles


async def test_who_logs_in_at_that_moment_does_not_come_in(start, monkeypatch):
    """Looked up before the change, and logged in only after all sessions were looked at."""
    begun, go, succeeded = asyncio.Event(), asyncio.Event(), Guard.succeeded

    async def slow(guard):
        begun.set()
        await go.wait()
        await succeeded(guard)

    monkeypatch.setattr(Guard, "succeeded", slow)
    async with start() as server:
        client = await connect(server)
        await client.reply()
        await client.say("EHLO x")
        token = base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()
        client.writer.write(f"AUTH PLAIN {token}\r\n".encode())
        await begun.wait()
        revoke(server)
        assert await server.worker._end_revoked()
        go.set()
        assert (await client.reply()).startswith("535 5.7.8 ")
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("530 ")
        [failed] = [event for event in server.events if isinstance(event, LoginFailed)]
        assert failed.reason == "credential revoked"
        assert not [event for event in server.events if isinstance(event, LoginSucceeded)]
        await client.close()


async def test_a_session_ends_when_its_credential_expires(start):
    async with start() as server:
        client = await log_in(server)
        expires = time.time() + 6.0
        await asyncio.to_thread(rule("expires", expires), server)
        await asyncio.sleep(1.5)  # the change has been looked at
        assert (await client.say("NOOP")).startswith("250")
        await asyncio.sleep(max(expires - time.time(), 0.0))
        await does_end(client)


@pytest.mark.parametrize("listener", ["submissions", "submission"])
@pytest.mark.parametrize("size", [20, 300_000])
async def test_a_message_that_comes_in_is_cut_off(start, listener, size):
    async with start() as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(b"From: <tim@example.org>\r\n\r\n" + (b"x" * 76 + b"\r\n") * (size // 78))
        await client.writer.drain()
        await asyncio.to_thread(revoke, server)
        await does_end(client)
        await until(lambda: not server.worker.sessions)
        assert server.worker.spool.count() == 0
        assert not [event for event in server.events if isinstance(event, MessageAccepted)]
        bodies = server.worker.config.spool_dir / "0" / "bodies"
        await until(lambda: not list(bodies.iterdir()))
        assert not server.troubles


async def test_a_client_that_sends_without_end_is_cut_off(start):
    async with start() as server:
        client = await log_in(server)
        await client.open_data()
        client.writer.write(b"From: <tim@example.org>\r\n\r\n")

        async def send() -> None:
            try:
                while True:
                    client.writer.write(b"x" * 76 + b"\r\n")
                    await client.writer.drain()
                    await asyncio.sleep(0)
            except OSError:
                return

        sending = asyncio.create_task(send())
        await asyncio.to_thread(revoke, server)
        await until(lambda: not server.worker.sessions)
        await until(lambda: server.worker.listeners[0].connections.count == 0)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await client.close()
        assert server.worker.spool.count() == 0
        assert not server.troubles


async def test_a_client_that_does_not_read_is_cut_off(start):
    async with start() as server:
        client = await log_in(server)
        client.writer.transport.pause_reading()
        for _ in range(200):
            client.writer.write(b"HELP\r\n" * 500)
        await asyncio.to_thread(revoke, server)
        await until(lambda: not server.worker.sessions)
        client.abort()
        assert not server.troubles


async def test_what_is_being_kept_is_seen_through_and_told_of(start, monkeypatch):
    async with start() as server:
        held = asyncio.Event()
        commit = SqliteIncoming.commit

        async def slowly(incoming, *arguments, **names):
            await held.wait()
            return await commit(incoming, *arguments, **names)

        monkeypatch.setattr(SqliteIncoming, "commit", slowly)
        client = await log_in(server)
        await client.open_data()
        client.writer.write(MESSAGE + b".\r\n")
        [session] = server.worker.sessions
        await until(lambda: session.is_keeping)
        await asyncio.to_thread(revoke, server)
        await until(lambda: session.is_leaving)
        held.set()
        assert (await client.reply()).startswith("250 2.0.0 queued as ")
        await does_end(client)
        assert len([event for event in server.events if isinstance(event, MessageAccepted)]) == 1


async def test_in_the_middle_of_a_transaction_it_ends_too(start):
    async with start() as server:
        client = await log_in(server)
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("250")
        await asyncio.to_thread(disable, server)
        await does_end(client)


async def test_others_go_on_and_are_what_they_are_now(start):
    async with start() as server:
        database = accounts(server)
        client = await log_in(server)
        await asyncio.to_thread(add_account, database, server.worker._keys, "eve@example.org", now=time.time())
        with database.writing() as connection:
            connection.exec_driver_sql("UPDATE accounts SET senders = '[\"*@example.net\"]', max_recipients = 1")
        [session] = server.worker.sessions
        await until(lambda: session.identity.max_recipients == 1)
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("550")
        assert (await client.say("MAIL FROM:<tim@example.net>")).startswith("250")
        assert not [event for event in server.events if isinstance(event, SessionRevoked)]
        await client.close()


async def test_sessions_without_a_login_are_left_alone(start):
    async with start() as server:
        stranger = await connect(server)
        client = await log_in(server)
        await asyncio.to_thread(disable, server)
        await does_end(client)
        assert (await stranger.reply()).startswith("220")
        assert (await stranger.say("EHLO client.example")).startswith("250")
        await stranger.close()


async def test_many_sessions_end_in_time(start):
    limits = {"connections": 500, "connections_per_address": 500}
    async with start(limits=limits) as server, AsyncExitStack() as stack:
        clients = []
        for _ in range(40):
            clients.append(await log_in(server))
            stack.push_async_callback(clients[-1].close)
        with Stopwatch() as watch:
            await asyncio.to_thread(revoke, server)
            for client in clients:
                assert (await client.reply(60)).startswith(GOODBYE)
            assert watch.seconds < 5.0
        assert len([event for event in server.events if isinstance(event, SessionRevoked)]) == 40


async def test_while_the_store_is_away_sessions_go_on_and_end_when_it_is_back(start):
    async with start() as server:
        client = await log_in(server)
        path: Path = server.worker.config.state_dir / "accounts.db"
        aside = path.with_name("away")
        path.rename(aside)
        await asyncio.sleep(1.5)
        with pytest.raises(StoreUnavailable):
            await server.worker.authority.find(LOGIN)
        with contextlib.closing(sqlite3.connect(aside)) as connection, connection:
            connection.execute("UPDATE accounts SET state = 'disabled'")
        assert (await client.say("NOOP")).startswith("250")
        aside.rename(path)
        await does_end(client)


async def test_who_dawdles_over_the_last_step_of_scram_does_not_come_in(start):
    async with start() as server:
        client = await connect(server)
        assert (await client.reply()).startswith("220")
        await client.say("EHLO client.example")
        exchange = SCRAM_SHA_256.start(Credentials(LOGIN, Secret(b"secret-pass-1")))
        reply = await client.say("AUTH SCRAM-SHA-256 " + base64.b64encode(exchange.initial or b"").decode())
        final = exchange.respond(base64.b64decode(reply[4:]))
        reply = await client.say(base64.b64encode(final).decode())
        assert reply.startswith("334 ")  # proven, but for the empty line
        await asyncio.to_thread(revoke, server)
        assert (await client.say("")).startswith("535 5.7.8")
        [failed] = [event for event in server.events if isinstance(event, LoginFailed)]
        assert failed.reason == "credential revoked"
        assert (await client.say("MAIL FROM:<tim@example.org>")).startswith("530")
        await client.close()


async def test_a_session_of_a_token_ends_with_its_account(start, tmp_path):
    signer = Signer()
    (tmp_path / "jwks.json").write_bytes(jwks(signer.public()))
    issuer = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": str(tmp_path / "jwks.json")}
    auth = {"mechanisms": (*MECHANISMS, "XOAUTH2")}
    async with start(auth=auth, oauth={"issuers": [issuer]}) as server:
        client = await connect(server)
        assert (await client.reply()).startswith("220")
        await client.say("EHLO client.example")
        token = signer.token(time.time()).decode()
        response = f"user={LOGIN}\x01auth=Bearer {token}\x01\x01".encode()
        assert (await client.say("AUTH XOAUTH2 " + base64.b64encode(response).decode())).startswith("235")
        await asyncio.to_thread(revoke, server)  # of another credential of the account
        await asyncio.sleep(1.5)
        assert (await client.say("NOOP")).startswith("250")
        await asyncio.to_thread(disable, server)
        await does_end(client)
        [told] = [event for event in server.events if isinstance(event, SessionRevoked)]
        assert (told.credential, told.reason) == ("oauth", "account disabled: left the company")


async def test_who_is_allowed_again_comes_in_again(start):
    async with start() as server:
        client = await log_in(server)
        await asyncio.to_thread(disable, server)
        await does_end(client)
        await asyncio.to_thread(set_state, accounts(server), LOGIN, active=True)
        client = await log_in(server)
        await asyncio.sleep(1.5)
        assert (await client.say("NOOP")).startswith("250")
        await client.close()
