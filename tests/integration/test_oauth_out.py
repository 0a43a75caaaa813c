"""A route that logs in with access tokens, whatever its provider does: no mail is lost, and none bounces."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gatepost.clock import RealClock
from gatepost.config.schema import Config
from gatepost.model.identity import Secret
from gatepost.observe.events import (
    BounceQueued,
    RecipientDeferred,
    RecipientFailed,
    RoutePaused,
    RouteResumed,
    TokenTroubled,
)
from gatepost.parts import key_pairs
from gatepost.state.keys import load_keys
from gatepost.state.token_store import Tokens, TokenStore
from gatepost.testing import RunningServer
from integration.conftest import Start
from integration.test_worker import submit, until
from next_hop import FakeNextHop, say
from secret_scan import files, findings
from servers import Authority
from token_provider import TokenProvider, answer

DISABLED = (
    "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. "
    "Visit https://aka.ms/smtp_auth_disabled for more information."
)


class Hurried(RealClock):
    """A clock that runs some hundred times as fast."""

    def __init__(self) -> None:
        self._began = RealClock.now()

    def now(self) -> float:  # type: ignore[override]
        return self._began + (RealClock.now() - self._began) * 300

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]
        await asyncio.sleep(seconds / 300)


class Post:
    """A provider, token endpoint and SMTP, and a server that sends by it."""

    def __init__(self, provider: TokenProvider, hop: FakeNextHop, authority: Authority, secret: Path) -> None:
        self.provider, self.hop, self.authority, self.secret = provider, hop, authority, secret
        self.server: RunningServer
        self.sent = 0

    def route(self, **changes: Any) -> dict[str, Any]:
        oauth = {
            "provider": "microsoft" if self.provider.rotates else "google",
            "token_url": self.provider.url("token"),
            "client_id": self.provider.client[0],
            "client_secret_file": str(self.secret),
            **changes,
        }
        return {
            "name": "out",
            "transport": "smarthost",
            "host": "127.0.0.1",
            "port": self.hop.port,
            "login": self.provider.login,
            "ca_file": self.authority.ca,
            "idle": "0s",
            "oauth": oauth,
        }

    async def log_in(self) -> None:
        """Do what ``gatepost oauth login`` does in the end."""
        config: Config = self.server.worker.config
        (route,) = config.route
        assert route.transport == "smarthost"
        assert route.oauth is not None
        store = TokenStore(config.state_dir, load_keys(config.secret_key_file))
        token = Secret(self.provider.new_refresh_token().encode())
        client = route.oauth.client
        async with store.renewing("out", 60.0):
            await store.write("out", Tokens(client.fingerprint, client.scope, token))

    async def send(self, number: int = 2) -> None:
        for _ in range(number):
            await submit(self.server)
            self.sent += 1

    async def paused_for(self, *words: str) -> None:
        """Wait until the route is paused, and says why in these words."""
        paused = await self._told(RoutePaused)
        assert all(word in paused.reason for word in words), paused.reason

    async def _told(self, kind: type[Any]) -> Any:
        await until(lambda: any(isinstance(event, kind) for event in self.server.events))
        return next(event for event in self.server.events if isinstance(event, kind))

    async def delivered(self) -> None:
        await until(lambda: len(self.hop.accepted) == self.sent and not self.server.worker.spool.count())

    def begin(self) -> None:
        """Forget what was told before."""
        assert not [event for event in self.server.events if isinstance(event, RecipientFailed | BounceQueued)]
        self.server.events.clear()

    def state(self) -> str:
        (row,) = self.server.worker.tokens.states()
        return str(row["state"])


@pytest.fixture(params=["google", "microsoft"])
async def post(request: pytest.FixtureRequest, tmp_path: Path, authority: Authority) -> AsyncIterator[Post]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.certificate, authority.key)
    provider = TokenProvider(rotates=request.param == "microsoft", lifetime=7200.0)
    await provider.start()
    secret = tmp_path / "client.secret"
    secret.write_text(provider.client[1])
    mechanisms = ("LOGIN", "XOAUTH2") if provider.rotates else ("XOAUTH2", "PLAIN", "OAUTHBEARER")
    async with FakeNextHop(tls="starttls", context=context, mechanisms=mechanisms) as hop:
        hop.tokens = provider.tokens
        yield Post(provider, hop, authority, secret)
    await provider.close()
    assert provider.violations == []


async def test_nothing_is_lost_and_nothing_bounces_whatever_the_provider_does(start: Start, post: Post) -> None:
    provider, hop, clock = post.provider, post.hop, Hurried()
    provider.now = clock.now
    async with start(clock=clock, route=[post.route()]) as server:
        post.server = server
        await post.send()
        await post.paused_for("not logged in", "run: gatepost oauth login out")
        assert post.state() == "not logged in"
        await post.log_in()
        await post.delivered()
        assert [event for event in server.events if isinstance(event, RouteResumed)]

        # Its tokens expire, sooner than it said: the JSON of XOAUTH2 is answered, another is got, nobody notices.
        post.begin()
        before = provider.asked["token"]
        provider.expire_all()
        await post.send()
        await post.delivered()
        assert provider.asked["token"] > before
        assert not [event for event in server.events if isinstance(event, RoutePaused | RecipientDeferred)]

        for said, words in (
            (answer(429, {"error": "too_many_requests"}, Retry_After="30"), "status 429"),
            (answer(503), "status 503"),
            (answer(401, {"error": "invalid_client", "error_description": "AADSTS7000222: expired"}), "AADSTS7000222"),
        ):
            post.begin()
            provider.always = said
            provider.expire_all()
            await post.send()
            await post.paused_for("no access token", words)
            assert len(hop.accepted) < post.sent
            provider.always = None
            await post.delivered()

        # What was granted is taken back, and granted anew.
        post.begin()
        provider.is_revoked = True
        provider.expire_all()
        await post.send()
        await post.paused_for("revoked", "run: gatepost oauth login out")
        assert post.state() == "revoked"
        (troubled,) = [event for event in server.events if isinstance(event, TokenTroubled)]
        assert troubled.trouble == "revoked"
        provider.is_revoked = False
        await post.log_in()
        await post.delivered()

        # The mailbox may not send by SMTP, as its tenant has it.
        post.begin()
        hop.on("AUTH", say(DISABLED))
        await post.send()
        await post.paused_for("535 5.7.139", "SMTP AUTH is switched off", "Set-CASMailbox")
        hop.usual()
        await post.delivered()
        post.begin()
        assert post.state() in ("valid", "refreshing")
        places = files(server.worker.config.state_dir)
        given = {f"token {number}": each for number, each in enumerate(provider.given)}
    assert findings(places, given) == []


async def test_no_event_of_it_all_holds_a_token(start: Start, post: Post) -> None:
    """Not even where the next hop says the token back."""
    async with start(route=[post.route()]) as server:
        post.server = server
        await post.log_in()
        async with asyncio.timeout(60):
            while not provider_tokens(post):
                await asyncio.sleep(0.01)
        first = provider_tokens(post)[0]
        post.hop.on("AUTH", say(f"535 5.7.8 what is {first}?"))
        await post.send(1)
        await post.paused_for("535 5.7.8", "***")
        said = json.dumps([str(event) for event in server.events]).encode()
    given = {f"token {number}": each for number, each in enumerate(post.provider.given)}
    assert findings({"events": said}, given) == []


def provider_tokens(post: Post) -> list[str]:
    return [each for each in post.provider.given if each.startswith("at.")]


async def test_a_client_that_logs_in_as_itself_needs_nobody(start: Start, post: Post) -> None:
    post.provider.rotates = True  # Google gives a client itself no tokens for mail
    route = post.route(grant="client_credentials", tenant="11111111-2222-3333-4444-555555555555")
    async with start(route=[route]) as server:
        post.server = server
        await post.send()
        await post.delivered()
    assert post.provider.forms[0]["scope"] == "https://outlook.office365.com/.default"
    assert post.provider.asked["token"] == 1


async def test_a_reload_brings_another_secret_at_once_and_keeps_the_login(start: Start, post: Post) -> None:
    post.secret.write_text("out of date")
    async with start(route=[post.route()]) as server:
        post.server = server
        await post.log_in()
        await post.send()
        await post.paused_for("invalid_client", "put it into client_secret_file")
        post.secret.write_text(post.provider.client[1])
        changed = Config.model_validate(server.worker.config.model_dump(exclude_unset=True) | {"route": [post.route()]})
        await server.worker.reload(changed, key_pairs(changed))
        await post.delivered()
        assert post.state() == "valid"
