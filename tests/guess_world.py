"""What tests of failed logins share: a worker's view of them, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from gatepost.observe.emit import Emitter
from gatepost.observe.events import Event, LoginsLocked
from gatepost.state.database import Database
from gatepost.state.guesses import Guess, Guesses, LockedOut
from gatepost.state.subjects import LoginLimits

__all__ = ["GuessWorker", "HandClock", "workers"]

NOON = 1_800_000_000.0


class HandClock:
    """The time of day is moved by hand; who sleeps is woken at once."""

    def __init__(self) -> None:
        self.time = NOON
        self.waited = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.waited

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.001)


class GuessWorker:
    """Failed logins, as one worker sees them."""

    def __init__(self, folder: Path, limits: LoginLimits, clock: HandClock) -> None:
        self.events: list[Event] = []
        emit = Emitter(self.events.append)
        self.clock = clock
        self.database = Database(folder / "state.db", emit=emit)
        self.guesses = Guesses(self.database, limits, clock, emit)

    def open(self) -> None:
        self.database.open()
        self.guesses.open()

    def close(self) -> None:
        self.guesses.close()
        self.database.close()

    async def fail(self, address: str = "192.0.2.1", login: str = "tim", times: int = 1) -> int:
        """Guess wrongly until it is not judged; return how often it was."""
        for number in range(times):
            guess = await self.guesses.begin(address, login)
            if isinstance(guess, LockedOut):
                return number
            await guess.failed()
        return times

    async def succeed(self, address: str = "192.0.2.1", login: str = "tim") -> None:
        guess = await self.guesses.begin(address, login)
        assert isinstance(guess, Guess), guess
        await guess.succeeded()

    async def reason(self, address: str = "192.0.2.1", login: str = "tim") -> str:
        """Return why a login is not judged; empty if it is."""
        guess = await self.guesses.begin(address, login)
        if isinstance(guess, LockedOut):
            return guess.reason
        guess.withdrawn()
        return ""

    async def count(self, key: str) -> int:
        """Return how many are on record, once all is written."""
        return await self.database.write(
            lambda c: c.execute("SELECT total(count) FROM guess WHERE subject = ?", (key,)).fetchone()[0]
        )

    @property
    def locked(self) -> list[tuple[str, str]]:
        return [(each.kind, each.value) for each in self.events if isinstance(each, LoginsLocked)]


@contextlib.asynccontextmanager
async def workers(folder: Path, limits: LoginLimits, count: int = 1) -> AsyncIterator[list[GuessWorker]]:
    """Yield *count* workers of one node."""
    clock = HandClock()
    all_of_them = [GuessWorker(folder, limits, clock) for _ in range(count)]
    for each in all_of_them:
        each.open()
    try:
        yield all_of_them
    finally:
        for each in all_of_them:
            each.close()
