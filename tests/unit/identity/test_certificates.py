"""Whose a client certificate is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from gatepost.errors import StoreUnavailable
from gatepost.identity.certificates import CERTIFICATE_CREDENTIAL, Naming, find_holder
from gatepost.identity.store import CERTIFICATE, Account, Credential, Survey
from gatepost.identity.stores.order import StoresInOrder
from gatepost.model.identity import Secret
from gatepost.model.peer import ClientCertificate

OWN = "ab" * 32
TIM = Account(
    "tim@example.org",
    b"",
    4096,
    credentials=(Credential("abababababab", verifiers={CERTIFICATE: Secret(OWN.encode())}),),
)
ANN = Account("ann@example.org", b"", 4096)


@dataclass
class Shelf:
    """A store without certificates."""

    name: str
    accounts: Mapping[str, Account] = field(default_factory=dict)
    away: bool = False

    async def find(self, login: str) -> Account | None:
        if self.away:
            raise StoreUnavailable("gone fishing")
        return self.accounts.get(login)

    async def has_changed(self) -> bool:
        return False

    async def survey(self, now: float) -> Survey:
        return Survey()

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class Cabinet(Shelf):
    """A store with certificates."""

    async def holder(self, fingerprint: str) -> str | None:
        await self.find("")
        for login, account in self.accounts.items():
            if any(each.verifiers.get(CERTIFICATE) == Secret(fingerprint.encode()) for each in account.credentials):
                return login
        return None


def certificate(*addresses: str, names: tuple[str, ...] = (), fingerprint: str = "cd" * 32) -> ClientCertificate:
    return ClientCertificate(fingerprint, 0, 2e9, addresses, names)


def both(**accounts: Account) -> StoresInOrder:
    return StoresInOrder([Cabinet("one", {each.login: each for each in accounts.values()})])


@pytest.mark.parametrize("naming", ["credential", "email", "common-name"])
async def test_one_that_is_a_credential_counts_as_that_whatever_it_says_of_itself(naming: Naming) -> None:
    shown = certificate(ANN.login, names=(ANN.login,), fingerprint=OWN)
    holder = await find_holder(both(tim=TIM, ann=ANN), shown, naming, "")
    assert (holder.login, holder.credential, holder.problem) == (TIM.login, TIM.credentials[0], "")
    assert holder.found.account is TIM


@pytest.mark.parametrize(
    ("shown", "naming", "claimed", "login", "problem"),
    [
        (certificate(TIM.login), "credential", "", "", "certificate of no credential"),
        (certificate("Ann@EXAMPLE.org"), "email", "", ANN.login, ""),
        (certificate(ANN.login), "email", TIM.login, ANN.login, ""),  # who then may not act as another
        (certificate(ANN.login, "x@example.org"), "email", "", "", "certificate names several, and none is asked for"),
        (certificate(ANN.login, "ANN@example.org"), "email", "", ANN.login, ""),
        (certificate(ANN.login, "x@example.org"), "email", ANN.login, ANN.login, ""),
        (certificate(ANN.login, "x@example.org"), "email", TIM.login, "", "certificate names others"),
        (certificate(names=(ANN.login,)), "email", "", "", "certificate without email"),
        (certificate(names=(ANN.login,)), "common-name", "", ANN.login, ""),
        (certificate(ANN.login), "common-name", "", "", "certificate without common-name"),
        (certificate("", "\0", "a\0b", "x" * 300), "email", "", "", "certificate without email"),
        (certificate("nobody@example.org"), "email", "", "nobody@example.org", "unknown login"),
        (certificate(names=("\uff41nn@example.org",)), "common-name", "", "", "certificate without common-name"),
        (
            certificate(names=("a\u00adnn@example.org",)),
            "common-name",
            ANN.login,
            "",
            "certificate without common-name",
        ),
    ],
)
async def test_what_it_says_counts_where_it_should(
    shown: ClientCertificate, naming: Naming, claimed: str, login: str, problem: str
) -> None:
    holder = await find_holder(both(tim=TIM, ann=ANN), shown, naming, claimed)
    assert (holder.login, holder.problem) == (login, problem)
    expected = None if problem else Credential(CERTIFICATE_CREDENTIAL, shown.fingerprint)
    assert holder.credential == expected


async def test_stores_speak_in_their_order() -> None:
    hidden = Account(TIM.login, b"", 4096)
    stores = StoresInOrder([Shelf("one", {TIM.login: hidden}), Cabinet("two", {TIM.login: TIM})])
    holder = await find_holder(stores, certificate(fingerprint=OWN), "credential", "")
    assert (holder.credential, holder.problem) == (None, "certificate of the same login in another store")


async def test_while_a_store_is_away_that_may_have_revoked_it_nobody_can_say() -> None:
    away = Cabinet("two", {TIM.login: TIM}, away=True)
    stores = StoresInOrder([Shelf("one", {ANN.login: ANN}), away])
    with pytest.raises(StoreUnavailable):
        await find_holder(stores, certificate(ANN.login), "email", "")
    assert stores.away == ("two",)
    away.away = False
    assert (await find_holder(stores, certificate(ANN.login), "email", "")).problem == ""
