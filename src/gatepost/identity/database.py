"""How the accounts are written in SQLite: one writer at a time, who also moves the log into the database.

SQLite before 3.51.3 can damage a database when two connections write to or checkpoint its log at the same time.  So
automatic checkpoints are off everywhere, every change takes the write lock at its start, and the log is moved
(PASSIVE) by whoever holds that lock, after a change.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gatepost.errors import ConfigError, StoreUnavailable
from gatepost.identity.stores import sqlite
from gatepost.identity.stores.rows import Obstacle, Withheld

__all__ = ["AccountsDatabase", "Database"]

_PATIENCE: Final = 10.0
"""How long a writer waits for another, in seconds."""


class AccountsDatabase(Protocol):
    """A database of accounts, for those who write it; as text it says where it is."""

    def make(self) -> None:
        """Make it if there is none.  Raises `ConfigError`."""
        ...

    def is_current(self) -> bool:
        """Tell whether it has the tables of this version.  Raises `StoreUnavailable`."""
        ...

    def reading(self) -> contextlib.AbstractContextManager[Connection]:
        """Look, at one moment.  Raises `StoreUnavailable`."""
        ...

    def writing(self) -> contextlib.AbstractContextManager[Connection]:
        """Change, all or nothing, alone.  Raises `StoreUnavailable`."""
        ...

    def obstacles(self, scheme: str, listener: str, now: float, limit: int = 20) -> Sequence[Obstacle]:
        """Return the standing credentials that may come in by *listener* and have no verifier of *scheme*."""
        ...

    def withheld(self, listeners: Mapping[str, Collection[str]], now: float) -> Sequence[Withheld]:
        """Return what of the mechanisms that are on, by listener, is not offered there, and why."""
        ...


class Database:
    """The file at *path*, for writers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._engine = create_engine("sqlite://", creator=self._connect, poolclass=NullPool)
        event.listen(self._engine, "begin", _begin)

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> None:
        """Make the file if there is none: for its owner only, and for the server's user when root makes it.

        Raises:
            ConfigError: its folder is missing or closed to us.
        """
        # SQLite would go by the umask; its journals get mode and owner of the database.
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            problem = f"{self.path}: {error.strerror}; make its folder, or correct the path of the store"
            raise ConfigError(problem) from None
        try:
            if os.geteuid() == 0:
                owner = self.path.parent.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look, at one moment.  Raises `StoreUnavailable`."""
        with self._trouble(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """Change, all or nothing, alone.  Raises `StoreUnavailable`."""
        with self._trouble(), self._engine.connect() as connection:
            connection = connection.execution_options(writes=True)
            with connection.begin():
                yield connection
            # This transaction changes nothing: it keeps every other writer out while the log is moved.
            with connection.begin(), contextlib.closing(self._connect()) as mover:
                mover.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def is_current(self) -> bool:
        """Tell whether it is there, with the tables of this version."""
        return sqlite.is_current(self.path)

    def obstacles(self, scheme: str, listener: str, now: float, limit: int = 20) -> Sequence[Obstacle]:
        """Return the standing credentials that may come in by *listener* and have no verifier of *scheme*."""
        return sqlite.obstacles(self.path, scheme, listener, now, limit)

    def withheld(self, listeners: Mapping[str, Collection[str]], now: float) -> Sequence[Withheld]:
        """Return what of the mechanisms that are on, by listener, is not offered there, and why."""
        return sqlite.withheld(self.path, listeners, now)

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreUnavailable(f"{self.path}: {error.orig}") from None
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self.path}: {error}") from None

    def _connect(self) -> sqlite3.Connection:
        # isolation_level None keeps the driver from starting transactions by itself.
        address = f"{self.path.absolute().as_uri()}?mode=rw"
        connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE)
        for setting in ("wal_autocheckpoint = 0", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {setting}")
        return connection


def _begin(connection: Connection) -> None:
    # A writer takes the lock before it looks, or what it saw may be gone when it writes.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")
