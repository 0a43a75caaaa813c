"""The SQLite store does what every store must."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from contracts.store_contract import Keeper, StoreContract
from gatepost.errors import StoreUnavailable
from gatepost.identity.accounts import remove_account, set_state
from gatepost.identity.credentials import Rules, revoke_credential
from gatepost.identity.store import HMAC_MD5
from identities import ALL, CHEAP, Book


@dataclass
class SqliteKeeper(Keeper):
    book: Book

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
def keeper(tmp_path: Path) -> Iterator[SqliteKeeper]:
    book = Book(tmp_path)
    yield SqliteKeeper(book.store, book)
    book.store.close()


@pytest.mark.parametrize("junk", ["junk", "5", ""])
@pytest.mark.parametrize("place", ["credentials.listeners", "accounts.senders"])
async def test_what_somebody_else_wrote_is_trouble_of_the_store_and_passes(keeper: SqliteKeeper, place, junk):
    """Anything else would end the watch over the stores for good, or be put down to the client."""
    keeper.add_account("tim")
    keeper.add_credential("tim", lacking=[HMAC_MD5])
    table, column = place.split(".")
    with contextlib.closing(sqlite3.connect(keeper.book.path, isolation_level=None)) as connection:
        [good] = connection.execute(f"SELECT {column} FROM {table}").fetchone()
        connection.execute(f"UPDATE {table} SET {column} = ?", (junk,))
        with pytest.raises(StoreUnavailable, match="did not write"):
            await keeper.store.find("tim")
        if place == "credentials.listeners":
            with pytest.raises(StoreUnavailable, match="did not write"):
                await keeper.store.survey(keeper.now())
        connection.execute(f"UPDATE {table} SET {column} = ?", (good,))
    assert await keeper.store.find("tim")
    assert await keeper.store.survey(keeper.now())


class TestSqliteStore(StoreContract):
    """All of the contract."""
