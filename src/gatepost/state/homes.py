"""Where a login is at home: whence it succeeded lately, so that strangers cannot lock its owner out there.

What succeeded is written down some seconds later, all of it at once, and once a day: a login writes nothing itself.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Final

from gatepost.model.clock import Clock
from gatepost.state.database import Database

__all__ = ["Homes"]

_DAY: Final = 86_400
# So many days after the last success an address is as strange as any other.
_DAYS: Final = 30
# When what succeeded is written, in seconds.
_DELAY: Final = 5.0
_REMEMBERED: Final = 20_000
# More than these are not kept: the oldest go.
_ROW_LIMIT: Final = 1_000_000

_NOTE: Final = "INSERT INTO home VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET day = max(day, excluded.day)"


class Homes:
    """The homes of all logins, as one worker knows them.

    Args:
        database: the state of the node.
        clock: what time it is.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        # On which day last.
        self._known: dict[tuple[str, str], int] = {}
        self._unwritten: list[tuple[str, str, int]] = []
        self._timer: asyncio.TimerHandle | None = None

    def is_known(self, login: str, address: str) -> bool:
        """Tell whether we know, without a look, that *login* is at home at *address*."""
        return self._is_lately(self._known.get((login, address), 0))

    def learn(self, login: str, address: str, day: int) -> bool:
        """Take note of what the state file says; tell whether that is news."""
        if self.is_known(login, address) or not self._is_lately(day):
            return False
        self._remember(login, address, day)
        return True

    def note(self, login: str, address: str) -> None:
        """Take note of a success, and write it down soon, if that was not done today."""
        today = self._today()
        if self._known.get((login, address)) == today:
            return
        self._remember(login, address, today)
        self._unwritten.append((login, address, today))
        if len(self._unwritten) >= _REMEMBERED:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Write down what is not yet written."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        rows, self._unwritten = self._unwritten, []
        if rows:
            self._database.submit(lambda connection: connection.executemany(_NOTE, rows))

    def prune(self) -> None:
        """Let go of what is long past."""
        today = self._today()
        self._database.submit(lambda connection: _prune(connection, today))

    def _remember(self, login: str, address: str, day: int) -> None:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[login, address] = day

    def _is_lately(self, day: int) -> bool:
        return day >= self._today() - _DAYS

    def _today(self) -> int:
        return int(self._clock.now()) // _DAY


def _prune(connection: sqlite3.Connection, today: int) -> None:
    connection.execute("DELETE FROM home WHERE day < ?", (today - _DAYS,))
    connection.execute("DELETE FROM home WHERE day > ?", (today + 1,))
    while connection.execute("SELECT count(*) FROM home").fetchone()[0] > _ROW_LIMIT:
        connection.execute("DELETE FROM home WHERE day = (SELECT min(day) FROM home)")
