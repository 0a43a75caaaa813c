"""What is on offer, by what the stores hold, and while they are away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.authority import Authority
from gatepost.identity.offer import Offer
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.store import HMAC_MD5, MECHANISM_SCHEMES, SCRAM_SHA_256, Account, Survey, Work
from gatepost.identity.stores.order import StoresInOrder
from gatepost.model.identity import Secret
from gatepost.observe.events import Event, StoreAway, StoreBack
from gatepost.sasl.registry import MECHANISMS
from gatepost.state.keys import Keys
from identities import ALL, Clock

_EVERYWHERE = frozenset({frozenset[str]()})


@dataclass
class Stand:
    """A store that is what a test says."""

    name: str = "stand"
    now: Survey = field(default_factory=Survey)
    changed: bool = True
    away: bool = False
    surveys: int = 0

    async def find(self, login: str) -> Account | None:
        return None

    async def has_changed(self) -> bool:
        if self.away:
            raise StoreUnavailable("gone fishing")
        return self.changed

    async def survey(self, now: float) -> Survey:
        if self.away:
            raise StoreUnavailable("gone fishing")
        self.surveys += 1
        self.changed = False
        return self.now

    def close(self) -> None:
        """Nothing is open."""


def _offer(
    *stores: Stand,
    clock: Clock | None = None,
    has_tokens: bool = True,
    emit: Callable[[Event], None] | None = None,
) -> Offer:
    on = {name: [MECHANISMS[each] for each in ALL] for name in ("submission", "devices")}
    return Offer(StoresInOrder(stores, emit), clock or Clock(), on, has_tokens=has_tokens)


def _names(offer: Offer, listener: str = "submission") -> list[str]:
    return [each.name for each in offer.on(listener)]


async def test_with_no_credential_everything_is_offered_in_order() -> None:
    offer = _offer(Stand())
    assert _names(offer) == list(ALL)
    await offer.refresh()
    assert _names(offer) == list(ALL)
    assert _names(offer, "no such listener") == []


async def test_tokens_need_somebody_to_judge_them() -> None:
    assert _names(_offer(Stand(), has_tokens=False)) == [each for each in ALL if "OAUTH" not in each]


@pytest.mark.parametrize(("mechanism", "scheme"), list(MECHANISM_SCHEMES.items()))
async def test_a_verifier_that_lacks_withdraws_its_mechanism_only(mechanism: str, scheme: str) -> None:
    offer = _offer(Stand(), Stand(now=Survey({scheme: _EVERYWHERE})))
    await offer.refresh()
    assert mechanism not in _names(offer)
    assert _names(offer) == [each for each in ALL if MECHANISM_SCHEMES.get(each) != scheme]


async def test_a_mechanism_is_withdrawn_only_where_the_credential_may_come_in() -> None:
    offer = _offer(Stand(now=Survey({HMAC_MD5: frozenset({frozenset({"devices"})})})))
    await offer.refresh()
    assert "CRAM-MD5" in _names(offer)
    assert "CRAM-MD5" not in _names(offer, "devices")


async def test_a_store_is_looked_at_again_when_it_has_changed_or_something_expired() -> None:
    clock = Clock()
    store = Stand(now=Survey({SCRAM_SHA_256: _EVERYWHERE}, next_expiry=clock.time + 60))
    offer = _offer(store, clock=clock)
    await offer.refresh()
    await offer.refresh()
    assert store.surveys == 1
    assert "SCRAM-SHA-256" not in _names(offer)
    store.now = Survey()
    clock.time += 59
    await offer.refresh()
    assert store.surveys == 1
    clock.time += 1
    await offer.refresh()
    assert store.surveys == 2
    assert "SCRAM-SHA-256" in _names(offer)
    store.changed = True
    await offer.refresh()
    assert store.surveys == 3


async def test_while_a_store_is_away_what_was_known_holds() -> None:
    told: list[Event] = []
    store = Stand(now=Survey({SCRAM_SHA_256: _EVERYWHERE}))
    offer = _offer(store, emit=told.append)
    await offer.refresh()
    store.away = True
    for _ in range(3):
        await offer.refresh()
    assert "SCRAM-SHA-256" not in _names(offer)
    store.away, store.changed, store.now = False, True, Survey()
    await offer.refresh()
    assert "SCRAM-SHA-256" in _names(offer)
    assert told == [StoreAway("stand", "gone fishing"), StoreBack("stand")]


async def test_counts_of_all_stores_are_added() -> None:
    one = Survey(iterations={4096: 2, 15000: 1}, work={Work(pbkdf2=True): 3})
    two = Survey(iterations={15000: 4}, work={Work(argon2=True): 4})
    offer = _offer(Stand(now=one), Stand(now=two))
    await offer.refresh()
    assert dict(offer.iterations) == {4096: 2, 15000: 5}
    assert dict(offer.work) == {Work(pbkdf2=True): 3, Work(argon2=True): 4}


async def test_a_look_says_whether_logins_may_have_ceased_to_count() -> None:
    clock = Clock()
    store = Stand(now=Survey(next_expiry=clock.time + 60))
    offer = _offer(Stand(), store, clock=clock)
    assert await offer.refresh()
    assert not await offer.refresh()
    store.changed = True
    assert await offer.refresh()
    assert not await offer.refresh()
    clock.time += 60
    store.now = Survey()
    assert await offer.refresh()
    assert not await offer.refresh()


async def test_a_change_counts_even_when_the_store_cannot_be_surveyed() -> None:
    class Half(Stand):
        async def survey(self, now: float) -> Survey:
            raise StoreUnavailable("holds what nobody can read")

    assert await _offer(Half()).refresh()


class _Ending(Clock):
    """Ends the watching in its fourth pause."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        if len(self.slept) == 4:
            raise asyncio.CancelledError


def _authority(store: Stand, clock: Clock) -> Authority:
    passwords = Passwords(HashingPool(), PasswordMemory(Keys(Secret(bytes(32))), clock))
    return Authority([store], passwords, Keys(Secret(bytes(32))), clock, {})


async def test_watching_looks_once_a_second_until_cancelled() -> None:
    clock, store = _Ending(), Stand()

    async def changed() -> bool:
        seen.append(store.surveys)
        store.changed = len(seen) < 3
        return True

    seen: list[int] = []
    authority = _authority(store, clock)
    with pytest.raises(asyncio.CancelledError):
        await authority.watch(changed)
    assert clock.slept == [1.0, 1.0, 1.0, 1.0]
    assert seen == [1, 2, 3]  # at the beginning, and at each change; not the fourth time
    authority.close()


async def test_what_could_not_be_done_at_a_change_is_tried_again() -> None:
    clock, store, calls = _Ending(), Stand(), []

    async def changed() -> bool:
        calls.append(clock.time)
        return len(calls) == 3

    authority = _authority(store, clock)
    with pytest.raises(asyncio.CancelledError):
        await authority.watch(changed)
    assert len(calls) == 3
    assert store.surveys == 1
    authority.close()


async def test_watching_ends_when_closed() -> None:
    clock, store = Clock(), Stand()

    async def changed() -> bool:
        authority.close()
        return False

    authority = _authority(store, clock)
    await authority.watch(changed)
    assert store.surveys == 1
