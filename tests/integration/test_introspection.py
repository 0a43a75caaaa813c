"""Access tokens that an identity provider is asked about, in a running server: opaque, expired and revoked ones."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote_plus

import pytest

from gatepost.identity.bearer import TokenVerifier
from gatepost.observe.events import IssuerAway, IssuerBack, LoginSucceeded, SessionRevoked
from gatepost.parts import key_pairs
from identity_provider import IdentityProvider
from integration.conftest import LOGIN, Start
from integration.test_session import until
from integration.test_several_stores import hello
from integration.token_logins import AUTH, LATER, NO, PATIENCE, kept, moods, reasons, reply, say_token
from tokens import AUDIENCE, Signer


@pytest.mark.rfc("7662 §2.1")
@pytest.mark.rfc("6749 §2.3.1")
async def test_opaque_tokens_are_asked_about_and_a_yes_is_remembered(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(**our_client)]}) as server:
        token = provider.token()
        for mechanism in ("XOAUTH2", "OAUTHBEARER", "XOAUTH2"):
            assert await reply(server, token, mechanism=mechanism) == "235 2.7.0"
        assert provider.questions == [{"token": token, "token_type_hint": "access_token"}]
        # Its JWT are asked about, too, and their signature is its own affair.
        jwt = provider.jwt(signer=Signer("ES256"))
        assert await reply(server, jwt) == NO
        provider.opaque[jwt] = {"active": True, "sub": LOGIN, "aud": [AUDIENCE, "x"], "iss": provider.issuer}
        assert await reply(server, jwt) == "235 2.7.0"
        assert provider.asked[f"{provider.path}/keys"] == 0
        told = [each for each in server.events if isinstance(each, LoginSucceeded)]
        assert {(each.login, each.credential, each.label) for each in told} == {(LOGIN, "oauth", provider.issuer)}


@pytest.mark.rfc("7662 §2.2")
@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"active": False}, "token not active, says its issuer"),
        ({"exp": 1}, "token expired"),
        ({"exp": "soon"}, "token without a proper time of expiry"),
        ({"nbf": 4_000_000_000}, "token not valid yet"),
        ({"aud": "somebody else"}, "token for another audience"),
        ({"aud": None}, "token for another audience"),
        ({"iss": "https://evil.example/"}, "token of another issuer"),
        ({"sub": "nobody@example.org"}, "token of another login"),
        ({"sub": None, "username": LOGIN}, "token without the claim sub"),
        ({"typ": "Refresh"}, "token is no access token"),
        ({"scope": "openid"}, "token without the scope that is needed"),
    ],
)
async def test_what_the_provider_says_of_a_token_is_judged(
    start: Start, provider: IdentityProvider, our_client: dict[str, str], facts: dict[str, Any], reason: str
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(scope="smtp.send", **our_client)]}) as server:
        assert await reply(server, provider.token(**{"scope": "smtp.send", **facts})) == NO
        assert reasons(server) == [reason]
        assert await reply(server, provider.token(scope="openid smtp.send", exp=None)) == "235 2.7.0"


async def test_a_provider_that_does_not_know_us_is_no_no_and_no_secret_shows(
    start: Start, provider: IdentityProvider, our_client: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    known = provider.client
    provider.client = (known[0], "another")
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(**our_client)]}) as server:
        token = provider.token()
        assert await reply(server, token) == LATER
        [away] = [each for each in server.events if isinstance(each, IssuerAway)]
        assert (away.issuer, away.reason) == (provider.issuer, "status 401")
        provider.client = known
        assert await reply(server, token) == "235 2.7.0"
        everything = repr(server.events) + caplog.text + repr([vars(each) for each in caplog.records])
        assert "httpcore" in everything
        for secret in (token, known[1], "s3cret", quote_plus(known[1])):
            for form in (secret, base64.b64encode(secret.encode()).decode().rstrip("="), secret.encode().hex()):
                assert form not in everything
        both = f"{known[0]}:{quote_plus(known[1])}".encode()
        assert base64.b64encode(both).decode() not in everything


@pytest.mark.rfc("7662 §4")
async def test_a_yes_is_not_remembered_past_the_expiry_of_its_token(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(cache_time="1h", **our_client)]}) as server:
        token = provider.token(exp=int(time.time()) - 1)  # within what clocks may differ
        for _ in range(2):
            assert await reply(server, token) == "235 2.7.0"
        assert len(provider.questions) == 2


@pytest.mark.parametrize("end", ["revoked", "of another"])
async def test_open_sessions_end_when_their_token_is_revoked_and_others_go_on(
    start: Start, provider: IdentityProvider, our_client: dict[str, str], end: str
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(cache_time="1s", **our_client)]}) as server:
        token, other = provider.token(), provider.token()
        first, second, third = await kept(server, token), await kept(server, token), await kept(server, other)
        # Asked about again, and again, while it stands.
        await until(lambda: len([each for each in provider.questions if each["token"] == token]) >= 3, PATIENCE)
        provider.opaque[token] = {"active": False} if end == "revoked" else {**provider.opaque[other], "sub": "ann"}
        for client in (first, second):
            assert (await client.reply(PATIENCE)).startswith("421 4.7.0 This login is no longer valid")
            await client.close()
        told = [each for each in server.events if isinstance(each, SessionRevoked)]
        reason = "token not active, says its issuer" if end == "revoked" else "token of another login"
        assert [(each.login, each.credential, each.reason) for each in told] == [(LOGIN, "oauth", reason)] * 2
        assert await reply(server, token) == NO
        assert (await third.say("NOOP")).startswith("250")
        await third.close()
        await until(lambda: not server.worker.sessions, PATIENCE)
        assert not server.troubles


async def test_while_the_provider_is_away_open_sessions_go_on_and_end_when_it_is_back(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(cache_time="1s", **our_client)]}) as server:
        token = provider.token()
        client = await kept(server, token)
        await provider.stop()
        await until(lambda: moods(server) == [IssuerAway], PATIENCE)
        assert (await client.say("NOOP")).startswith("250")
        provider.opaque[token] = {"active": False}
        await provider.start()
        assert (await client.reply(PATIENCE)).startswith("421 4.7.0")
        assert moods(server) == [IssuerAway, IssuerBack]
        await client.close()


async def test_a_token_is_forgotten_with_its_session_and_not_asked_about_again(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(cache_time="1s", **our_client)]}) as server:
        tokens = server.worker.authority.tokens
        assert isinstance(tokens, TokenVerifier)
        [(_, source)] = tokens._asked
        gc.disable()  # nothing may wait for it
        try:
            client = await kept(server, provider.token())
            assert len(source._held) == 1
            await client.close()
            await until(lambda: not server.worker.sessions and not source._held, PATIENCE)
        finally:
            gc.enable()


async def test_many_who_bring_one_token_at_once_cause_one_question(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    provider.pauses[f"{provider.path}/introspect"] = 0.3
    async with (
        start(auth=AUTH, oauth={"issuers": [provider.settings(**our_client)]}) as server,
        AsyncExitStack() as stack,
    ):
        clients = []
        for _ in range(10):
            clients.append(await hello(server))
            stack.push_async_callback(clients[-1].close)
        token = provider.token()
        said = await asyncio.gather(*[say_token(each, token) for each in clients])
        assert {each[0][:9] for each in said} == {"235 2.7.0"}
        assert len(provider.questions) == 1


async def test_who_connected_before_a_reload_and_logs_in_after_it_must_count_after_it(
    start: Start, provider: IdentityProvider
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        client = await hello(server)
        worker = server.worker
        other = type(worker.config.oauth).model_validate({"issuers": [provider.settings(issuer=provider.issuer + "2")]})
        await worker.reload(worker.config.model_copy(update={"oauth": other}), key_pairs(worker.config))
        assert (await say_token(client, provider.jwt()))[0].startswith("235 ")
        assert (await client.reply(PATIENCE)).startswith("421 4.7.0")
        [told] = [each for each in server.events if isinstance(each, SessionRevoked)]
        assert told.reason == "issuer of the token not trusted any more"
        await client.close()


async def test_after_a_reload_without_its_issuer_a_token_s_session_ends(
    start: Start, provider: IdentityProvider
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        client = await kept(server, provider.jwt())
        worker = server.worker
        other = type(worker.config.oauth).model_validate({"issuers": [provider.settings(issuer=provider.issuer + "2")]})
        await worker.reload(worker.config.model_copy(update={"oauth": other}), key_pairs(worker.config))
        assert (await client.reply(PATIENCE)).startswith("421 4.7.0")
        [told] = [each for each in server.events if isinstance(each, SessionRevoked)]
        assert told.reason == "issuer of the token not trusted any more"
        await client.close()
