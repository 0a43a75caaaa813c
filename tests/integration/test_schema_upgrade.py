"""A database of the first schema is brought up to date, and whoever logged in before does afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from gatepost.identity.accounts import show_account
from gatepost.identity.authority import Authority
from gatepost.identity.credentials import list_credentials
from gatepost.identity.database import Database
from gatepost.identity.decoys import Decoys
from gatepost.identity.passwords import HashingPool, PasswordMemory, Passwords
from gatepost.identity.sealing import Sealer
from gatepost.identity.store import HMAC_MD5
from gatepost.identity.stores.sqlite import SCHEMA_VERSION, SqliteStore, is_current
from gatepost.identity.verifiers import make
from gatepost.model.identity import Secret
from gatepost.sasl.registry import MECHANISMS
from identities import ALL, CHEAP, KEYS, Clock
from integration.test_authority import _log_in

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
