"""Sessions with clients that guess too often."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import time

import pytest

from gatepost import parts
from gatepost.errors import StoreUnavailable
from gatepost.identity.passwords import Passwords
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.observe.events import LoginFailed, LoginsLocked, LoginSucceeded, SessionClosed, StateTroubled
from gatepost.state.guesses import Guesses
from gatepost.state.slots import Slots
from integration.client import Client
from tokens import AUDIENCE, ISSUER, Signer, jwks

LOCKED = "454 4.7.0 Temporary authentication failure, try again later"
GOODBYE = "421 4.7.0 Too many failed logins"
TIM, SECRET = "tim@example.org", "secret-pass-1"


def told(server, kind):
    return [event for event in server.events if isinstance(event, kind)]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def greeted(server, source: str = "127.0.0.1") -> Client:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        server.ports["submissions"],
        ssl=server.client_context,
        server_hostname="localhost",
        local_addr=(source, 0),
    )
    client = Client(reader, writer)
    await client.reply()
    await client.say("EHLO client.example")
    return client


async def plain(server, login: str, secret: str, source: str = "127.0.0.1") -> tuple[str, str]:
    """Return what AUTH is answered, and what follows if it was no yes and no usual no."""
    client = await greeted(server, source)
    said = await client.say(f"AUTH PLAIN {encoded(f'{chr(0)}{login}{chr(0)}{secret}')}")
    after = "" if said.startswith(("235", "535")) else await client.reply()
    await client.close()
    return said, after


async def fail(server, times: int, source: str = "127.0.0.1", login: str = "nobody") -> None:
    for number in range(times):
        said, _ = await plain(server, login, f"guess {number}", source)
        assert said.startswith("535 5.7.8 "), said


@pytest.mark.rfc("4954 §6")
async def test_who_guessed_too_often_hears_454_and_421_and_nothing_is_judged(start, monkeypatch):
    async with start(limits={"failed_logins_per_address": 5}) as server:
        assert (await plain(server, TIM, SECRET))[0].startswith("235")
        await fail(server, 5)
        looked_at = []
        find = Passwords.find

        async def watched(self, account, *arguments):
            looked_at.append(account)
            return await find(self, account, *arguments)

        monkeypatch.setattr(Passwords, "find", watched)
        for login, secret in ((TIM, SECRET), (TIM, "guess"), ("nobody", "guess"), ("nobody else", SECRET)):
            said, after = await plain(server, login, secret)
            assert said.rpartition(" [")[0] == LOCKED
            assert after == GOODBYE
        assert looked_at == []
        refused = told(server, LoginFailed)[5:]
        assert [each.login for each in refused] == [TIM, TIM, "nobody", "nobody else"]
        assert {each.reason for each in refused} == {"too many failed logins from this address"}
        assert all(each.reply.startswith(LOCKED) for each in refused)
        [locked] = told(server, LoginsLocked)
        assert (locked.kind, locked.value, locked.failures, locked.seconds) == ("address", "127.0.0.1", 5, 3600.0)
        # Others come in.
        assert (await plain(server, TIM, SECRET, "127.0.0.2"))[0].startswith("235")
        assert server.troubles == []


async def test_the_connection_is_closed_after_it(start):
    async with start(limits={"failed_logins_per_address": 1}) as server:
        await fail(server, 1)
        client = await greeted(server)
        client.writer.write(f"AUTH PLAIN {encoded(f'{chr(0)}{TIM}{chr(0)}{SECRET}')}\r\nNOOP\r\n".encode())
        assert (await client.reply()).startswith("454")
        assert await client.reply() == GOODBYE
        assert await client.reply() == ""
        await client.close()
        async with asyncio.timeout(60):
            while len(told(server, SessionClosed)) < 2:
                await asyncio.sleep(0.005)
        assert told(server, SessionClosed)[-1].reason == "too many failed logins"


async def test_it_is_said_at_the_moment_of_every_no(start):
    async with start(auth={"failure_delay": "300ms"}, limits={"failed_logins_per_address": 1}) as server:
        await fail(server, 1)
        client = await greeted(server)
        began = time.monotonic()
        assert (await client.say(f"AUTH PLAIN {encoded(f'{chr(0)}{TIM}{chr(0)}{SECRET}')}")).startswith("454")
        assert time.monotonic() - began >= 0.29
        await client.close()


async def test_who_is_locked_out_and_hangs_up_is_told_of(start, monkeypatch):
    async with start(auth={"failure_delay": "30s"}, limits={"failed_logins_per_login": 1}) as server:
        guess = await server.worker.state.guesses.begin("127.0.0.1", "nobody")
        await guess.failed()
        client = await greeted(server)
        judged, begin = asyncio.Event(), Guesses.begin

        async def watched(*words):
            try:
                return await begin(*words)
            finally:
                judged.set()

        monkeypatch.setattr(Guesses, "begin", watched)
        client.writer.write(f"AUTH PLAIN {encoded(f'{chr(0)}nobody{chr(0)}x')}\r\n".encode())
        await asyncio.wait_for(judged.wait(), 60)
        client.abort()
        async with asyncio.timeout(60):
            while not told(server, SessionClosed):
                await asyncio.sleep(0.005)
        [failed] = told(server, LoginFailed)
        assert failed.reason == "too many failed logins with this name"


async def test_a_name_is_locked_out_whether_somebody_has_it_or_not(start):
    async with start(limits={"failed_logins_per_login": 3, "failed_logins_per_address": 100}) as server:
        for login in (TIM, "nobody"):
            await fail(server, 3, "127.0.0.3", login)
            said, after = await plain(server, login, SECRET, "127.0.0.4")
            assert (said.rpartition(" [")[0], after) == (LOCKED, GOODBYE)


async def test_an_owner_at_home_is_not_locked_out_by_strangers(start):
    async with start(limits={"failed_logins_per_login": 3}) as server:
        assert (await plain(server, TIM, SECRET))[0].startswith("235")
        await fail(server, 3, "127.0.0.3", TIM)
        assert (await plain(server, TIM, SECRET, "127.0.0.3"))[0].startswith("454")
        assert (await plain(server, TIM, SECRET))[0].startswith("235")


async def scram(client: Client, login: str, hashing: str = "256", octets: int = 32) -> str:
    """Begin honestly, and prove nothing."""
    said = await client.say(f"AUTH SCRAM-SHA-{hashing} {encoded(f'n,,n={login},r=fyko+d2lbbFgONRv9qkxdawL')}")
    first = base64.b64decode(said.removeprefix("334 ")).decode()
    nonce = first.split(",")[0].removeprefix("r=")
    return await client.say(encoded(f"c=biws,r={nonce},p={base64.b64encode(bytes(octets)).decode()}"))


async def scram_sha_1(client: Client, login: str) -> str:
    return await scram(client, login, "1", 20)


async def scram_sha_512(client: Client, login: str) -> str:
    return await scram(client, login, "512", 64)


async def cram_md5(client: Client, login: str) -> str:
    assert (await client.say("AUTH CRAM-MD5")).startswith("334 ")
    return await client.say(encoded(f"{login} {'0' * 32}"))


async def login(client: Client, name: str) -> str:
    await client.say("AUTH LOGIN")
    await client.say(encoded(name))
    return await client.say(encoded("guess"))


async def xoauth2(client: Client, name: str) -> str:
    said = await client.say(f"AUTH XOAUTH2 {encoded(f'user={name}{chr(1)}auth=Bearer none.of.ours{chr(1)}{chr(1)}')}")
    return await client.say("") if said.startswith("334") else said


async def oauthbearer(client: Client, name: str) -> str:
    said = await client.say(
        f"AUTH OAUTHBEARER {encoded(f'n,a={name},{chr(1)}auth=Bearer none.of.ours{chr(1)}{chr(1)}')}"
    )
    return await client.say("AQ==") if said.startswith("334") else said


async def test_whoever_asks_what_a_token_should_be_has_not_guessed(start, tmp_path):
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(Signer().public()))
    oauth = {"issuers": [{"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": keys, "scope": "smtp.send"}]}
    auth = {"mechanisms": ["PLAIN", "OAUTHBEARER"]}
    async with start(auth=auth, oauth=oauth, limits={"failed_logins_per_address": 3}) as server:
        for _ in range(6):
            client = await greeted(server)
            said = await client.say(f"AUTH OAUTHBEARER {encoded(f'n,a={TIM},{chr(1)}auth={chr(1)}{chr(1)}')}")
            assert json.loads(base64.b64decode(said.removeprefix("334 "))) == {
                "status": "invalid_token",
                "scope": "smtp.send",
                "openid-configuration": ISSUER + ".well-known/openid-configuration",
            }
            assert (await client.say("AQ==")).startswith("535 5.7.8 ")
            await client.close()
        assert (await plain(server, TIM, SECRET))[0].startswith("235")


@pytest.mark.parametrize("how", [scram, scram_sha_1, scram_sha_512, cram_md5, login, xoauth2, oauthbearer])
@pytest.mark.parametrize("name", [TIM, "nobody"])
async def test_every_mechanism_is_counted_and_locked_out(start, tmp_path, how, name):
    keys = tmp_path / "jwks.json"
    keys.write_bytes(jwks(Signer().public()))
    oauth = {"issuers": [{"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": keys}]}
    scrams = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"]
    mechanisms = [*scrams, "CRAM-MD5", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2"]
    async with start(auth={"mechanisms": mechanisms}, oauth=oauth, limits={"failed_logins_per_address": 4}) as server:
        for _ in range(2):
            client = await greeted(server)
            for _ in range(2):
                said = await how(client, name)
                assert said.startswith("535"), said
            await client.close()
        client = await greeted(server)
        assert (await how(client, name)).startswith("454")
        assert await client.reply() == GOODBYE
        await client.close()
        assert len(told(server, LoginsLocked)) == 1
        assert [each.login for each in told(server, LoginFailed)] == [name] * 5


async def test_a_scram_client_that_dawdles_keeps_no_slot(start, monkeypatch):
    taken = []
    take = Slots.take
    monkeypatch.setattr(Slots, "take", lambda *of: taken.append(of) or take(*of))
    async with start() as server:
        client = await greeted(server)
        said = await client.say(f"AUTH SCRAM-SHA-256 {encoded(f'n,,n={TIM},r=fyko+d2lbbFgONRv9qkxdawL')}")
        assert said.startswith("334 ")
        assert taken == []
        assert (await client.say("*")).startswith("501")
        assert taken == []
        await client.close()


async def test_what_is_no_guess_is_not_counted(start):
    async with start(limits={"failed_logins_per_address": 1}) as server:
        for line in ("AUTH PLAIN =", "AUTH PLAIN !", "AUTH PLAIN YQ==", "AUTH NOTHING", "AUTH LOGIN !"):
            client = await greeted(server)
            assert (await client.say(line)).startswith("50"), line
            await client.close()
        client = await greeted(server)
        await client.say("AUTH LOGIN")
        assert (await client.say("*")).startswith("501")
        await client.close()
        assert (await plain(server, TIM, SECRET))[0].startswith("235")


async def test_a_store_that_is_away_is_nobody_s_failure(start, monkeypatch):
    async def away(*_):
        raise StoreUnavailable("away")

    async with start(limits={"failed_logins_per_address": 2}) as server:
        with monkeypatch.context() as patch:
            patch.setattr(SqliteStore, "find", away)
            for _ in range(6):
                client = await greeted(server)
                said = await client.say(f"AUTH PLAIN {encoded(f'{chr(0)}{TIM}{chr(0)}{SECRET}')}")
                assert said.startswith("454 4.7.0")
                # It is no lock-out: the client may try again at once.
                assert (await client.say("NOOP")).startswith("250")
                await client.close()
        await fail(server, 1)
        assert (await plain(server, TIM, SECRET))[0].startswith("235")


async def test_guesses_on_many_connections_at_once_are_judged_as_often_as_allowed(start):
    async with start(limits={"failed_logins_per_address": 20}, auth={"max_failures": 3}) as server:
        said = await asyncio.gather(*[plain(server, f"user{number}", "guess") for number in range(45)])
        replies = [each[0][:3] for each in said]
        assert (replies.count("535"), replies.count("454")) == (20, 25)


async def test_a_reload_brings_other_limits_and_an_exemption(start):
    async with start(limits={"failed_logins_per_address": 2}) as server:
        await fail(server, 2)
        assert (await plain(server, TIM, SECRET))[0].startswith("454")
        worker = server.worker
        limits = worker.config.limits.model_copy(update={"failed_logins_exempt": ("127.0.0.0/8",)})
        worker.state.guesses.adapt(parts.login_limits(worker.config.model_copy(update={"limits": limits})))
        assert (await plain(server, TIM, SECRET))[0].startswith("235")


async def test_a_broken_state_file_keeps_nobody_from_logging_in(start, tmp_path, server_state):
    shutil.copytree(server_state, tmp_path / "state")
    (tmp_path / "state" / "state.db").mkdir()
    async with start(limits={"failed_logins_per_address": 3}) as server:
        assert (await plain(server, TIM, SECRET))[0].startswith("235")
        await fail(server, 3)
        assert (await plain(server, TIM, SECRET))[0].startswith("454")
        assert told(server, StateTroubled)
        assert len(told(server, LoginSucceeded)) == 1


async def test_failures_outlive_the_server(start):
    async with start(limits={"failed_logins_per_address": 2}) as server:
        await fail(server, 2)
    async with start(limits={"failed_logins_per_address": 2}) as server:
        assert (await plain(server, TIM, SECRET))[0].startswith("454")


async def test_an_embedded_session_counts_for_itself_only(start):
    async with start(limits={"failed_logins_per_address": 1}) as server:
        for listener in server.worker.listeners:
            listener.service.guesses = None
        await fail(server, 4)
        assert told(server, LoginsLocked) == []
