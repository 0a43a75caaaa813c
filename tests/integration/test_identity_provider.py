"""Access tokens in a running server: who gets in by one, and an identity provider that rotates its keys."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from gatepost.identity.accounts import set_state
from gatepost.identity.database import Database
from gatepost.observe.events import IssuerAway
from gatepost.testing import RunningServer
from identity_provider import IdentityProvider
from integration.conftest import LOGIN, Start
from integration.token_logins import AUTH, LATER, NO, bring, moods, reasons, reply
from servers import Authority
from tokens import AUDIENCE, Signer, unsigned


def disable(server: RunningServer) -> None:
    set_state(Database(server.worker.config.state_dir / "accounts.db"), LOGIN, active=False, reason="left us")


@pytest.mark.rfc("8414 §3.3")
@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_an_issuer_and_an_audience_are_enough(start: Start, provider: IdentityProvider, mechanism: str) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        assert (await bring(server, provider.jwt(), mechanism=mechanism))[0].startswith("235 2.7.0")
        for _ in range(3):
            assert (await bring(server, provider.jwt(), mechanism=mechanism))[0].startswith("235 2.7.0")
        assert provider.asked == {
            f"{provider.path}/.well-known/openid-configuration": 1,
            f"{provider.path}/keys": 1,
        }
        last, said = await bring(server, provider.jwt(exp=1), mechanism=mechanism)
        assert last.startswith(NO)
        assert said == (
            {"status": "401", "schemes": "bearer", "scope": ""}
            if mechanism == "XOAUTH2"
            else {
                "status": "invalid_token",
                "openid-configuration": f"{provider.issuer}/.well-known/openid-configuration",
            }
        )
        assert moods(server) == []


async def test_without_a_name_the_token_says_who_it_is(start: Start, provider: IdentityProvider) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        assert await reply(server, provider.jwt(), login="", mechanism="OAUTHBEARER") == "235 2.7.0"
        assert await reply(server, provider.jwt(), login="ann@example.org") == NO
        assert reasons(server) == ["token of another login"]


@pytest.mark.rfc("8414 §3.1")
async def test_a_configuration_is_found_where_rfc_8414_puts_it(start: Start, provider: IdentityProvider) -> None:
    provider.has_openid = False
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        assert provider.asked[f"/.well-known/oauth-authorization-server{provider.path}"] == 1


async def test_over_tls_the_provider_is_verified(
    start: Start, provider: IdentityProvider, authority: Authority, tmp_path: Path
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    shown = IdentityProvider(context=context)
    await shown.start()
    try:
        good, bad = shown.settings(ca_file=authority.ca), shown.settings(ca_file=Authority(tmp_path / "other").ca)
        async with start(auth=AUTH, oauth={"issuers": [good]}) as server:
            assert await reply(server, shown.jwt()) == "235 2.7.0"
        async with start(auth=AUTH, oauth={"issuers": [bad]}) as server:
            assert await reply(server, shown.jwt()) == LATER
            assert "certificate refused: " in next(e.reason for e in server.events if isinstance(e, IssuerAway))
    finally:
        await shown.close()


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://evil.example/"},
        {"issuer": None},
        {"jwks_uri": "http://login.example.org/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://tim:secret@login.example.org/keys"},
        {"jwks_uri": None},
        {"jwks_uri": 7},
        {"jwks_uri": "https://[::1/keys"},
    ],
)
@pytest.mark.rfc("8414 §3.3")
async def test_a_configuration_of_another_issuer_or_with_unsafe_keys_is_not_used(
    start: Start, provider: IdentityProvider, document: dict[str, Any]
) -> None:
    provider.document = document
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        assert await reply(server, provider.jwt()) == LATER
        assert provider.asked[f"{provider.path}/keys"] == 0
        assert moods(server) == [IssuerAway]


async def test_an_issuer_that_comes_by_tls_may_not_send_us_to_this_machine(
    start: Start, provider: IdentityProvider, authority: Authority
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority.certificate, authority.key)
    shown = IdentityProvider(context=context, document={"jwks_uri": f"{provider.issuer}/keys"})
    await shown.start()
    try:
        async with start(auth=AUTH, oauth={"issuers": [shown.settings(ca_file=authority.ca)]}) as server:
            assert await reply(server, shown.jwt(signer=provider.signers[0])) == LATER
            assert provider.asked[f"{provider.path}/keys"] == 0
    finally:
        await shown.close()


async def test_keys_rotate_and_twenty_unknown_key_ids_cause_one_fetch(start: Start, provider: IdentityProvider) -> None:
    keys = f"{provider.path}/keys"
    limits = {"failed_logins_per_address": 0, "failed_logins_per_login": 0}
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}, limits=limits) as server:
        old = provider.signers[0]
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        new = provider.rotate("second")
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        assert provider.asked[keys] == 2
        assert await reply(server, provider.jwt(signer=old)) == NO
        for number in range(20):
            assert await reply(server, provider.jwt(signer=new, header={"kid": f"unknown {number}"})) == NO
        assert provider.asked[keys] == 2
        assert set(reasons(server)) == {"token signed with an unknown key"}


async def test_twenty_unknown_key_ids_cause_one_fetch_before_any_that_is_known(
    start: Start, provider: IdentityProvider
) -> None:
    limits = {"failed_logins_per_address": 0, "failed_logins_per_login": 0}
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}, limits=limits) as server:
        for number in range(20):
            assert await reply(server, provider.jwt(header={"kid": f"unknown {number}"})) == NO
        assert provider.asked[f"{provider.path}/keys"] == 1
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        assert provider.asked[f"{provider.path}/keys"] == 1


async def test_twenty_unknown_key_ids_at_once_cause_one_fetch(start: Start, provider: IdentityProvider) -> None:
    keys = f"{provider.path}/keys"
    limits = {"failed_logins_per_address": 0, "failed_logins_per_login": 0}
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}, limits=limits) as server:
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        provider.pauses[keys] = 0.2
        new = provider.rotate("second")
        strangers = [provider.jwt(signer=new, header={"kid": f"unknown {number}"}) for number in range(20)]
        replies = await asyncio.gather(*[reply(server, each) for each in [*strangers, provider.jwt()]])
        assert replies == [NO] * 20 + ["235 2.7.0"]
        assert provider.asked[keys] == 2


@pytest.mark.parametrize(
    "token",
    [
        {"exp": 1},
        {"nbf": 4_000_000_000},
        {"aud": "somebody else"},
        {"aud": None},
        {"sub": "nobody@example.org"},
        {"sub": None},
        {"cnf": {"jkt": "x"}},
        {"iss": "https://evil.example/"},
    ],
)
async def test_a_token_that_does_not_count_hears_what_a_stranger_hears(
    start: Start, provider: IdentityProvider, token: dict[str, Any]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(scope="smtp.send")]}) as server:
        for mechanism in ("XOAUTH2", "OAUTHBEARER"):
            bad = await bring(server, provider.jwt(scope="smtp.send", **token), LOGIN, mechanism)
            stranger = await bring(server, provider.jwt(scope="smtp.send", sub="x"), LOGIN, mechanism)
            assert bad[0][:9] == stranger[0][:9] == NO
            assert bad[1] == stranger[1]
        assert await reply(server, provider.jwt(scope="openid smtp.send")) == "235 2.7.0"


async def test_bad_tokens_unknown_and_disabled_accounts_cannot_be_told_apart(
    start: Start, provider: IdentityProvider
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        await asyncio.to_thread(disable, server)
        for mechanism in ("XOAUTH2", "OAUTHBEARER"):
            told = [
                await bring(server, token, login, mechanism)
                for token, login in (
                    (provider.jwt(), LOGIN),
                    (provider.jwt(sub="nobody@example.org"), "nobody@example.org"),
                    (provider.jwt(sub="nobody@example.org"), LOGIN),
                    (provider.jwt(exp=1), LOGIN),
                    (provider.jwt(signer=Signer("ES256", "first")), LOGIN),
                )
            ]
            assert {said[0].partition(" [")[0] for said in told} == {told[0][0].partition(" [")[0]}
            assert all(said[1] == told[0][1] for said in told)
        assert set(reasons(server)) == {
            "account disabled: left us",
            "unknown login",
            "token of another login",
            "token expired",
            "token with a bad signature",
        }


@pytest.mark.rfc("6750 §3.1")
async def test_a_good_token_without_the_scope_is_told_which_one_it_needs(
    start: Start, provider: IdentityProvider
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(scope="smtp.send")]}) as server:
        last, said = await bring(server, provider.jwt(scope="openid"))
        assert (last[:9], said) == (NO, {"status": "403", "schemes": "bearer", "scope": "smtp.send"})
        last, said = await bring(server, provider.jwt(scope="openid"), mechanism="OAUTHBEARER")
        assert (last[:9], said["status"], said["scope"]) == (NO, "insufficient_scope", "smtp.send")


async def test_no_algorithm_counts_that_is_not_allowed(start: Start, provider: IdentityProvider) -> None:
    provider.signers.append(Signer("RS256", "rsa"))
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(algorithms=["ES256"])]}) as server:
        claims = {"iss": provider.issuer, "aud": AUDIENCE, "sub": LOGIN, "exp": time.time() + 300}
        for algorithm in ("none", "HS256"):
            assert await reply(server, unsigned({"alg": algorithm, "kid": "first"}, claims, b"x").decode()) == NO
        assert await reply(server, provider.jwt()) == NO
        assert await reply(server, provider.jwt(signer=provider.signers[0])) == "235 2.7.0"
        assert set(reasons(server)) == {"token signed with an algorithm that is not allowed"}


async def test_an_address_counts_when_it_is_verified_and_other_claims_in_their_order(
    start: Start, provider: IdentityProvider
) -> None:
    issuer = provider.settings(identity_claim=["email", "sub"])
    async with start(auth=AUTH, oauth={"issuers": [issuer]}) as server:
        for claims, is_good in (
            ({"sub": "8d4e", "email": LOGIN, "email_verified": True}, True),
            ({"sub": "8d4e", "email": LOGIN, "email_verified": "true"}, False),
            ({"sub": "8d4e", "email": LOGIN}, False),
            ({"sub": LOGIN, "email": "eve@example.org"}, True),
            ({"sub": LOGIN, "email": "eve@example.org", "email_verified": True}, False),
        ):
            assert await reply(server, provider.jwt(**claims)) == ("235 2.7.0" if is_good else NO)
