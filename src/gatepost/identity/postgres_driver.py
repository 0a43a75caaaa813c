"""asyncpg as SQLAlchemy wants a driver to be (PEP 249), for the command line: each call runs to its end in a thread.

SQLAlchemy's own way to drive asyncpg needs greenlets, and callers that run inside one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import re
import threading
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

from gatepost.errors import StoreUnavailable
from gatepost.identity.stores.postgres_server import PostgresServer, connect, hang_up, problem_of, troubles

if TYPE_CHECKING:
    import asyncpg

__all__ = ["DIALECT", "DriverError", "PostgresDialect", "SyncConnection"]

DIALECT: Final = "postgresql+gatepost"
"""By what name SQLAlchemy knows this driver."""

registry.register(DIALECT.replace("+", "."), __name__, "PostgresDialect")

# How long a statement may take, in seconds.
_PATIENCE: Final = 60.0
_ROWS: Final = re.compile(r"(?:SELECT|UPDATE|DELETE|INSERT \d+) (\d+)")

_T = TypeVar("_T")


class DriverError(Exception):
    """What the server said, or why it said nothing; without values of rows."""


class SyncConnection:
    """A connection to *server*, with a transaction from the first statement to `commit` or `rollback`.

    Args:
        server: where.
        settings: of the session.

    Raises:
        StoreUnavailable: it cannot be reached.
    """

    def __init__(self, server: PostgresServer, settings: dict[str, str]) -> None:
        self._has_begun = False
        # By the name that the dialect looks for.
        self._connection: asyncpg.Connection[Any]
        ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        live = self._live(server, settings, ready)
        self._thread = threading.Thread(target=lambda: asyncio.run(live), name="postgres", daemon=True)
        self._thread.start()
        ready.result()

    async def _live(
        self, server: PostgresServer, settings: dict[str, str], ready: concurrent.futures.Future[None]
    ) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            self._connection = await connect(server, settings)
            ready.set_result(None)
        except StoreUnavailable as error:
            ready.set_exception(error)
            return
        finally:
            ready.cancel()  # whoever waits does not wait in vain
        await self._over.wait()
        await hang_up(self._connection)

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what *work* comes to.  Raises `DriverError`."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)
        except troubles() as error:
            raise DriverError(problem_of(error)) from None

    def cursor(self) -> _Cursor:
        """Return what statements are executed with."""
        return _Cursor(self)

    async def run(self, operation: str, parameters: Sequence[Any]) -> tuple[list[Any], list[tuple[Any, ...]], str]:
        """Return the rows of a statement, names and types of their columns, and the server's word on it."""
        if not self._has_begun:
            await self._connection.execute("BEGIN")
            self._has_begun = True
        statement = await self._connection.prepare(operation)
        rows = await statement.fetch(*parameters)
        columns = [(each.name, each.type.oid, None, None, None, None, None) for each in statement.get_attributes()]
        return rows, columns, statement.get_statusmsg() or ""

    def commit(self) -> None:
        """End the transaction: all of it counts."""
        self._finish("COMMIT")

    def rollback(self) -> None:
        """End the transaction: nothing of it counts."""
        if not self._connection.is_closed():
            self._finish("ROLLBACK")

    def close(self) -> None:
        """Hang up; nothing of a transaction that was not ended counts."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _finish(self, word: str) -> None:
        if self._has_begun:
            self._has_begun = False
            done = self.wait(self._connection.execute(word))
            if word == "COMMIT" and done != word:
                raise DriverError("nothing was written: the transaction had failed")


class _Cursor:
    arraysize = 1

    def __init__(self, connection: SyncConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        # Set by the dialect, for caches that are not here.
        self._invalidate_schema_cache_asof = 0.0

    def execute(self, operation: str, parameters: Sequence[Any] = ()) -> None:
        self._rows, columns, status = self._connection.wait(self._connection.run(operation, parameters))
        self.description = columns or None
        found = _ROWS.match(status)
        self.rowcount = int(found[1]) if found else -1
        self._rows.reverse()

    def executemany(self, operation: str, rows: Sequence[Sequence[Any]]) -> None:
        for each in rows:
            self.execute(operation, each)

    def fetchone(self) -> Any:
        return self._rows.pop() if self._rows else None

    def fetchmany(self, size: int = 1) -> list[Any]:
        return [self._rows.pop() for _ in range(min(size, len(self._rows)))]

    def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows[::-1], []
        return rows

    def close(self) -> None:
        self._rows = []


class PostgresDialect(PGDialect_asyncpg):
    """What SQLAlchemy says to asyncpg, said by us."""

    is_async = False
    supports_statement_cache = True

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return what stands for the module of a driver."""
        nothing = type("Nothing", (DriverError,), {})
        return SimpleNamespace(
            paramstyle="numeric_dollar",
            Error=DriverError,
            InvalidCachedStatementError=nothing,
            InternalServerError=nothing,
            Binary=bytes,
        )

    def retrieve_dbapi_version(self, dbapi: Any) -> Any:
        """It is not asked for."""

    def on_connect(self) -> Any:
        """Nothing has to be set."""
