"""Connections to a PostgreSQL server, some at most: reused, thrown away when they are dead, made anew after pauses.

While the server is away whoever asks is told so at once; one attempt at a time finds out whether it is back.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gatepost.errors import StoreUnavailable
from gatepost.identity.stores.postgres_server import (
    CONNECT_SECONDS,
    PostgresServer,
    connect,
    hang_up,
    is_lost,
    problem_of,
    schema_of,
    schema_problem,
    troubles,
)

if TYPE_CHECKING:
    import asyncpg

__all__ = ["PostgresPool"]

# Whoever comes back after a restart with some hundred connections finds room; each waits for the time it has.
_WAITING_PER_CONNECTION: Final = 256
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
# What stood unused for so long may have been forgotten by a firewall.
_IDLE_SECONDS: Final = 60.0

_T = TypeVar("_T")


class PostgresPool:
    """Up to *limit* connections to a server, which only read.

    Args:
        server: where.
        limit: how many at once.
    """

    def __init__(self, server: PostgresServer, limit: int) -> None:
        self.server = server
        self._limit = limit
        self._idle: list[tuple[asyncpg.Connection[Any], float]] = []
        self._used: set[asyncpg.Connection[Any]] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._openings = 0
        self._waiting: deque[asyncio.Future[asyncpg.Connection[Any]]] = deque()
        self._problem = ""
        self._pause = _FIRST_PAUSE
        self._retry_at = 0.0

    @property
    def problem(self) -> str:
        """Why the server cannot be asked, if it could not be last."""
        return self._problem

    async def run(self, work: Callable[[asyncpg.Connection[Any]], Awaitable[_T]], seconds: float) -> _T:
        """Do *work* with a connection; again with another one, if the first was dead.

        Raises:
            StoreUnavailable: the server cannot be asked, or took longer than *seconds*.
        """
        # Whoever asks may go away: the question is asked to its end, or each of them would cost a connection.
        task = asyncio.create_task(self._run(work, seconds))
        self._keep(task)
        return await asyncio.shield(task)

    def probe(self) -> None:
        """Look whether a server that was away is back, if it is time to."""
        if self._problem and not self._used and self._may_open():
            self._start_opening()

    def close(self) -> None:
        """Let go of all connections."""
        for task in self._tasks:
            task.cancel()
        for connection in self._used:
            connection.terminate()
        self._used.clear()
        self._close_idle()

    async def _run(self, work: Callable[[asyncpg.Connection[Any]], Awaitable[_T]], seconds: float) -> _T:
        try:
            async with asyncio.timeout(seconds):
                try:
                    return await self._once(work)
                except _Dead:
                    return await self._once(work)
        except _Dead as error:
            self._is_away(str(error))
        except TimeoutError:
            # All of them may have been busy, too; then nothing is known of the server.
            raise StoreUnavailable(self._problem or f"{self.server}: no answer in time") from None
        raise StoreUnavailable(self._problem)

    async def _once(self, work: Callable[[asyncpg.Connection[Any]], Awaitable[_T]]) -> _T:
        connection = await self._take()
        is_usable = False
        try:
            result = await work(connection)
            is_usable = True
            self._problem = ""
        except troubles() as error:
            text = f"{self.server}: {problem_of(error)}"
            if is_lost(error) or connection.is_closed():
                # The others are as dead.
                self._close_idle()
                raise _Dead(text) from None
            is_usable = True
            raise StoreUnavailable(text) from None
        except asyncio.CancelledError:
            self._is_away(f"{self.server}: no answer in time")
            raise
        finally:
            self._used.discard(connection)
            if is_usable:
                self._offer(connection)
            else:
                connection.terminate()
                self._see_to_waiting()
        return result

    async def _take(self) -> asyncpg.Connection[Any]:
        self._close_old()
        while self._idle:
            connection, _ = self._idle.pop()
            if not connection.is_closed():
                self._used.add(connection)
                return connection
        if len(self._waiting) >= self._limit * _WAITING_PER_CONNECTION:
            raise StoreUnavailable(f"{self.server}: too many questions wait for an answer")
        if self._may_open():
            self._start_opening()
        elif not self._used and (self._problem or not self._openings):
            raise StoreUnavailable(self._problem or f"{self.server}: cannot be reached")
        future: asyncio.Future[asyncpg.Connection[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future in self._waiting:
                self._waiting.remove(future)
            elif future.done() and not future.cancelled() and future.exception() is None:
                self._used.discard(future.result())
                self._offer(future.result())
            raise

    def _may_open(self) -> bool:
        if asyncio.get_running_loop().time() < self._retry_at:
            return False
        if self._problem and self._openings:
            return False
        return len(self._used) + self._openings < self._limit

    def _start_opening(self) -> None:
        self._openings += 1
        self._keep(asyncio.create_task(self._open()))

    async def _open(self) -> None:
        connection, problem = None, f"{self.server}: cannot be reached"
        try:
            connection = await self._connect()
        except StoreUnavailable as error:
            problem = str(error)
        finally:
            self._openings -= 1
            if connection is not None:
                self._problem, self._pause, self._retry_at = "", _FIRST_PAUSE, 0.0
                self._offer(connection)
            else:
                self._is_away(problem)
                self._see_to_waiting()

    async def _connect(self) -> asyncpg.Connection[Any]:
        limit = str(round(self.server.timeout * 1000))
        settings = {"default_transaction_read_only": "on", "statement_timeout": limit}
        connection = await connect(self.server, settings)
        problem = f"{self.server}: it went away"
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                problem = schema_problem(self.server, await schema_of(connection))
        except troubles() as error:
            problem = f"{self.server}: {problem_of(error)}"
        finally:
            if problem:
                await hang_up(connection)
        if problem:
            raise StoreUnavailable(problem)
        return connection

    def _offer(self, connection: asyncpg.Connection[Any]) -> None:
        """Give a connection to whoever waits for one, or keep it for later."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                self._used.add(connection)
                future.set_result(connection)
                return
        self._idle.append((connection, asyncio.get_running_loop().time()))

    def _see_to_waiting(self) -> None:
        """Nobody waits for what will not come."""
        if not self._waiting or self._used or self._openings:
            return
        if self._may_open():
            self._start_opening()
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(StoreUnavailable(self._problem))

    def _is_away(self, problem: str) -> None:
        self._problem = problem
        self._retry_at = asyncio.get_running_loop().time() + self._pause
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop()[0].terminate()

    def _close_old(self) -> None:
        limit = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._idle and self._idle[0][1] < limit:
            self._idle.pop(0)[0].terminate()

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone, and nobody else looks at it


class _Dead(Exception):
    """A connection was dead."""
