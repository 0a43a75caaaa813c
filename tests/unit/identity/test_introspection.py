"""What an issuer said of a token: how long it is remembered, how much of it, and when it is asked again."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.errors import StoreUnavailable
from gatepost.identity.introspection import Introspection
from gatepost.identity.issuer import Issuer
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.identity import Secret
from identities import Clock
from tokens import AUDIENCE, ISSUER


class Provider:
    """An issuer in memory that says of each token what a test lets it say."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.told: list[str] = []
        self.asked: list[str] = []
        self.facts: dict[str, Any] = {}
        self.raw: bytes | None = None
        self.problem: Exception | None = None
        self.introspection = Introspection(
            self.endpoint,
            self,  # type: ignore[arg-type]
            "gatepost",
            Secret(b"s3cret"),
            key=bytes(32),
            clock=self.clock,
            tell=self.told.append,
            **options,
        )
        self.issuer = Issuer(ISSUER, AUDIENCE, self.introspection)

    async def endpoint(self) -> str:
        return "https://login.example.org/introspect"

    async def post(self, url: str, form: dict[str, str], login: str, password: Secret) -> bytes:
        assert (url, login, password.reveal()) == ("https://login.example.org/introspect", "gatepost", b"s3cret")
        self.asked.append(form["token"])
        await asyncio.sleep(0)
        if self.problem is not None:
            raise self.problem
        facts = {"active": True, "sub": "tim@example.org", "aud": AUDIENCE, **self.facts}
        return self.raw if self.raw is not None else json.dumps(facts).encode()

    def close(self) -> None:
        pass

    async def verify(self, token: str = "opaque") -> TokenSubject | TokenInvalid:
        return await self.introspection.verify(Secret(token.encode()), self.issuer)

    async def review(self) -> bool:
        """Look, and let what was begun come to its end."""
        began = self.introspection.review(self.issuer)
        while self.introspection._reviews:
            await asyncio.sleep(0)
        return began


_GOOD = TokenSubject("tim@example.org", ISSUER)


@pytest.mark.rfc("7662 §4")
async def test_a_yes_is_remembered_for_its_time_and_not_past_the_expiry() -> None:
    provider = Provider()
    assert [await provider.verify() for _ in range(3)] == [_GOOD] * 3
    assert len(provider.asked) == 1
    provider.clock.time += 60
    provider.facts = {"exp": provider.clock.now() + 20}
    await provider.verify()
    provider.clock.time += 19
    await provider.verify()
    assert len(provider.asked) == 2
    provider.clock.time += 1
    provider.facts["active"] = False
    assert await provider.verify() == TokenInvalid("token not active, says its issuer")
    assert len(provider.asked) == 3


async def test_a_no_is_never_remembered() -> None:
    provider = Provider()
    provider.facts = {"active": False}
    for _ in range(3):
        assert isinstance(await provider.verify(), TokenInvalid)
    assert len(provider.asked) == 3
    provider.facts = {}
    assert await provider.verify() == _GOOD


async def test_what_is_remembered_is_bounded_and_goes_when_its_time_is_over() -> None:
    provider = Provider(cache_entries=10)
    for number in range(50):
        await provider.verify(f"token {number}")
    assert len(provider.introspection._known) == 10
    provider.clock.time += 61
    await provider.verify("late")
    assert len(provider.introspection._known) == 1
    forgetful = Provider(cache_seconds=0.0)
    await forgetful.verify()
    await forgetful.verify()
    assert (len(forgetful.asked), len(forgetful.introspection._known)) == (2, 0)


async def test_no_token_is_kept_in_clear_once_nobody_uses_it() -> None:
    provider = Provider()
    judged = await provider.verify("very-secret-token")
    assert isinstance(judged, TokenSubject)
    assert len(provider.introspection._held) == 1
    del judged
    gc.collect()
    assert len(provider.introspection._held) == 0
    assert "very-secret-token" not in repr(provider.introspection._known)


async def test_tokens_of_open_sessions_are_asked_about_again_and_again() -> None:
    provider = Provider()
    judged = await provider.verify()
    assert isinstance(judged, TokenSubject)
    assert judged.standing is not None
    for seconds, asked in ((59, 1), (1, 2), (59, 2), (1, 3)):
        provider.clock.time += seconds
        assert not await provider.review()
        assert len(provider.asked) == asked
    provider.facts = {"active": False}
    provider.clock.time += 60
    assert not await provider.review()
    assert judged.standing.ended == "token not active, says its issuer"
    assert await provider.review()
    assert not await provider.review()
    provider.clock.time += 3600
    await provider.review()
    assert len(provider.asked) == 4


async def test_a_no_to_one_session_ends_the_others_of_the_same_token() -> None:
    provider = Provider(cache_seconds=1.0)
    judged = await provider.verify()
    assert isinstance(judged, TokenSubject)
    assert judged.standing is not None
    provider.clock.time += 1
    provider.facts = {"sub": "ann@example.org"}
    again = await provider.verify()
    assert isinstance(again, TokenSubject)
    assert judged.standing.ended == "token of another login"
    assert again.standing is not None
    assert not again.standing.ended
    assert await provider.review()


async def test_of_many_open_sessions_none_waits_for_its_turn_for_ever() -> None:
    provider = Provider()
    judged = [await provider.verify(f"token {number}") for number in range(600)]
    provider.facts = {"active": False}
    began = provider.clock.now()
    while provider.clock.now() - began < 63:
        provider.clock.time += 1
        await provider.review()
    assert [each for each in judged if isinstance(each, TokenSubject) and not each.standing.ended] == []  # type: ignore[union-attr]


async def test_whose_time_came_first_is_asked_about_first() -> None:
    provider = Provider()
    held = [await provider.verify("first"), await provider.verify("second")]
    provider.clock.time += 60
    held.append(await provider.verify("first"))
    provider.clock.time += 60
    provider.asked.clear()
    await provider.review()
    assert provider.asked == ["second", "first"]
    assert held == [_GOOD] * 3


async def test_while_an_issuer_is_away_one_token_at_a_time_is_asked_about() -> None:
    provider = Provider()
    judged = [await provider.verify(f"token {number}") for number in range(20)]
    assert len(judged) == 20
    provider.problem = OSError("no route")
    provider.clock.time += 60
    await provider.review()
    assert len(provider.asked) == 20 + 8
    await provider.review()
    assert len(provider.asked) == 20 + 9
    assert provider.told == ["no route"]
    assert not any(each.standing.ended for each in judged)  # type: ignore[union-attr]
    provider.problem = None
    provider.clock.time += 5
    for _ in range(5):
        await provider.review()
    assert provider.told == ["no route", ""]
    assert len(provider.asked) == 20 + 9 + 20


async def test_one_who_leaves_does_not_take_the_answer_of_others_along() -> None:
    provider = Provider()
    first, second = asyncio.create_task(provider.verify()), asyncio.create_task(provider.verify())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == _GOOD
    assert len(provider.asked) == 1


async def test_an_answer_that_says_two_things_is_none() -> None:
    provider = Provider()
    facts = json.dumps({"sub": "tim@example.org", "aud": AUDIENCE})[1:]
    provider.raw = f'{{"active": false, "active": true, {facts}'.encode()
    with pytest.raises(StoreUnavailable, match="key twice"):
        await provider.verify()
    provider.raw = f'{{"active": true, {facts}'.encode()
    assert await provider.verify() == _GOOD


@pytest.mark.rfc("7662 §2.2")
@given(
    st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["active", "sub", "aud", "exp", "nbf", "iss", "scope", "typ", "cnf"]),
                    inner,
                    max_size=6,
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
@settings(max_examples=200, deadline=None)
async def test_a_hostile_answer_is_never_a_yes_and_raises_nothing_else(raw: bytes) -> None:
    provider = Provider()
    provider.raw = raw
    try:
        judged: object = await provider.verify()
    except StoreUnavailable as error:
        judged = error
    # Our audience is none of what is made up here.
    assert isinstance(judged, TokenInvalid | StoreUnavailable)
    assert "opaque" not in str(judged)
