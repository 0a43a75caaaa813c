"""How the accounts are written in PostgreSQL: one writer at a time, as with SQLite, by an advisory lock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from gatepost.errors import StoreUnavailable
from gatepost.identity.postgres_driver import DIALECT, DriverError, SyncConnection
from gatepost.identity.stores import postgres
from gatepost.identity.stores.postgres_server import WRITER_LOCK, PostgresServer
from gatepost.identity.stores.rows import SCHEMA_VERSION, Obstacle, Withheld

__all__ = ["PostgresDatabase"]

_PATIENCE: Final = 10.0
"""How long a writer waits for another, in seconds."""

_T = TypeVar("_T")


class PostgresDatabase:
    """The database of *server*, for writers."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self._engine = create_engine(f"{DIALECT}://", creator=self._connect, poolclass=NullPool)
        event.listen(self._engine, "begin", _begin)

    def __str__(self) -> str:
        return str(self.server)

    def make(self) -> None:
        """Databases are made by whoever keeps the server."""

    def is_current(self) -> bool:
        """Tell whether it has the tables of this version.  Raises `StoreUnavailable`."""
        return _wait(postgres.schema(self.server)) == SCHEMA_VERSION

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

    def obstacles(self, scheme: str, listener: str, now: float, limit: int = 20) -> Sequence[Obstacle]:
        """Return the standing credentials that may come in by *listener* and have no verifier of *scheme*."""
        return _wait(postgres.obstacles(self.server, scheme, listener, now, limit))

    def withheld(self, listeners: Mapping[str, Collection[str]], now: float) -> Sequence[Withheld]:
        """Return what of the mechanisms that are on, by listener, is not offered there, and why."""
        return _wait(postgres.withheld(self.server, listeners, now))

    def _connect(self) -> SyncConnection:
        patience = str(round(_PATIENCE * 1000))
        return SyncConnection(
            self.server, {"lock_timeout": patience, "default_transaction_isolation": "read committed"}
        )

    @contextlib.contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise StoreUnavailable(f"{self.server}: {error.orig}") from None
        except DriverError as error:
            raise StoreUnavailable(f"{self.server}: {error}") from None


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("writes"):
        # A writer takes the lock before it looks, or what it saw may be gone when it writes.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": WRITER_LOCK})
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def _wait(work: Coroutine[Any, Any, _T]) -> _T:
    """Return what *work* comes to, also for a caller who runs in a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
