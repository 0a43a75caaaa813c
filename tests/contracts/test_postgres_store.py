"""The PostgreSQL store does what every store must, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from contracts.store_contract import Keeper, StoreContract
from gatepost.errors import StoreUnavailable
from gatepost.identity.accounts import remove_account, set_state
from gatepost.identity.credentials import Rules, revoke_credential
from gatepost.identity.store import HMAC_MD5
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.postgres_server import PostgresServer
from identities import ALL, CHEAP, PostgresBook
from private_postgres import PrivatePostgres


@dataclass
class PostgresKeeper(Keeper):
    book: PostgresBook
    server: PrivatePostgres

    def add_account(self, login: str, **facts: Any) -> None:
        self.book.account(login, **facts)

    def add_credential(self, login: str, **facts: Any) -> str:
        lacking = facts.pop("lacking", ())
        rules = Rules([each for each in ALL if each != "CRAM-MD5" or HMAC_MD5 not in lacking], {"devices": ALL}, CHEAP)
        row, _ = self.book.credential(login, rules=rules, force=True, **facts)
        return row.id

    def disable(self, login: str, reason: str) -> None:
        set_state(self.book.database, login, active=False, reason=reason)

    def remove(self, login: str) -> None:
        remove_account(self.book.database, login)

    def revoke(self, credential: str) -> None:
        revoke_credential(self.book.database, credential, now=self.now())

    def now(self) -> float:
        # A credential is added a second later.
        return self.book.clock.now()


@pytest.fixture
async def keeper(postgres: PrivatePostgres, accounts_server: PostgresServer) -> AsyncIterator[PostgresKeeper]:
    book = PostgresBook(accounts_server)
    yield PostgresKeeper(book.store, book, postgres)
    book.store.close()


@pytest.mark.parametrize("junk", ["junk", "5", ""])
@pytest.mark.parametrize("place", ["credentials.listeners", "accounts.senders"])
async def test_what_somebody_else_wrote_is_trouble_of_the_store_and_passes(keeper: PostgresKeeper, place, junk):
    """Anything else would end the watch over the stores for good, or be put down to the client."""
    keeper.add_account("tim")
    keeper.add_credential("tim", lacking=[HMAC_MD5])
    table, column = place.split(".")
    database = keeper.book.server.database
    good = keeper.server.tell(f"SELECT {column} FROM {table}", database=database)[0][0]
    keeper.server.tell(f"UPDATE {table} SET {column} = '{junk}'", database=database)
    with pytest.raises(StoreUnavailable, match="did not write"):
        await keeper.store.find("tim")
    if place == "credentials.listeners":
        with pytest.raises(StoreUnavailable, match="did not write"):
            await keeper.store.survey(keeper.now())
    keeper.server.tell(f"UPDATE {table} SET {column} = '{good}'", database=database)
    assert await keeper.store.find("tim")
    assert await keeper.store.survey(keeper.now())


@pytest.mark.parametrize(
    "name",
    ["tim\0", "\0", "tim\udc80", "\ud800", "tim' OR '1'='1", "$1", "{tim}", "tim\\", "Tim", "tim\u200b", "𐍈" * 500],
)
async def test_no_name_that_somebody_thinks_up_is_trouble_or_somebody(keeper: PostgresKeeper, name: str) -> None:
    keeper.add_account("tim")
    assert await keeper.store.find(name) is None
    assert await keeper.store.find("tim") is not None


@pytest.mark.parametrize("table", ["accounts", "credentials", "verifiers"])
async def test_whoever_changes_a_table_by_hand_is_noticed(keeper: PostgresKeeper, table: str) -> None:
    keeper.add_account("tim")
    number = keeper.add_credential("tim")
    await keeper.store.survey(keeper.now())
    assert await keeper.store.find("tim") is not None
    assert not await keeper.store.has_changed()
    keeper.server.tell(f"DELETE FROM {table}", database=keeper.book.server.database)
    assert await keeper.store.has_changed()
    account = await keeper.store.find("tim")
    if table == "accounts":
        assert account is None
    else:
        assert account is not None
        assert [each.id for each in account.credentials] == ([number] if table == "verifiers" else [])
        assert not any(each.verifiers for each in account.credentials)


async def test_an_unchanged_account_comes_from_memory_and_many_do_not_fill_it(
    keeper: PostgresKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.identity.stores.postgres.ACCOUNTS_REMEMBERED", 3)
    store = keeper.store
    assert isinstance(store, PostgresStore)
    for number in range(5):
        keeper.add_account(f"tim{number}")
    first = await store.find("tim0")
    assert await store.find("tim0") is first
    keeper.add_account("ann")
    again = await store.find("tim0")
    assert again == first
    assert again is not first
    for number in range(5):
        await store.find(f"tim{number}")
        await store.find(f"nobody{number}")
        assert len(store._accounts) <= 3


class TestPostgresStore(StoreContract):
    """All of the contract."""
