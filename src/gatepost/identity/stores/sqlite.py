"""Accounts in an SQLite file, read side: keyed look-ups on the loop's thread, the standard library only.

The command line writes (`gatepost.identity.accounts`).  A look-up sees what was committed before it; a change is
noticed by `PRAGMA data_version`.  Nothing here writes or moves the log, and a look-up waits for no lock.  Opening the
file may wait a moment: whoever opens it first, or closes it last, has it alone meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from gatepost.errors import StoreUnavailable
from gatepost.identity.kept_hash import ARGON2ID_TAIL, argon2id_head, likeness_of
from gatepost.identity.renewal import Renewal
from gatepost.identity.store import (
    ARGON2ID,
    HASH,
    MECHANISM_SCHEMES,
    SCRAM_SHA_256,
    Account,
    Survey,
    Work,
    certificate_id,
)
from gatepost.identity.stores.rows import (
    ACCOUNT_COLUMNS,
    ACCOUNTS_REMEMBERED,
    CREDENTIAL_COLUMNS,
    CREDENTIAL_LIMIT,
    SCHEMA_VERSION,
    Obstacle,
    Withheld,
    account_of,
    texts,
)
from gatepost.identity.verifiers import Argon2

__all__ = [
    "CREDENTIAL_LIMIT",
    "SCHEMA_VERSION",
    "Obstacle",
    "SqliteStore",
    "Withheld",
    "is_current",
    "obstacles",
    "withheld",
]

# How long is waited, at most, for somebody who has the file alone; how often is looked, in the loop's thread.
_PATIENCE: Final = 5.0
_PAUSE: Final = 0.02

_ACCOUNT: Final = f"SELECT {ACCOUNT_COLUMNS} FROM accounts AS a WHERE a.login = ?"  # noqa: S608 - columns of ours

_CREDENTIALS: Final = f"""
    SELECT {CREDENTIAL_COLUMNS}
    FROM (SELECT *, row_number() OVER (ORDER BY revoked IS NOT NULL, created DESC, id) AS place
          FROM credentials WHERE account_id = ? ORDER BY place LIMIT ?) AS c
    LEFT JOIN verifiers AS v ON v.credential_id = c.id ORDER BY c.place"""  # noqa: S608 - columns of ours

_HOLDER: Final = """
    SELECT a.login FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    JOIN verifiers AS v ON v.credential_id = c.id AND v.scheme = 'CERTIFICATE'
    WHERE c.id = ? AND v.value = ?"""

# What stands, and lacks a verifier; a certificate is for EXTERNAL alone, and stands in the way of nothing.
_LACKING: Final = """
    FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE a.state = 'active' AND NOT c.is_canary AND c.revoked IS NULL AND (c.expires IS NULL OR c.expires > :now)
      AND NOT EXISTS (SELECT 1 FROM verifiers AS v
                      WHERE v.credential_id = c.id AND v.scheme IN (:scheme, 'CERTIFICATE'))"""

_LISTENERS_LACKING: Final = "SELECT DISTINCT c.listeners" + _LACKING

# The listeners of a credential are a JSON array; an empty one means every listener.
_THERE: Final = """
      AND (c.listeners = '[]' OR EXISTS (SELECT 1 FROM json_each(c.listeners) WHERE value = :listener))
    ORDER BY a.login, c.created LIMIT :limit"""
_OBSTACLES: Final = "SELECT a.login, c.id, c.label" + _LACKING + _THERE

_WORK: Final = """
    SELECT pbkdf2, argon2, other, count(*) FROM (
        SELECT max(scram AND NOT argon2id) AS pbkdf2, max(argon2id) AS argon2,
               max(CASE WHEN NOT scram AND NOT argon2id THEN likeness END) AS other FROM (
            SELECT c.account_id, max(v.scheme = :scram) AS scram,
                   max(v.scheme = :argon2id AND substr(v.value, 1, :length) = :head) AS argon2id,
                   max(CASE WHEN v.scheme = :hash THEN substr(v.value, 1, instr(v.value, x'0a') - 1)
                            WHEN v.scheme = :argon2id THEN substr(v.value, 1, length(v.value) - :tail) END) AS likeness
            FROM credentials AS c JOIN verifiers AS v ON v.credential_id = c.id
            WHERE v.scheme <> 'CERTIFICATE' GROUP BY c.id)
        GROUP BY account_id)
    GROUP BY pbkdf2, argon2, other"""


class _Held(StoreUnavailable):
    """Somebody has the file alone."""


class SqliteStore:
    """The accounts database at *path*.  It is opened when first asked, and again after it was away or replaced.

    Args:
        path: of the database.
        name: of the store.
        argon2: what an argon2id hash costs that is made today; None takes all for such.
    """

    def __init__(self, path: Path, name: str = "sqlite", argon2: Argon2 | None = None) -> None:
        self.name = name
        self._path = path
        self._head = argon2id_head(argon2) if argon2 is not None else b""
        self._connection: sqlite3.Connection | None = None
        self._inode = (0, 0)
        self._openings = 0
        self._surveyed: object = None
        # Accounts as they were when the database last changed; making them of rows is the dear part of a look-up.
        self._accounts: dict[str, Account] = {}
        self._read_version: int | None = None

    async def find(self, login: str) -> Account | None:
        """Return the account with that prepared name, as it is now."""
        if self._connection is None:
            await self._opened()
        with self._reading() as connection:
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != self._read_version or len(self._accounts) >= ACCOUNTS_REMEMBERED:
                self._accounts.clear()
                self._read_version = version
            account = self._accounts.get(login)
            if account is None:
                row = connection.execute(_ACCOUNT, (login,)).fetchone()
                if row is None:
                    return None
                rows = connection.execute(_CREDENTIALS, (row[0], CREDENTIAL_LIMIT)).fetchall()
                account = self._accounts[login] = account_of(row, rows, self._head)
            return account

    async def holder(self, fingerprint: str) -> str | None:
        """Return the login that a client certificate belongs to, revoked or not; None if it is nobody's."""
        if self._connection is None:
            await self._opened()
        with self._reading() as connection:
            values = (certificate_id(fingerprint), fingerprint.encode())
            row = connection.execute(_HOLDER, values).fetchone()
            return None if row is None else str(row[0])

    async def has_changed(self) -> bool:
        """Tell whether anything may have changed since the last `survey`."""
        return await self._state() != self._surveyed

    async def survey(self, now: float) -> Survey:
        """Look at all accounts, in a thread and with a connection of its own."""
        state = await self._state()
        survey = await asyncio.to_thread(_survey, self._path, now, self._head)
        self._surveyed = state
        return survey

    async def renew(self, renewal: Renewal) -> bool:
        """Write *renewal* down, in a thread; tell whether it was."""
        from gatepost.identity.stores.sqlite_renewal import renew

        return await asyncio.to_thread(renew, self._path, renewal, self._head)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._read_version = None

    async def _opened(self) -> None:
        """Open it, as soon as nobody has it alone; whatever else is wrong is told by who reads."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                with self._reading():
                    return
            except _Held:
                await asyncio.sleep(_PAUSE)

    async def _state(self) -> object:
        # A backup may have been put in place of the file that is open.
        try:
            status = self._path.stat()
        except OSError as error:
            self.close()
            raise StoreUnavailable(f"{self._path}: {error.strerror}") from None
        if (status.st_dev, status.st_ino) != self._inode:
            self.close()
            self._inode = (status.st_dev, status.st_ino)
        if self._connection is None:
            await self._opened()
        with self._reading() as connection:
            # A version means something to the connection it was asked of only.
            return self._inode, self._openings, connection.execute("PRAGMA data_version").fetchone()[0]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            if self._connection is None:
                self._connection = _open(self._path, patience=0.0)
                self._openings += 1
            yield self._connection
        except sqlite3.Error as error:
            self.close()
            is_held = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
            raise (_Held if is_held else StoreUnavailable)(f"{self._path}: {error}") from None
        except (ValueError, TypeError) as error:  # also Malformed, which would be put down to the client
            raise _foreign(self._path, error) from None


def is_current(path: Path) -> bool:
    """Tell whether the database at *path* is there, with the tables that this module reads."""
    try:
        _open(path).close()
    except (sqlite3.Error, StoreUnavailable):
        return False
    return True


def obstacles(path: Path, scheme: str, listener: str, now: float, limit: int = 20) -> Sequence[Obstacle]:
    """Return the standing credentials that may come in by *listener* and have no verifier of *scheme*.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    values = {"now": now, "scheme": scheme, "listener": listener, "limit": limit}
    try:
        with contextlib.closing(_open(path)) as connection:
            rows = connection.execute(_OBSTACLES, values).fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from None
    return [Obstacle(*row) for row in rows]


def withheld(path: Path, listeners: Mapping[str, Collection[str]], now: float) -> Sequence[Withheld]:
    """Return what of the mechanisms that are on, by listener, is not offered there, and why.

    Raises:
        StoreUnavailable: the database cannot be read.
    """
    looked_at = [
        Withheld(mechanism, listener, obstacles(path, scheme, listener, now))
        for listener, mechanisms in listeners.items()
        for mechanism, scheme in MECHANISM_SCHEMES.items()
        if mechanism in mechanisms
    ]
    return [each for each in looked_at if each.obstacles]


def _open(path: Path, patience: float = _PATIENCE) -> sqlite3.Connection:
    # Not mode=ro: a reader must be able to make the shared memory file beside the database.
    address = f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=patience, check_same_thread=False)
    try:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        try:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            version = None
        if version != (SCHEMA_VERSION,):
            found = f"has schema {version[0]}" if version else "has no schema"
            raise StoreUnavailable(f"{path}: {found}, and this gatepost reads schema {SCHEMA_VERSION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _survey(path: Path, now: float, head: bytes) -> Survey:
    values = {"now": now, "scram": SCRAM_SHA_256, "argon2id": ARGON2ID, "hash": HASH, "tail": ARGON2ID_TAIL}
    values |= {"head": head, "length": len(head)}
    try:
        with contextlib.closing(_open(path)) as connection:
            connection.execute("BEGIN")
            lacking = {}
            for scheme in dict.fromkeys(MECHANISM_SCHEMES.values()):
                rows = connection.execute(_LISTENERS_LACKING, {"now": now, "scheme": scheme})
                lacking[scheme] = frozenset(texts(text) for (text,) in rows)
            iterations = dict(connection.execute("SELECT iterations, count(*) FROM accounts GROUP BY iterations"))
            rows = connection.execute(_WORK, values)
            work = {
                Work(bool(pbkdf2), bool(argon2), likeness_of(other) if other else ""): count
                for pbkdf2, argon2, other, count in rows
            }
            expiry = "SELECT min(expires) FROM credentials WHERE revoked IS NULL AND expires > :now"
            (next_expiry,) = connection.execute(expiry, values).fetchone()
    except sqlite3.Error as error:
        raise StoreUnavailable(f"{path}: {error}") from None
    except (ValueError, TypeError) as error:
        raise _foreign(path, error) from None
    return Survey(lacking, iterations, work, next_expiry)


def _foreign(path: Path, error: Exception) -> StoreUnavailable:
    return StoreUnavailable(f"{path}: holds what gatepost did not write: {error}")
