"""Access tokens of a route: given while good, renewed in time and once, kept before use; and clear words for none."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from gatepost.clock import RealClock
from gatepost.errors import StateUnavailable
from gatepost.model.delivery import Cause
from gatepost.model.identity import Secret
from gatepost.observe.events import ClientSecretEnds, Event, TokenRenewed, TokenTroubled
from gatepost.relay import token_source
from gatepost.relay.oauth_client import OAuthClient
from gatepost.relay.token_source import TokenSource
from gatepost.relay.token_sources import TokenSources
from gatepost.relay.trouble import Trouble
from gatepost.state.keys import KEY_BYTES, Keys
from gatepost.state.token_store import Tokens, TokenStore
from secret_scan import files, findings
from servers import Authority
from token_provider import TokenProvider, answer

KEYS = Keys(Secret(b"k" * KEY_BYTES))
ROUTE = "out"


class Clock(RealClock):
    """A clock that a test sets on; nobody sleeps long."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:  # type: ignore[override]
        return RealClock.now() + self.ahead

    async def sleep(self, seconds: float) -> None:  # type: ignore[override]
        await asyncio.sleep(min(seconds, 0.01))


class World:
    """A provider, a store, a clock, and sources of tokens as several workers have them."""

    def __init__(self, folder: Path, provider: TokenProvider, authority: Authority) -> None:
        self.folder, self.provider, self.authority = folder, provider, authority
        self.clock = Clock()
        provider.now = self.clock.now
        self.store = TokenStore(folder, KEYS)
        self.events: list[Event] = []
        self.sources: list[TokenSource] = []

    def client(self, **changes: Any) -> OAuthClient:
        name, secret = self.provider.client
        values = {"token_url": self.provider.url("token"), "client_id": name, "secret": Secret(secret.encode())}
        return OAuthClient(**{**values, "ca_file": self.authority.ca, "timeout": 30.0, **changes})

    def source(self, client: OAuthClient | None = None) -> TokenSource:
        made = TokenSource(ROUTE, client or self.client(), self.store, self.clock, self.events.append)
        self.sources.append(made)
        return made

    async def log_in(self, client: OAuthClient | None = None) -> str:
        token = self.provider.new_refresh_token()
        client = client or self.client()
        async with self.store.renewing(ROUTE, 60.0):
            tokens = Tokens(client.fingerprint, client.scope, Secret(token.encode()))
            await self.store.write(ROUTE, tokens)
        return token

    def told(self, kind: type[Event]) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]


@pytest.fixture
async def world(tmp_path: Path, authority: Authority) -> AsyncIterator[World]:
    """A world whose provider finds out whoever uses a refresh token twice."""
    provider = TokenProvider(rotates=True)
    await provider.start()
    made = World(tmp_path, provider, authority)
    yield made
    for source in made.sources:
        await source.close()
    await provider.close()
    assert provider.violations == []


async def until(condition: Callable[[], Any]) -> None:
    """Wait until it is true."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def refusal(source: TokenSource) -> str:
    with pytest.raises(Trouble) as caught:
        await source.get()
    assert caught.value.cause is Cause.ROUTE
    return caught.value.reply.text


async def test_a_token_is_got_once_and_given_to_all_workers(world: World) -> None:
    await world.log_in()
    sources = [world.source() for _ in range(4)]
    tokens = await asyncio.gather(*[each.get() for each in sources for _ in range(5)])
    assert len(set(tokens)) == 1
    assert world.provider.asked["token refresh_token"] == 1
    assert world.provider.is_good(tokens[0].reveal().decode(), world.provider.login)
    assert [each.state().state for each in sources] == ["valid"] * 4
    assert len(world.told(TokenRenewed)) == 1


async def test_a_refresh_token_that_is_not_rotated_is_kept(world: World) -> None:
    world.provider.rotates = False
    token = await world.log_in()
    await world.source().get()
    assert (await world.store.read(ROUTE)).refresh_token.reveal().decode() == token


async def test_it_is_renewed_at_four_fifths_of_its_life_while_mail_uses_the_old_one(world: World) -> None:
    await world.log_in()
    source, other = world.source(), world.source()
    first = await source.get()
    world.clock.ahead = 0.79 * 3600
    assert await source.get() == first
    await other.look_after()
    assert world.provider.asked["token"] == 1
    world.clock.ahead = 0.81 * 3600
    assert await source.get() == first
    await other.look_after()
    await until(lambda: len(world.told(TokenRenewed)) == 2)
    assert await other.get() != first
    assert world.provider.asked["token"] == 2
    assert world.provider.most_at_once == 1


async def test_an_expired_one_is_waited_for(world: World) -> None:
    await world.log_in()
    source = world.source()
    first = await source.get()
    world.clock.ahead = 3599.0
    assert await source.get() != first


async def test_a_rotated_refresh_token_is_on_disk_before_the_access_token_is_used(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fills up while the issuer answers: nobody gets a token, and nobody else renews, until it is kept."""
    await world.log_in()
    source, other = world.source(), world.source(world.client(timeout=1.0))
    write, is_full = world.store._write, asyncio.Event()

    def full(route: str, tokens: Tokens) -> None:
        if is_full.is_set() and not tokens.trouble and tokens.settled_at >= tokens.asked_at:
            raise StateUnavailable("no room")
        write(route, tokens)

    monkeypatch.setattr(world.store, "_write", full)
    is_full.set()
    waiting = asyncio.create_task(source.get())
    await until(lambda: "no room" in source.state().reason)
    source.client = world.client(timeout=0.1)  # who comes now waits less
    monkeypatch.setattr(token_source, "_LOCK_PATIENCE", 0.1)
    assert "no room" in await refusal(source)
    assert "renews its token just now" in await refusal(other)
    assert world.provider.asked["token"] == 1
    assert not waiting.done()
    is_full.clear()
    token = await waiting
    assert await other.get() == token
    assert world.provider.asked["token"] == 1


async def test_whoever_cannot_write_asks_for_nothing(world: World) -> None:
    await world.log_in()
    folder = world.folder / "oauth"
    (folder / f"{ROUTE}.new").mkdir()
    source = world.source()
    assert "cannot be written" in await refusal(source)
    assert world.provider.asked["token"] == 0
    assert source.state().state == "unreadable"
    (folder / f"{ROUTE}.new").rmdir()
    assert await source.get()


async def test_a_renewal_goes_on_when_the_delivery_that_wanted_it_is_cancelled(world: World) -> None:
    await world.log_in()
    world.provider.pause = 0.2
    source = world.source()
    waiting = asyncio.create_task(source.get())
    await until(lambda: world.provider.asked["token"])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await source.close()
    assert (await world.store.read(ROUTE)).access_token
    world.provider.pause = 0.0
    assert await world.source().get()
    assert world.provider.asked["token"] == 1


async def test_nobody_has_logged_in(world: World) -> None:
    source = world.source()
    text = await refusal(source)
    assert "not logged in" in text
    assert "run: gatepost oauth login out" in text
    assert world.provider.asked["token"] == 0
    await world.log_in()
    assert await source.get()


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        (answer(400, {"error": "invalid_grant"}), "revoked", "run: gatepost oauth login out"),
        (answer(400, {"error": "interaction_required"}), "revoked", "run: gatepost oauth login out"),
        (answer(401, {"error": "invalid_client"}), "refused", "put it into client_secret_file"),
        (answer(400, {"error": "invalid_scope"}), "refused", "correct scopes"),
        (answer(400, {"error": "\u2028evil\x1b[2J"}), "refused", "status 400"),
        (answer(404), "refused", "see whether token_url"),
        (answer(302, None, Location="http://127.0.0.1:1/"), "refused", "redirects are not followed"),
        (answer(429, {"error": "slow"}, Retry_After="7"), "refreshing", "status 429"),
        (answer(503, None, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), "refreshing", "status 503"),
        (answer(500), "refreshing", "status 500"),
        (answer(400, {"error": "temporarily_unavailable"}), "refreshing", "away"),
        (answer(403, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "quota"}}), "refused", "status 403"),
        (answer(200, []), "refreshing", "without a token"),
        (answer(200, {"access_token": "a b"}), "refreshing", "without a token"),
        (answer(200, {"access_token": "a\r\nRCPT"}), "refreshing", "without a token"),
        (answer(200, {"access_token": "x" * 20_000}), "refreshing", "without a token"),
        (answer(200, {"access_token": "x", "token_type": "mac"}), "refreshing", "no bearer token"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000, "refreshing", "without a token"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 1_000_000, "refreshing", "an answer of more than"),
        (b"220 mail.example.org ESMTP\r\n", "refreshing", "away"),
        (b"", "refreshing", "away"),
    ],
)
async def test_what_the_issuer_says_is_named_and_it_is_asked_again_in_time(
    world: World, said: bytes, state: str, words: str
) -> None:
    world.provider.always = said
    await world.log_in()
    source = world.source()
    assert words in await refusal(source)
    assert source.state().state == state
    assert [each.route for each in world.told(TokenTroubled)] == [ROUTE]
    # However often mail wants a token, the issuer is left alone for a while.
    for _ in range(20):
        await refusal(source)
    assert world.provider.asked["token"] == 1
    world.provider.always = None
    world.clock.ahead = 3601.0
    assert not await source.look_after()
    await until(lambda: world.told(TokenRenewed))
    assert await source.look_after()
    assert await source.get()
    assert source.state().state == "valid"


async def test_a_silent_issuer_is_not_waited_for_longer_than_it_may_take(world: World) -> None:
    await world.log_in()
    world.provider.pause = 3600.0
    source = world.source(world.client(timeout=0.05))
    assert "no answer within 0.05 seconds" in await refusal(source)


async def test_retries_grow_rarer_and_a_wish_to_wait_is_kept(world: World) -> None:
    await world.log_in()
    world.provider.always = answer(503)
    source = world.source()
    waits = []
    for _ in range(9):
        await refusal(source)
        wait = (source.state().retry_at or 0.0) - world.clock.now()
        waits.append(round(wait))
        world.clock.ahead += wait + 1
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    world.provider.always = answer(429, None, Retry_After="1234")
    await refusal(source)
    assert round((source.state().retry_at or 0.0) - world.clock.now()) == 1234


async def test_a_start_asks_at_once_whatever_the_last_run_had_noted(world: World) -> None:
    await world.log_in()
    world.provider.answers = [answer(401, {"error": "invalid_client"})]
    await refusal(world.source())
    assert await world.source().get()


async def test_a_refused_token_is_renewed_once_for_all_workers(world: World) -> None:
    await world.log_in()
    one, other = world.source(), world.source()
    stale = await one.get()
    assert await other.get() == stale
    fresh = await asyncio.gather(one.replacement(stale), other.replacement(stale))
    assert fresh[0] == fresh[1] != stale
    assert world.provider.asked["token"] == 2
    # Refused as well: another would be, too.
    assert await one.replacement(fresh[0]) is None
    assert world.provider.asked["token"] == 2
    # It worked, and then no more: that is worth another.
    one.accept(fresh[0])
    assert await one.replacement(fresh[0]) not in (None, stale, fresh[0])


async def test_a_refused_token_that_cannot_be_renewed_is_not_used_again(world: World) -> None:
    await world.log_in()
    source = world.source()
    stale = await source.get()
    world.provider.is_revoked = True
    with pytest.raises(Trouble, match="revoked"):
        await source.replacement(stale)
    assert "revoked" in await refusal(source)


async def test_tokens_of_another_client_or_issuer_are_not_sent(world: World) -> None:
    await world.log_in()
    assert await world.source().get()
    elsewhere = world.source(world.client(token_url=world.provider.url("elsewhere")))
    assert "not logged in" in await refusal(elsewhere)
    assert world.provider.asked["elsewhere"] == 0


async def test_other_scopes_want_another_token_and_no_other_login(world: World) -> None:
    await world.log_in()
    first = await world.source().get()
    assert await world.source(world.client(scopes=("mail",))).get() != first


async def test_a_client_gets_tokens_as_itself(world: World) -> None:
    client = world.client(is_itself=True, scopes=("https://mail.example/.default",), secret_in_body=True)
    source = world.source(client)
    assert await source.get()
    (form,) = world.provider.forms
    assert form["grant_type"] == "client_credentials"
    assert form["scope"] == "https://mail.example/.default"
    world.clock.ahead = 3000.0
    await source.look_after()
    await until(lambda: len(world.told(TokenRenewed)) == 2)
    assert world.provider.asked["token client_credentials"] == 2


async def test_the_end_of_the_client_secret_is_told_once_a_day_by_one_of_all(world: World) -> None:
    await world.log_in()
    client = world.client(secret_expires=world.clock.now() + 10 * 86400)
    sources = [world.source(client), world.source(client)]
    await sources[0].get()
    for each in sources * 3:
        await each.look_after()
    assert len(world.told(ClientSecretEnds)) == 1
    assert sources[1].state().state == "secret expires soon"
    assert sources[1].state().is_good
    assert "ends soon" in sources[1].state().reason
    world.clock.ahead = 11 * 86400.0
    await sources[0].look_after()
    await until(lambda: len(world.told(TokenRenewed)) == 2)
    for each in sources * 2:
        await each.look_after()
    assert len(world.told(ClientSecretEnds)) == 2
    assert "has expired" in sources[1].state().reason


async def test_what_is_kept_opens_only_with_its_key_and_for_its_route(world: World) -> None:
    token = await world.log_in()
    source = world.source()
    await source.get()
    given = {f"token {number}": each for number, each in enumerate(world.provider.given)}
    assert findings(files(world.folder), given) == []
    folder = world.folder / "oauth"
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "other.sealed").write_bytes((folder / f"{ROUTE}.sealed").read_bytes())
    with pytest.raises(StateUnavailable, match="not sealed with this secret_key_file"):
        world.store.read_now("other")
    with pytest.raises(StateUnavailable, match="gatepost oauth login out"):
        TokenStore(world.folder, Keys(Secret(b"j" * KEY_BYTES))).read_now(ROUTE)
    (folder / f"{ROUTE}.sealed").write_bytes(b"damaged")
    with pytest.raises(StateUnavailable):
        world.store.read_now(ROUTE)
    # A worker that knows a good token goes on with it.
    assert await source.get()
    assert source.state().state == "unreadable"
    assert token not in source.state().reason


async def test_nothing_that_is_told_holds_a_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Not even where the issuer says them back."""
    caplog.set_level("DEBUG")
    token = await world.log_in()
    secret = world.provider.client[1]
    world.provider.always = answer(400, {"error": "invalid_grant", "error_description": f"{token} of {secret}"})
    source = world.source()
    text = await refusal(source)
    assert "*** of ***" in text
    said = f"{text}{world.events}{source.state()}{vars(source)}{caplog.text}"
    assert findings({"words": said.encode()}, {"refresh token": token, "client secret": secret}) == []


async def test_they_are_looked_after_without_mail_and_trouble_that_ends_is_told(world: World) -> None:
    working: list[str] = []

    async def works(route: str) -> None:
        working.append(route)

    sources = TokenSources(world.store, world.clock, world.events.append, works)
    mine = sources.make(ROUTE, world.client())
    abandoned = sources.make("gone", world.client())
    world.sources.append(mine)
    del abandoned
    gc.collect()
    running = asyncio.create_task(sources.run())
    await refusal(mine)
    await world.log_in()
    await until(lambda: working)
    assert set(working) == {ROUTE}
    (row,) = sources.states()
    assert (row["route"], row["state"]) == (ROUTE, "valid")
    world.clock.ahead = 3000.0
    await until(lambda: world.provider.asked["token"] == 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
