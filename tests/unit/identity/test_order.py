"""Several stores in order: who speaks for a name, and what is said while one is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.store import Account, Checked, Credential, PasswordStore, Survey
from gatepost.identity.stores.order import Found, StoresInOrder
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.observe.events import Event, StoreAway, StoreBack

SECRET = Secret(b"open sesame")
TIM, ANN = Account("tim", b"one", 4096), Account("ann", b"two", 4096)


@dataclass
class Shelf:
    """A store that holds what a test says, and is away when a test says so."""

    name: str
    accounts: Mapping[str, Account]
    away: bool = False
    asked: list[str] = field(default_factory=list)

    async def find(self, login: str) -> Account | None:
        self.asked.append(login)
        if self.away:
            raise StoreUnavailable("gone fishing")
        return self.accounts.get(login)

    async def has_changed(self) -> bool:
        return False

    async def survey(self, now: float) -> Survey:
        return Survey()

    def close(self) -> None:
        self.asked.append("close")


@dataclass
class Oracle(Shelf):
    """A store that checks passwords itself."""

    async def check(self, login: str, password: Secret, peer: Peer | None = None) -> Checked | None:
        account = await self.find(login)
        return None if account is None else Checked(account, Credential("key") if password == SECRET else None)


async def test_the_first_that_knows_a_name_speaks_for_it() -> None:
    one, two = Shelf("one", {"tim": TIM}), Shelf("two", {"tim": ANN, "ann": ANN})
    stores = StoresInOrder([one, two])
    assert await stores.look("tim") == Found(TIM)
    assert await stores.look("ann") == Found(ANN)
    assert await stores.look("nobody") == Found(None)
    assert await stores.find("ann") is ANN
    assert await stores.find("nobody") is None
    assert two.asked == ["ann", "nobody", "ann", "nobody"]
    stores.close()
    assert (one.asked[-1], two.asked[-1]) == ("close", "close")


async def test_while_the_first_is_away_nothing_is_said_of_any_name() -> None:
    one, two = Shelf("one", {}, away=True), Shelf("two", {"ann": ANN})
    stores = StoresInOrder([one, two])
    for login in ("ann", "nobody"):
        with pytest.raises(StoreUnavailable, match="gone fishing"):
            await stores.look(login)
        with pytest.raises(StoreUnavailable):
            await stores.find(login)
    assert two.asked == []


async def test_while_a_later_one_is_away_the_yes_of_those_before_it_counts_and_no_name_is_unknown() -> None:
    one, two, three = Shelf("one", {"tim": TIM}), Shelf("two", {}, away=True), Shelf("three", {"ann": ANN})
    stores = StoresInOrder([one, two, three])
    doubt = "store two away: gone fishing"
    for login in ("ann", "nobody"):
        # Also a name that a later one knows: the one that is away would have spoken first.
        assert await stores.look(login) == Found(None, doubt)
        with pytest.raises(StoreUnavailable, match="gone fishing"):
            await stores.find(login)
    assert await stores.look("tim") == Found(TIM, doubt)
    assert await stores.find("tim") is TIM
    assert three.asked == []


async def test_that_one_is_away_and_back_is_told_once_each() -> None:
    told: list[Event] = []
    one, two = Shelf("one", {}), Shelf("two", {"ann": ANN}, away=True)
    stores = StoresInOrder([one, two], told.append)
    for _ in range(3):
        await stores.look("ann")
    assert told == [StoreAway("two", "gone fishing")]
    assert stores.away == ("two",)
    two.away = False
    for _ in range(2):
        stores.is_back(1)
    assert told[1:] == [StoreBack("two")]
    assert stores.away == ()
    assert await stores.look("ann") == Found(ANN)


async def test_a_store_that_answers_is_back() -> None:
    told: list[Event] = []
    one = Shelf("one", {"tim": TIM}, away=True)
    stores = StoresInOrder([one], told.append)
    with pytest.raises(StoreUnavailable):
        await stores.look("tim")
    one.away = False
    assert await stores.look("nobody") == Found(None)
    assert told == [StoreAway("one", "gone fishing"), StoreBack("one")]


async def test_an_answer_of_a_store_that_checks_passwords_itself_may_be_remembered_and_is_no_sign_of_life() -> None:
    told: list[Event] = []
    one = Oracle("one", {"tim": TIM}, away=True)
    stores = StoresInOrder([one], told.append)
    with pytest.raises(StoreUnavailable):
        await stores.look("tim", SECRET)
    one.away = False
    assert (await stores.look("tim", SECRET)).doubt == "store one away: gone fishing"
    stores.is_back(0)
    assert (await stores.look("tim", SECRET)).doubt == ""
    assert told == [StoreAway("one", "gone fishing"), StoreBack("one")]


async def test_a_store_that_checks_passwords_itself_is_given_them_and_no_other_is() -> None:
    one, two = Shelf("one", {"tim": TIM}), Oracle("two", {"ann": ANN})
    assert isinstance(two, PasswordStore)
    assert not isinstance(one, PasswordStore)
    stores = StoresInOrder([one, two])
    assert await stores.look("tim", SECRET) == Found(TIM)
    assert await stores.look("ann", SECRET) == Found(ANN, is_checked=True, opened=Credential("key"))
    assert await stores.look("ann", Secret(b"wrong")) == Found(ANN, is_checked=True)
    assert await stores.look("nobody", SECRET) == Found(None)
    assert await stores.look("ann") == Found(ANN)
