"""The database of a spool: its tables, how an older one is brought up to date, how it is opened.

One connection of one process writes; it alone makes checkpoints, for SQLite before 3.51.3 can corrupt a log that two
connections write or checkpoint at once.  Readers open the file read-only, in autocommit, and leave no transaction open.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from gatepost.errors import ConfigError, SpoolUnavailable
from gatepost.spool.lane import ORDINARY_LANE, lane_of

__all__ = ["BODY_FOLDER", "DATABASE_FILE", "MIGRATIONS", "connect_reader", "connect_writer", "migrate"]

DATABASE_FILE: Final = "spool.db"
BODY_FOLDER: Final = "bodies"

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE message (
            id          TEXT PRIMARY KEY,
            due         REAL NOT NULL,
            held        INTEGER NOT NULL,
            accepted_at REAL NOT NULL,
            attempts    INTEGER NOT NULL,
            stalled     REAL NOT NULL,
            file_bytes  INTEGER,
            envelope    TEXT NOT NULL,
            progress    TEXT NOT NULL
        ) WITHOUT ROWID
        """,
        # Not partial, so that it also counts the messages at start: 30 octets each instead of 400.
        "CREATE INDEX message_by_due ON message (held, due)",
        "CREATE INDEX message_by_file ON message (id) WHERE file_bytes IS NOT NULL",
        # The header section, and behind it the body unless that lies in a file.
        "CREATE TABLE content (id TEXT PRIMARY KEY, octets BLOB NOT NULL) WITHOUT ROWID",
    ),
    # How often we died while it was tried.
    ("ALTER TABLE message ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0",),
    # Whose turn it waits for.  A row that cannot be understood is left for somebody to look at.
    (
        f"ALTER TABLE message ADD COLUMN lane INTEGER NOT NULL DEFAULT {ORDINARY_LANE}",
        """
        UPDATE message SET lane = lane_of(json_extract(envelope, '$.account'))
        WHERE CASE WHEN json_valid(envelope) THEN json_type(envelope, '$.account') = 'text' END
        """,
        "CREATE INDEX message_by_lane ON message (held, lane, due)",
    ),
)
"""What made each version from the one before; `PRAGMA user_version` counts them.  Entries are only ever added."""


def connect_writer(folder: Path) -> sqlite3.Connection:
    """Open the database to write.

    Raises:
        sqlite3.Error: it cannot be opened.
        SpoolUnavailable: the file system cannot hold a write-ahead log.
    """
    # Autocheckpoint is off: the writer makes checkpoints after it has told its callers, not while they wait.
    connection = sqlite3.connect(
        folder / DATABASE_FILE, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise SpoolUnavailable(f"{folder}: this file system cannot hold a write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        connection.execute("PRAGMA cache_size = -4096")
        # Debian's SQLite overwrites what is deleted, at twice the cost; FAST does so where it costs no more writes.
        connection.execute("PRAGMA secure_delete = FAST")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(folder: Path, *, timeout: float) -> sqlite3.Connection:
    """Open the database to read: it takes no lock that a writer waits for, and makes no checkpoint.

    Raises:
        SpoolUnavailable: there is none, it cannot be read, or a newer gatepost wrote it.
    """
    try:
        connection = sqlite3.connect(
            f"{(folder / DATABASE_FILE).absolute().as_uri()}?mode=ro",
            uri=True,
            timeout=timeout,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check_version(connection, folder, len(MIGRATIONS))
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise SpoolUnavailable(f"{folder}: the spool cannot be read: {error}") from error
    return connection


def _check_version(connection: sqlite3.Connection, folder: Path, known: int) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > known:
        raise ConfigError(
            f"{folder}: the spool is of version {version}, written by a newer gatepost; this one knows {known}: "
            "run the newer one until its queue is empty, or install it again"
        )
    return version


def migrate(connection: sqlite3.Connection, folder: Path, migrations: Sequence[Sequence[str]] = MIGRATIONS) -> None:
    """Bring the database up to date: each step is one transaction.

    Raises:
        ConfigError: a newer gatepost wrote it.
        sqlite3.Error: it cannot be written, or is no database.
    """
    version = _check_version(connection, folder, len(migrations))
    if version < len(migrations):
        connection.create_function("lane_of", 1, lane_of, deterministic=True)
    for number, statements in enumerate(migrations[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
