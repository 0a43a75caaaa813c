"""The tables of the node's state file, and how an older file is brought up to date.

Small things that all processes of a node share and that may be lost: none of it is mail, none of it lets anybody in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gatepost.errors import ConfigError

__all__ = ["MIGRATIONS", "migrate"]

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # Failed logins, and those that may become one, by slice of time (`gatepost.state.guesses`).
        """
        CREATE TABLE guess (
            subject TEXT NOT NULL,
            slice   INTEGER NOT NULL,
            count   INTEGER NOT NULL,
            PRIMARY KEY (subject, slice)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX guess_by_slice ON guess (slice)",
        # Whence a login succeeded, and on which day last (`gatepost.state.homes`).
        """
        CREATE TABLE home (
            login   TEXT NOT NULL,
            address TEXT NOT NULL,
            day     INTEGER NOT NULL,
            PRIMARY KEY (login, address)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX home_by_day ON home (day)",
    ),
    (
        # What accounts used of their quotas, and processes set aside, by slice of time (`gatepost.state.counters`).
        """
        CREATE TABLE quota (
            account TEXT NOT NULL,
            quota   TEXT NOT NULL,
            slice   INTEGER NOT NULL,
            amount  INTEGER NOT NULL,
            PRIMARY KEY (account, quota, slice)
        ) WITHOUT ROWID
        """,
        # When a credential was last used, how, and whence (`gatepost.state.last_used`).
        """
        CREATE TABLE last_used (
            account    TEXT NOT NULL,
            credential TEXT NOT NULL,
            time       REAL NOT NULL,
            address    TEXT NOT NULL,
            mechanism  TEXT NOT NULL,
            tls        TEXT NOT NULL,
            client     TEXT NOT NULL,
            uses       INTEGER NOT NULL,
            PRIMARY KEY (account, credential)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX last_used_by_time ON last_used (time)",
    ),
    (
        # The clients that used a credential lately, some of each (`gatepost.state.last_used`).
        """
        CREATE TABLE client_use (
            account    TEXT NOT NULL,
            credential TEXT NOT NULL,
            address    TEXT NOT NULL,
            client     TEXT NOT NULL,
            mechanism  TEXT NOT NULL,
            time       REAL NOT NULL,
            PRIMARY KEY (account, credential, address, client, mechanism)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX client_use_by_time ON client_use (time)",
    ),
    (
        # Messages that were kept, and whose client cannot know it (`gatepost.state.unheard`).
        """
        CREATE TABLE unheard (
            fingerprint BLOB NOT NULL PRIMARY KEY,
            message     TEXT NOT NULL,
            until       REAL NOT NULL
        ) WITHOUT ROWID
        """,
        "CREATE INDEX unheard_by_until ON unheard (until)",
    ),
)
"""What made each version from the one before; `PRAGMA user_version` counts them.  Entries are only ever added."""


def migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the file up to date: each step is one transaction; another process may be doing the same.

    Raises:
        ConfigError: a newer gatepost wrote it.
        sqlite3.Error: it cannot be written, or is no database.
    """
    while (version := _version(connection, path, len(migrations))) < len(migrations):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _version(connection, path, len(migrations)) == version:
                for statement in migrations[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _version(connection: sqlite3.Connection, path: Path, known: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > known:
        raise ConfigError(
            f"{path}: this file is of version {version}, written by a newer gatepost; this one knows {known}: "
            "run the newer one, or move the file away (limits and quotas then begin anew)"
        )
    return version
