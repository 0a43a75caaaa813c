"""A database of the first schema is brought up to date, and whoever logged in before does afterwards."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.accounts import list_accounts, show_account
from gatepost.identity.authority import Authority
from gatepost.identity.credentials import list_credentials
from gatepost.identity.database import Database
from gatepost.identity.decoys import Decoys
from gatepost.identity.migrate import upgrade
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.postgres_database import PostgresDatabase
from gatepost.identity.schema import METADATA
from gatepost.identity.sealing import Sealer
from gatepost.identity.store import HMAC_MD5
from gatepost.identity.stores.postgres import PostgresStore
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.identity.stores.sqlite import SCHEMA_VERSION, SqliteStore, is_current
from gatepost.identity.verifiers import make
from gatepost.model.identity import Secret
from gatepost.sasl.registry import MECHANISMS
from identities import ALL, CHEAP, KEYS, Clock
from integration.test_authority import _log_in
from private_postgres import PASSWORD, PrivatePostgres

SECRET = Secret(b"correct horse battery")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """Return a database as the first version left it, with two accounts."""
    path = tmp_path / "accounts.db"
    database = Database(path)
    database.make()
    config = Config()
    config.set_main_option("script_location", "gatepost.identity:migrations")
    config.set_main_option("path_separator", "os")
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with sqlite3.connect(path) as plain:
        for number, (login, state) in enumerate((("tim@example.org", "active"), ("ann@example.org", "disabled")), 1):
            salt = Decoys(KEYS).salt(login)
            plain.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, 'left us', ?, NULL, 5, NULL, ?, 4096, 1.0)",
                (number, login, state, f'["{login}"]', salt),
            )
            plain.execute(
                "INSERT INTO credentials VALUES (?, ?, 'laptop', 'chosen', '[]', '[]', '[\"192.0.2.0/24\"]', '[]',"
                " NULL, 0, 1.0, NULL)",
                (f"c{number}", number),
            )
            made = make(SECRET, is_chosen=True, mechanisms=ALL, salt=salt, iterations=4096, argon2=CHEAP)
            made[HMAC_MD5] = Secret(Sealer(KEYS).seal(f"c{number}", HMAC_MD5, made[HMAC_MD5]))
            plain.executemany(
                "INSERT INTO verifiers VALUES (?, ?, ?)",
                [(f"c{number}", scheme, verifier.reveal()) for scheme, verifier in made.items()],
            )
    plain.close()
    return path


def migrate(path: Path) -> None:
    """Bring it up to date as ``gatepost serve`` does."""
    subprocess.run([sys.executable, "-m", "gatepost.identity.migrate", str(path)], check=True)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"])
async def test_a_database_of_the_first_schema_keeps_its_logins(old: Path, mechanism: str) -> None:
    assert not is_current(old)
    await asyncio.to_thread(migrate, old)
    assert is_current(old)
    store, clock = SqliteStore(old), Clock()
    authority = Authority(
        [store],
        Passwords(HashingPool(1), PasswordMemory(KEYS, clock)),
        KEYS,
        clock,
        {"submission": [MECHANISMS[each] for each in ALL]},
        argon2=CHEAP,
    )
    await authority.refresh()
    identity, reason, _, _ = await _log_in(authority, mechanism, "tim@example.org", SECRET.reveal())
    assert identity is not None, reason
    assert (identity.account, identity.credential, identity.label, identity.max_recipients) == (
        "tim@example.org", "c1", "laptop", 5,
    )  # fmt: skip
    assert (identity.only_recipients, identity.messages_per_minute) == ((), None)
    for login, password, why in (
        ("ann@example.org", SECRET.reveal(), "account disabled: left us"),
        ("tim@example.org", b"another one", "wrong"),
    ):
        identity, reason, _, _ = await _log_in(authority, mechanism, login, password)
        assert identity is None
        assert why in reason
    authority.close()


def test_what_is_new_is_empty_and_nothing_else_has_changed(old: Path) -> None:
    with sqlite3.connect(old) as plain:
        tables = ("accounts", "credentials", "verifiers")
        before = {each: plain.execute(f"SELECT * FROM {each} ORDER BY 1, 2").fetchall() for each in tables}
    plain.close()
    for _ in range(2):
        migrate(old)
    with sqlite3.connect(old) as plain:
        after = {each: plain.execute(f"SELECT * FROM {each} ORDER BY 1, 2").fetchall() for each in tables}
        assert plain.execute("PRAGMA foreign_key_check").fetchall() == []
        assert plain.execute("SELECT version_num FROM alembic_version").fetchall() == [(SCHEMA_VERSION,)]
    plain.close()
    for table, rows in before.items():
        assert [row[: len(rows[0])] for row in after[table]] == rows
    account = show_account(Database(old), "tim@example.org")
    assert (account.state_at(0.0), account.contact) == ("active", "")
    rows = list_credentials(Database(old))
    assert [(each.state(2.0), each.recipients, each.is_canary) for each in rows] == [("active", (), False)] * 2


@pytest.fixture
def old_postgres(postgres: PrivatePostgres) -> Iterator[PostgresServer]:
    """Return a PostgreSQL database with the tables of the first version, and two accounts."""
    server = postgres.server(postgres.database())
    database = PostgresDatabase(server)
    upgrade(database, "0001")
    with database.writing() as connection:
        for number, (login, state) in enumerate((("tim@example.org", "active"), ("ann@example.org", "disabled")), 1):
            salt = Decoys(KEYS).salt(login)
            values = {"n": number, "login": login, "state": state, "senders": f'["{login}"]', "salt": salt}
            connection.execute(
                text(
                    "INSERT INTO accounts (id, login, state, state_reason, senders, max_recipients, salt, iterations,"
                    " created) VALUES (:n, :login, :state, 'left us', :senders, 5, :salt, 4096, 1.0)"
                ),
                values,
            )
            connection.execute(
                text(
                    "INSERT INTO credentials VALUES (:id, :n, 'laptop', 'chosen', '[]', '[]', '[\"192.0.2.0/24\"]',"
                    " '[]', NULL, false, 1.0, NULL)"
                ),
                {"id": f"c{number}", "n": number},
            )
            made = make(SECRET, is_chosen=True, mechanisms=ALL, salt=salt, iterations=4096, argon2=CHEAP)
            made[HMAC_MD5] = Secret(Sealer(KEYS).seal(f"c{number}", HMAC_MD5, made[HMAC_MD5]))
            for scheme, verifier in made.items():
                connection.execute(
                    text("INSERT INTO verifiers VALUES (:id, :scheme, :value)"),
                    {"id": f"c{number}", "scheme": scheme, "value": verifier.reveal()},
                )
    yield server
    postgres.drop(server.database)


def migrate_postgres(server: PostgresServer) -> None:
    """Bring it up to date as ``gatepost serve`` does."""
    told = json.dumps(server.to_words()).encode()
    subprocess.run([sys.executable, "-m", "gatepost.identity.migrate"], input=told, check=True)


async def test_a_postgresql_database_of_the_first_schema_keeps_its_logins(old_postgres: PostgresServer) -> None:
    store = PostgresStore(old_postgres)
    with pytest.raises(StoreUnavailable, match="has schema 0001"):
        await store.find("tim@example.org")
    # Several may do it at once, and once more.
    await asyncio.gather(*(asyncio.to_thread(migrate_postgres, old_postgres) for _ in range(3)))
    store.close()
    store, clock = PostgresStore(old_postgres), Clock()
    authority = Authority(
        [store],
        Passwords(HashingPool(1), PasswordMemory(KEYS, clock)),
        KEYS,
        clock,
        {"submission": [MECHANISMS[each] for each in ALL]},
        argon2=CHEAP,
    )
    await authority.refresh()
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256", "CRAM-MD5"):
        identity, reason, _, _ = await _log_in(authority, mechanism, "tim@example.org", SECRET.reveal())
        assert identity is not None, reason
        assert (identity.credential, identity.label, identity.max_recipients) == ("c1", "laptop", 5)
        identity, reason, _, _ = await _log_in(authority, mechanism, "ann@example.org", SECRET.reveal())
        assert (identity, reason) == (None, "account disabled: left us")
        identity, reason, _, _ = await _log_in(authority, mechanism, "tim@example.org", b"another one")
        assert identity is None
        assert "wrong" in reason
    authority.close()
    database = PostgresDatabase(old_postgres)
    assert [(each.login, each.contact) for each in list_accounts(database)] == [
        ("ann@example.org", ""), ("tim@example.org", ""),
    ]  # fmt: skip
    rows = list_credentials(database)
    assert [(each.state(2.0), each.recipients, each.is_canary) for each in rows] == [("active", (), False)] * 2


def test_the_migrations_make_the_tables_of_the_schema_on_postgresql_too(accounts_server: PostgresServer) -> None:
    ours = ("accounts_stamp", "credential_uses")
    with PostgresDatabase(accounts_server).reading() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, kind, _: kind != "table" or name not in ours}
        )
        assert compare_metadata(context, METADATA) == []


def test_a_database_of_a_newer_version_is_not_touched(accounts_server: PostgresServer) -> None:
    database = PostgresDatabase(accounts_server)
    with database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="made by another version"):
        upgrade(database)
    told = json.dumps(accounts_server.to_words()).encode()
    done = subprocess.run(
        [sys.executable, "-m", "gatepost.identity.migrate"], input=told, capture_output=True, check=False
    )
    assert (done.returncode, b"another version" in done.stderr, b"Traceback" in done.stderr) == (1, True, False)
    assert PASSWORD.encode() not in done.stderr


def test_a_server_that_is_away_is_told_without_a_traceback() -> None:
    told = json.dumps(PostgresServer("/nowhere", 5432, "x", "x", Secret(b"marked")).to_words()).encode()
    done = subprocess.run(
        [sys.executable, "-m", "gatepost.identity.migrate"], input=told, capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr, b"marked" in done.stderr) == (1, False, False)
