"""What every credential store must do: run on each of them, unchanged."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatepost.identity.store import HMAC_MD5, SCRAM_SHA_256, Store, Work
from gatepost.model.identity import parse_sender_pattern

__all__ = ["Keeper", "NameContract", "StoreContract"]


@dataclass
class Keeper:
    """The store under test, and the ways in which whoever keeps its accounts changes it."""

    store: Store
    spare: str = field(default=HMAC_MD5, kw_only=True)
    """Scheme of a verifier that a credential of this store may have or lack."""
    others: tuple[str, ...] = field(default=(SCRAM_SHA_256,), kw_only=True)
    """Schemes of verifiers that it has nevertheless."""

    def add_account(self, login: str, **facts: Any) -> None:
        raise NotImplementedError

    def add_credential(self, login: str, **facts: Any) -> str:
        """Add one with every verifier it can have, or without those named by ``lacking``; return its id."""
        raise NotImplementedError

    def disable(self, login: str, reason: str) -> None:
        raise NotImplementedError

    def remove(self, login: str) -> None:
        raise NotImplementedError

    def revoke(self, credential: str) -> None:
        raise NotImplementedError

    def now(self) -> float:
        raise NotImplementedError


class NameContract:
    """Of stores that check passwords themselves, too.  Inherit, and give a fixture ``keeper``."""

    async def test_an_unknown_name_is_nobody(self, keeper: Keeper) -> None:
        assert await keeper.store.find("nobody") is None
        keeper.add_account("tim@example.org")
        for other in ("tim", "tim@example.orgx", "tim@example.or", "%", "", "tim@example.org'--", "x" * 1000):
            assert await keeper.store.find(other) is None

    async def test_an_account_has_the_facts_it_was_given(self, keeper: Keeper) -> None:
        keeper.add_account(
            "tim@example.org",
            senders=["tim@example.org", "*@example.net", "*"],
            max_message_bytes=1000,
            max_recipients=3,
            null_sender=True,
        )
        account = await keeper.store.find("tim@example.org")
        assert account is not None
        assert account.is_active
        assert [str(each) for each in account.senders] == ["tim@example.org", "*@example.net", "*"]
        assert (account.max_message_bytes, account.max_recipients, account.null_sender) == (1000, 3, True)
        assert len(account.salt) == 16
        assert account.iterations >= 4096
        assert account.credentials == ()

    async def test_what_was_not_given_is_none(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        account = await keeper.store.find("tim")
        assert account is not None
        assert (account.max_message_bytes, account.max_recipients, account.null_sender) == (None, None, None)
        assert account.senders == ()

    async def test_a_credential_has_the_facts_it_was_given(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        expires = keeper.now() + 60
        number = keeper.add_credential(
            "tim",
            label="printer",
            mechanisms=["PLAIN"],
            listeners=["devices"],
            networks=["192.0.2.0/24", "2001:db8::/32"],
            senders=["printer@example.org"],
            expires=expires,
            sandbox=True,
        )
        account = await keeper.store.find("tim")
        assert account is not None
        (credential,) = account.credentials
        assert (credential.id, credential.label, credential.sandbox) == (number, "printer", True)
        assert credential.mechanisms == {"PLAIN"}
        assert credential.listeners == {"devices"}
        assert credential.networks == (ipaddress.ip_network("192.0.2.0/24"), ipaddress.ip_network("2001:db8::/32"))
        assert credential.senders == (parse_sender_pattern("printer@example.org"),)
        assert credential.expires == expires
        assert credential.revoked is None
        identity = account.identity(credential)
        assert (identity.account, identity.credential, identity.label) == ("tim", number, "printer")
        assert identity.only_senders == credential.senders

    async def test_a_change_is_seen_at_the_next_look_up(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        assert await keeper.store.find("tim") is not None
        number = keeper.add_credential("tim")
        account = await keeper.store.find("tim")
        assert account is not None
        assert [each.id for each in account.credentials] == [number]
        keeper.disable("tim", "left us")
        account = await keeper.store.find("tim")
        assert account is not None
        assert (account.is_active, account.state_reason) == (False, "left us")
        keeper.remove("tim")
        assert await keeper.store.find("tim") is None

    async def test_an_account_made_anew_does_not_inherit(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        keeper.add_credential("tim")
        keeper.remove("tim")
        keeper.add_account("tim")
        account = await keeper.store.find("tim")
        assert account is not None
        assert account.credentials == ()


class StoreContract(NameContract):
    """Of stores that hand over verifiers."""

    async def test_credentials_that_stand_come_before_revoked_ones(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        first, second, third = (keeper.add_credential("tim", label=label) for label in "abc")
        keeper.revoke(third)
        account = await keeper.store.find("tim")
        assert account is not None
        assert {each.id for each in account.credentials[:2]} == {first, second}
        assert account.credentials[2].id == third
        assert account.credentials[2].revoked is not None
        assert all(SCRAM_SHA_256 in each.verifiers for each in account.credentials)

    async def test_all_records_of_an_account_share_salt_and_count(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        for label in "abc":
            keeper.add_credential("tim", label=label)
        account = await keeper.store.find("tim")
        assert account is not None
        records = {each.verifiers[SCRAM_SHA_256].reveal().split(b"$")[1] for each in account.credentials}
        assert len(records) == 1
        assert records.pop().startswith(str(account.iterations).encode() + b":")

    async def test_a_change_is_noticed_and_a_survey_settles_it(self, keeper: Keeper) -> None:
        assert await keeper.store.has_changed()
        await keeper.store.survey(keeper.now())
        assert not await keeper.store.has_changed()
        keeper.add_account("tim")
        assert await keeper.store.has_changed()
        await keeper.store.survey(keeper.now())
        assert not await keeper.store.has_changed()

    async def test_an_empty_store_lacks_nothing(self, keeper: Keeper) -> None:
        survey = await keeper.store.survey(keeper.now())
        assert not any(survey.lacking.values())
        assert (dict(survey.iterations), dict(survey.work), survey.next_expiry) == ({}, {}, None)

    async def test_a_survey_counts_accounts(self, keeper: Keeper) -> None:
        for login in ("tim", "ann"):
            keeper.add_account(login)
            keeper.add_credential(login)
        survey = await keeper.store.survey(keeper.now())
        assert sum(survey.iterations.values()) == 2
        assert dict(survey.work) == {Work(pbkdf2=True): 2}

    async def test_a_survey_names_the_listeners_of_what_lacks_a_verifier(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        keeper.add_credential("tim")
        assert not (await keeper.store.survey(keeper.now())).lacking[keeper.spare]
        keeper.add_credential("tim", lacking=[keeper.spare], listeners=["devices"])
        everywhere = keeper.add_credential("tim", lacking=[keeper.spare])
        survey = await keeper.store.survey(keeper.now())
        assert survey.lacking[keeper.spare] == {frozenset(), frozenset({"devices"})}
        assert all(not those for scheme, those in survey.lacking.items() if scheme in keeper.others)
        keeper.revoke(everywhere)
        assert (await keeper.store.survey(keeper.now())).lacking[keeper.spare] == {frozenset({"devices"})}

    async def test_what_is_disabled_or_expired_lacks_nothing(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        keeper.add_credential("tim", lacking=[keeper.spare], expires=keeper.now() + 60)
        survey = await keeper.store.survey(keeper.now())
        assert survey.lacking[keeper.spare]
        assert survey.next_expiry == pytest.approx(keeper.now() + 60, abs=2)
        later = await keeper.store.survey(keeper.now() + 120)
        assert not later.lacking[keeper.spare]
        assert later.next_expiry is None
        keeper.add_credential("tim", lacking=[keeper.spare])
        keeper.disable("tim", "")
        assert not (await keeper.store.survey(keeper.now())).lacking[keeper.spare]

    async def test_secrets_do_not_show(self, keeper: Keeper) -> None:
        keeper.add_account("tim")
        keeper.add_credential("tim")
        account = await keeper.store.find("tim")
        assert account is not None
        assert "SCRAM-SHA-256$" not in repr(account)
        assert "***" in repr(account)
