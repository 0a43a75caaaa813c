"""An identity provider that goes away, is slow, or answers nonsense, and what clients of a running server hear then."""

from __future__ import annotations

import asyncio
import base64
import time
from contextlib import AsyncExitStack

import pytest

from gatepost.app import RealClock
from gatepost.identity import discovery, jwks
from gatepost.observe.events import IssuerAway, IssuerBack
from identity_provider import IdentityProvider
from integration.conftest import LOGIN, SECRET, Start
from integration.test_session import until
from integration.test_several_stores import hello, plain
from integration.token_logins import AUTH, LATER, NO, PATIENCE, moods, reply, say_token

_PLAIN = base64.b64encode(f"\0{LOGIN}\0{SECRET}".encode()).decode()
_TROUBLES = {
    "500": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "nonsense": b"HTTP/1.1 200 OK\r\n\r\n<html>",
    "no HTTP": b"220 mail.example.org ESMTP\r\n",
    "nothing": b"",
    "truncated": b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"keys": [',
    "huge": b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000,
    "deep": b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
    "a list": b"HTTP/1.1 200 OK\r\n\r\n[]",
    "no UTF-8": b'HTTP/1.1 200 OK\r\n\r\n{"active": "\xff"}',
    "wrong types": b'HTTP/1.1 200 OK\r\n\r\n{"active": "true", "keys": {}, "issuer": 1}',
}


@pytest.mark.parametrize("trouble", [*_TROUBLES, "silence", "gone"])
@pytest.mark.parametrize("place", ["configuration", "keys", "introspection"])
async def test_a_provider_in_trouble_is_no_no_and_its_return_is_noticed(
    start: Start,
    provider: IdentityProvider,
    our_client: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    trouble: str,
    place: str,
) -> None:
    if trouble != "gone":  # that one waits as long as it is
        monkeypatch.setattr(discovery, "_PAUSE", 0.0)
        monkeypatch.setattr(jwks, "_PAUSE", 0.0)
    path = {
        "configuration": f"{provider.path}/.well-known/openid-configuration",
        "keys": f"{provider.path}/keys",
        "introspection": f"{provider.path}/introspect",
    }[place]
    if trouble == "gone":
        await provider.stop()
    elif trouble == "silence":
        provider.pauses[path] = 3600.0
    else:
        provider.answers[path] = _TROUBLES[trouble]
    issuer = provider.settings(
        timeout="3s" if trouble == "silence" else "20s", **(our_client if place == "introspection" else {})
    )
    async with start(auth=AUTH, oauth={"issuers": [issuer]}) as server:
        token = provider.token() if place == "introspection" else provider.jwt()
        client = await hello(server)
        last, said = await say_token(client, token)
        assert (last[:9], said) == (LATER, None)
        assert not any(word in last for word in ("Error", "httpx", "127.0.0.1", token))
        # Passwords do not wait for it, and the connection goes on.
        assert (await client.say(f"AUTH PLAIN {_PLAIN}")).startswith("235")
        await client.close()
        provider.answers.clear()
        provider.pauses.clear()
        if trouble == "gone":
            await provider.start()
        async with asyncio.timeout(PATIENCE):
            while (now := await reply(server, token)) == LATER:
                await asyncio.sleep(0.05)
        assert now == "235 2.7.0"
        assert moods(server) == [IssuerAway, IssuerBack]
        assert not server.troubles


async def test_keys_that_were_fetched_go_on_while_the_provider_is_away(
    start: Start, provider: IdentityProvider
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings()]}) as server:
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        known = provider.signers[0]
        await provider.stop()
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        assert await reply(server, provider.jwt(signer=known, exp=1)) == NO
        # Of a key that we do not have, nobody can say whether it is one of the issuer's.
        assert await reply(server, provider.jwt(signer=provider.rotate("second"))) == LATER
        assert await reply(server, provider.jwt(signer=known)) == "235 2.7.0"


class Shifted(RealClock):
    """The clock of the machine, but for what passes between two moments."""

    shift = 0.0

    def monotonic(self) -> float:  # type: ignore[override]
        return time.monotonic() + self.shift


async def test_keys_go_on_for_as_long_as_is_configured_and_no_longer(start: Start, provider: IdentityProvider) -> None:
    clock = Shifted()
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(keys_last="2h")]}, clock=clock) as server:
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        await provider.stop()
        clock.shift = 7000.0
        assert await reply(server, provider.jwt()) == "235 2.7.0"
        clock.shift = 7200.0
        assert await reply(server, provider.jwt()) == LATER
        await provider.start()
        clock.shift = 7300.0
        assert await reply(server, provider.jwt()) == "235 2.7.0"


async def test_a_yes_that_is_remembered_goes_on_while_the_provider_is_away(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    async with start(auth=AUTH, oauth={"issuers": [provider.settings(**our_client)]}) as server:
        token, other = provider.token(), provider.token()
        assert await reply(server, token) == "235 2.7.0"
        await provider.stop()
        assert await reply(server, other) == LATER
        assert await reply(server, token) == "235 2.7.0"
        assert moods(server) == [IssuerAway]


async def test_a_slow_issuer_is_not_in_the_way_of_another_ones_logins(
    start: Start, provider: IdentityProvider, our_client: dict[str, str]
) -> None:
    slow = IdentityProvider(path="/slow")
    await slow.start()
    slow.pauses = {"/slow/.well-known/openid-configuration": 3600.0, "/slow/introspect": 3600.0}
    by_keys, asked = slow.settings(timeout="30s"), provider.settings(**our_client)
    both = [by_keys, asked, {**slow.settings(**our_client), "issuer": slow.issuer + "2"}]
    both[2]["introspection_url"] = f"{slow.issuer}/introspect"
    try:
        async with start(auth=AUTH, oauth={"issuers": both}) as server, AsyncExitStack() as stack:
            waiting = [asyncio.create_task(reply(server, slow.jwt())) for _ in range(30)]
            stack.callback(lambda: [each.cancel() for each in waiting])
            await until(lambda: slow.asked["/slow/.well-known/openid-configuration"] == 1, PATIENCE)
            # An opaque token does not say whose it is: both are asked, and the yes does not wait for the slow one.
            for _ in range(3):
                assert await reply(server, provider.token()) == "235 2.7.0"
            assert (await plain(server, LOGIN, SECRET)).startswith("235")
            assert not any(each.done() for each in waiting)
            await slow.stop()
            assert await asyncio.gather(*waiting) == [LATER] * 30
            assert slow.asked["/slow/.well-known/openid-configuration"] == 1
    finally:
        await slow.close()
