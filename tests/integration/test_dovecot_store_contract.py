"""The Dovecot store does what every store must, with a real Dovecot behind it."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from contracts.store_contract import Keeper, NameContract
from dovecot import Dovecot
from gatepost.identity.stores.dovecot import DovecotStore
from identities import KEYS, Clock, closing


@dataclass
class DovecotKeeper(Keeper):
    server: Dovecot
    clock: Clock
    users: dict[str, dict[str, str]] = field(default_factory=dict)

    def add_account(self, login: str, **facts: Any) -> None:
        # It cannot be seen without a password whether there is one.
        self.users[login] = {"password": "no"} | {name: _text(value) for name, value in facts.items()}
        self.write(login)

    def add_credential(self, login: str, **facts: Any) -> str:
        names = {"label": "credential", "senders": "only_senders", "networks": "allow_nets"}
        if "expires" in facts:
            facts["expires"] = dt.datetime.fromtimestamp(facts["expires"], dt.UTC).isoformat()
        self.users[login] |= {names.get(name, name): _text(value) for name, value in facts.items()}
        self.users[login] |= {"password": "yes"}
        self.write(login)
        return "password"

    def disable(self, login: str, reason: str) -> None:
        self.users[login]["disabled"] = quote(reason).replace("%", "%%")  # Dovecot's variables begin with one
        self.write(login)

    def remove(self, login: str) -> None:
        del self.users[login]
        self.server.remove_users(login)

    def now(self) -> float:
        return self.clock.now()

    def write(self, login: str) -> None:
        extras = {
            f"gatepost_{name}" if name != "allow_nets" else name: text for name, text in self.users[login].items()
        }
        self.server.user(login, "{PLAIN}x", {f"userdb_{name}": text for name, text in extras.items()})


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(value) if isinstance(value, list) else str(value)


@pytest.fixture(scope="module")
def server() -> Iterator[Dovecot]:
    made = Dovecot()
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture
async def keeper(server: Dovecot) -> AsyncIterator[DovecotKeeper]:
    clock = Clock()
    store = DovecotStore(server.client, KEYS, clock, userdb=server.userdb, cache_seconds=0.0, timeout=60.0)
    made = DovecotKeeper(store, server, clock)
    yield made
    store.close()
    await closing()
    if made.users:
        server.remove_users(*made.users)


class TestDovecotStore(NameContract):
    """What does not hang on verifiers."""
