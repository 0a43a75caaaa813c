"""What tests of identity share: a clock one can move, keys, a database with accounts in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gatepost.identity.accounts import add_account
from gatepost.identity.authority import Authority
from gatepost.identity.credentials import CredentialRow, Restrictions, Rules, add_credential
from gatepost.identity.database import AccountsDatabase, Database
from gatepost.identity.migrate import upgrade
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.store import Store
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.identity.stores.sqlite import SqliteStore
from gatepost.identity.verifiers import Argon2
from gatepost.model.identity import Secret
from gatepost.model.peer import Peer
from gatepost.sasl.registry import MECHANISMS
from gatepost.state.keys import Keys

__all__ = ["ALL", "CHEAP", "KEYS", "PEER", "Book", "Clock", "PostgresBook", "closing"]

ALL = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "CRAM-MD5")
CHEAP = Argon2(memory_bytes=8 * 1024, passes=1, lanes=1)
KEYS = Keys(Secret(bytes(range(32))))
PEER = Peer("192.0.2.7", 40000, "submission")


async def closing() -> None:
    """Let connections that were closed come to their end, which takes some turns of the loop, before it is closed."""
    for _ in range(40):
        await asyncio.sleep(0.001)


@dataclass
class Clock:
    """A clock that stands until it is moved."""

    time: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class Book:
    """A database of accounts, and an authority that reads it."""

    database: AccountsDatabase
    store: Store

    def __init__(self, folder: Path, *, mechanisms: tuple[str, ...] = ALL, iterations: int = 4096) -> None:
        self.path = folder / "accounts.db"
        self.database = Database(self.path)
        upgrade(self.database)
        self.store = SqliteStore(self.path)
        self._open(mechanisms, iterations)

    def _open(self, mechanisms: tuple[str, ...], iterations: int) -> None:
        self.clock = Clock()
        self.iterations = iterations
        self.rules = Rules(mechanisms, {"submission": mechanisms, "devices": mechanisms}, CHEAP)

    def account(self, login: str, **facts: Any) -> None:
        add_account(self.database, KEYS, login, now=self.clock.now(), iterations=self.iterations, **facts)

    def credential(
        self,
        login: str,
        *,
        chosen: str | None = None,
        force: bool = False,
        canary: bool = False,
        label: str = "",
        rules: Rules | None = None,
        **only: Any,
    ) -> tuple[CredentialRow, Secret]:
        self.clock.time += 1
        return add_credential(
            self.database,
            KEYS,
            rules or self.rules,
            login,
            now=self.clock.now(),
            label=label,
            restrictions=Restrictions(**only),
            chosen=None if chosen is None else Secret(chosen.encode()),
            force=force,
            canary=canary,
        )

    def authority(self, **options: Any) -> Authority:
        memory = options.pop("memory", None) or PasswordMemory(KEYS, self.clock)
        pool = options.pop("pool", None) or HashingPool(1)
        options.setdefault("iterations", self.iterations)
        mechanisms = {name: [MECHANISMS[each] for each in those] for name, those in self.rules.listeners.items()}
        return Authority(
            options.pop("stores", None) or [self.store],
            Passwords(pool, memory),
            options.pop("keys", KEYS),
            self.clock,
            mechanisms,
            argon2=CHEAP,
            **options,
        )


class PostgresBook(Book):
    """A database of accounts on a PostgreSQL server, and an authority that reads it."""

    def __init__(self, server: PostgresServer, *, mechanisms: tuple[str, ...] = ALL, iterations: int = 4096) -> None:
        from gatepost.identity.postgres_database import PostgresDatabase
        from gatepost.identity.stores.postgres import PostgresStore

        self.server = server
        self.database = PostgresDatabase(server)
        self.store = PostgresStore(server)
        self._open(mechanisms, iterations)
