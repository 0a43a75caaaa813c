"""Kept connections to one next hop: a few at once, each used for one message after another (RFC 5321 §3.3).

Deliveries beyond the limit wait in line, and so do all while the first connection is being opened: a next hop that is
down or refuses our login hears from us once, not once per message that waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from gatepost.model.delivery import Cause
from gatepost.relay.client import Connection
from gatepost.relay.trouble import Trouble, next_hop_trouble

__all__ = ["Pool", "Share"]

CEILING_SECONDS = 60.0
"""How long we keep to fewer connections after the next hop refused one more."""


# How long a connection is ours when others want it; how often we look whether we get one, and whether others want one.
_TURN_SECONDS = 1.0
_LOOK_SECONDS = 0.05
_SHARE_SECONDS = 0.25


class Share(Protocol):
    """What we may have of the connections to the next hop, which others of this node have, too."""

    def take(self, who: object, /) -> bool:
        """Take one; tell whether there was one to be had."""
        ...

    def give_back(self) -> None:
        """Give one back."""
        ...

    def wait(self, who: object, /, *, is_waiting: bool) -> None:
        """Say whether we want one and there is none to be had."""
        ...

    def must_yield(self, who: object, /) -> bool:
        """Tell whether we should give one up, for others want one."""
        ...


class Pool:
    """Connections to one next hop.

    Args:
        open_connection: makes one within so many seconds, None for no limit in all, or raises `Trouble`.
        limit: connections at once.
        idle_seconds: how long an unused one is kept.
        messages_limit: messages on one connection, after which it is closed.
        waiting_limit: deliveries that may wait for one; more than queues have under way, for who is sent away failed.
        share: our part of what others of this node have, too; None if nobody else does.
    """

    def __init__(
        self,
        open_connection: Callable[[float | None], Awaitable[Connection]],
        *,
        limit: int = 20,
        idle_seconds: float = 15.0,
        messages_limit: int = 100,
        waiting_limit: int = 100_000,
        share: Share | None = None,
    ) -> None:
        self._open_connection = open_connection
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._messages_limit = messages_limit
        self._waiting_limit = waiting_limit
        self._share = share
        self._idle: deque[tuple[Connection, float]] = deque()  # the longest unused first
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._parting: set[Connection] = set()
        self._slots = 0  # connections in use, idle or being opened
        self._opening = 0
        self._is_proven = False
        self._ceiling = limit
        self._ceiling_until = 0.0
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def acquire(self, *, fresh: bool = False, patience: float | None = None) -> Connection:
        """Take a connection; give it back by `release`.

        Args:
            fresh: rather open one than take one that has been idle.
            patience: how long one that is opened for this may take until it is ready; None for no limit in all.

        Raises:
            Trouble: there is none to be had.
        """
        if fresh:  # what lay idle beside a connection that turned out to be dead is no better
            while self._idle:
                self._part(self._idle.pop()[0])
        connection = self._pop_idle()
        if connection is not None:
            return connection
        if self._reserve():
            return await self._open(patience)
        return await self._queue(patience)

    def release(self, connection: Connection) -> None:
        """Give a connection back: to who waits, or to lie idle, or to be closed when it is of no more use."""
        most = min(self._messages_limit, connection.transactions_limit)
        if not connection.is_open or connection.served >= most:
            self._part(connection)
            return
        loop = asyncio.get_running_loop()
        share = self._share
        if share is not None and loop.time() - connection.since >= _TURN_SECONDS and share.must_yield(self):
            self._part(connection)
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        if self._is_closed:
            self._part(connection)
            return
        now = loop.time()
        self._idle.append((connection, now))
        connection.wire.on_lost = lambda: self._drop(connection)
        if self._sweep_timer is None:
            self._sweep_timer = loop.call_at(now + self._idle_seconds, self._sweep)
        self._look_later(_SHARE_SECONDS)

    async def close(self, seconds: float = 2.0) -> None:
        """Part from every idle connection, and from the others once nobody wants them any more.

        Deliveries that began before come to their end: a reload is no reason for mail to fail.
        """
        self._is_closed = True
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None
        if not self._waiting:
            if self._look_timer is not None:
                self._look_timer.cancel()
                self._look_timer = None
            if self._share is not None:
                self._share.wait(self, is_waiting=False)
        while self._idle:
            self._part(self._idle.pop()[0])
        try:
            async with asyncio.timeout(seconds):
                for connection in list(self._parting):
                    await connection.wire.closed()
        except TimeoutError:
            pass
        finally:  # also where nobody waits any more
            for connection in list(self._parting):
                connection.wire.abort()

    # Opening.

    def _may_open(self) -> bool:
        limit = self._limit
        if self._ceiling < limit:
            if asyncio.get_running_loop().time() < self._ceiling_until:
                limit = self._ceiling
            else:
                self._ceiling = limit
        return self._slots < limit and (self._is_proven or self._opening == 0)

    def _reserve(self) -> bool:
        """Keep a slot for a connection that is about to be opened; tell whether there was one."""
        if not self._may_open():
            return False
        if self._share is not None and not self._share.take(self):
            self._share.wait(self, is_waiting=True)
            return False
        self._slots += 1
        self._opening += 1
        return True

    def _free(self) -> None:
        """Let go of a slot, and of what we have of others' connections for it."""
        self._slots -= 1
        if self._share is not None:
            self._share.give_back()

    def _look_later(self, seconds: float) -> None:
        """Look again before long, as long as somebody waits for what others have, or has what others wait for."""
        if self._share is not None and self._look_timer is None:
            self._look_timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._look_timer = None
        share = self._share
        assert share is not None
        while self._idle and share.must_yield(self):
            self._part(self._idle.popleft()[0])
        self._grant()
        if self._waiting:
            self._look_later(_LOOK_SECONDS)
        else:
            share.wait(self, is_waiting=False)
            if self._idle:
                self._look_later(_SHARE_SECONDS)

    async def _open(self, patience: float | None) -> Connection:
        """Open a connection in a slot that is reserved."""
        connection: Connection | None
        try:
            connection = await self._open_connection(patience)
        except Trouble as trouble:
            self._free()
            self._opening -= 1
            if self._slots > self._opening and trouble.cause is Cause.NEXT_HOP:
                # Others stand: it takes no more than these.  Keep to them for a while, and wait in line for one.
                self._ceiling = self._slots - self._opening
                self._ceiling_until = asyncio.get_running_loop().time() + CEILING_SECONDS
                connection = None
            else:
                self._is_proven = False
                if not self._slots:
                    self._refuse_waiting(trouble)
                raise
        except BaseException:
            self._free()
            self._opening -= 1
            self._grant()
            raise
        if connection is None:
            return await self._queue(patience)
        self._opening -= 1
        self._is_proven = True
        self._grant()
        return connection

    def _grant(self) -> None:
        """Let those who wait open connections of their own, as far as there is room."""
        while self._waiting:
            if self._waiting[0].done():
                self._waiting.popleft()
            elif self._reserve():
                self._waiting.popleft().set_result(None)
            else:
                return

    # Waiting.

    def _pop_idle(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.pop()
            if connection.is_open:
                connection.wire.on_lost = None
                return connection
            self._part(connection)
        return None

    async def _queue(self, patience: float | None) -> Connection:
        connection = self._pop_idle()
        if connection is not None:
            return connection
        if len(self._waiting) >= self._waiting_limit:
            raise next_hop_trouble("4.3.2", "too many deliveries wait for this next hop")
        future: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        self._look_later(_LOOK_SECONDS)
        try:
            connection = await future
        except asyncio.CancelledError:
            if not future.cancelled() and future.exception() is None:
                self._pass_on(future.result())
            elif future in self._waiting:
                self._waiting.remove(future)
            raise
        return await self._open(patience) if connection is None else connection

    def _pass_on(self, connection: Connection | None) -> None:
        """Give away what was given to somebody who went away meanwhile."""
        if connection is not None:
            self.release(connection)
        else:
            self._free()
            self._opening -= 1
            self._grant()

    def _refuse_waiting(self, trouble: Trouble) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(trouble)

    # Parting.

    def _part(self, connection: Connection) -> None:
        wire = connection.wire
        if wire.is_gone:
            self._free()
        else:
            self._slots -= 1
            self._parting.add(connection)
            wire.on_lost = lambda: self._parted(connection)
            connection.quit()
        self._grant()

    def _parted(self, connection: Connection) -> None:
        """Take note that a connection is gone: until now the next hop may have counted it."""
        if connection in self._parting:
            self._parting.discard(connection)
            if self._share is not None:
                self._share.give_back()
                self._grant()

    def _drop(self, connection: Connection) -> None:
        """Forget an idle connection that the next hop closed."""
        for kept in self._idle:
            if kept[0] is connection:
                self._idle.remove(kept)
                self._free()
                self._grant()
                return

    def _sweep(self) -> None:
        self._sweep_timer = None
        loop = asyncio.get_running_loop()
        while self._idle and self._idle[0][1] + self._idle_seconds <= loop.time():
            self._part(self._idle.popleft()[0])
        if self._idle:
            self._sweep_timer = loop.call_at(self._idle[0][1] + self._idle_seconds, self._sweep)
