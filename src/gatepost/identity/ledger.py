"""Where it is written which credentials end: what is due in an accounts database, and what became of it."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

from gatepost.errors import StoreUnavailable
from gatepost.observe.events import Event

__all__ = ["Change", "Due", "First", "Ledger", "SqliteLedger"]

First: TypeAlias = Callable[[], Coroutine[None, None, None]]
"""What must be done before a change counts."""

# How long another writer is waited for, in seconds; the next look comes anyway.
_PATIENCE: Final = 5.0

_DUE: Final = """
    SELECT a.login, a.contact, c.id, c.label, c.expires, c.warned, c.successor, c.rotated, c.retire_unused
    FROM credentials AS c JOIN accounts AS a ON a.id = c.account_id
    WHERE c.revoked IS NULL AND NOT c.is_canary
      AND (c.successor IS NOT NULL OR c.warned IS NULL AND c.expires > ? AND c.expires <= ?)"""
# Whatever was changed meanwhile stays as it is, and is looked at a minute later.
_RETIRE: Final = """
    UPDATE credentials SET revoked = :now
    WHERE id = :id AND revoked IS NULL AND successor = :successor AND rotated = :rotated AND expires = :expires"""
_WARN: Final = """
    UPDATE credentials SET warned = :now
    WHERE id = :id AND revoked IS NULL AND warned IS NULL AND expires = :expires"""


@dataclass(frozen=True, slots=True)
class Due:
    """A credential that is being rotated, or ends soon."""

    login: str
    contact: str
    id: str
    label: str
    expires: float | None
    warned: float | None
    successor: str | None
    rotated: float | None
    retire_unused: float | None


class Change(NamedTuple):
    """What is to be written down of a credential.

    Args:
        due: as it was found.
        retires: whether it goes for good; else somebody is warned of its end.
        event: to be told if it came about by us.
    """

    due: Due
    retires: bool
    event: Event


class Ledger(Protocol):
    """The credentials of one database; every method raises `StoreUnavailable` when it cannot be asked."""

    lag: float
    """How late it may come to know of a login, in seconds."""

    async def due(self, now: float, until: float) -> Sequence[Due]:
        """Return those that are being rotated, and those that end before *until* without a warning."""
        ...

    async def last_used(self, uses: Mapping[str, float]) -> Mapping[str, float]:
        """Return when credentials were last used on any node, given when they were on this one, by id."""
        ...

    async def note(self, change: Change, now: float, first: First | None = None) -> bool:
        """Write a change down; tell whether it came about by us, and not by another worker.

        Args:
            change: what is to be written down.
            now: seconds since the epoch.
            first: done by the running loop before the change counts, if it is ours; both happen, or none.  It comes
                to its end also when nobody waits for it any more.
        """
        ...


class SqliteLedger:
    """The database at *path*, which one node has."""

    lag = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path

    async def due(self, now: float, until: float) -> Sequence[Due]:
        """Return those that are being rotated, and those that end before *until* without a warning."""
        return await asyncio.to_thread(self._due, now, until)

    async def last_used(self, uses: Mapping[str, float]) -> Mapping[str, float]:
        """There is no other node."""
        return uses

    async def note(self, change: Change, now: float, first: First | None = None) -> bool:
        """Write a change down; tell whether it came about by us, and not by another worker."""
        return await asyncio.to_thread(self._note, change, now, first, asyncio.get_running_loop())

    def _due(self, now: float, until: float) -> Sequence[Due]:
        try:
            with contextlib.closing(_open(self._path)) as connection:
                return [Due(*row) for row in connection.execute(_DUE, (now, until))]
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from None

    def _note(self, change: Change, now: float, first: First | None, loop: asyncio.AbstractEventLoop) -> bool:
        # All of it is done by one thread.
        due, retires, _ = change
        values = {"now": now, "id": due.id, "successor": due.successor, "rotated": due.rotated, "expires": due.expires}
        try:
            with contextlib.closing(_open(self._path)) as connection:  # which undoes what is not whole
                connection.execute("BEGIN IMMEDIATE")
                if not connection.execute(_RETIRE if retires else _WARN, values).rowcount:
                    return False
                if first is not None:
                    asyncio.run_coroutine_threadsafe(first(), loop).result()
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailable(f"{self._path}: {error}") from None
        return True


def _open(path: Path) -> sqlite3.Connection:
    # As `gatepost.identity.database` does it: the log is moved by the command line alone.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=_PATIENCE,
    )
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA synchronous = FULL")
    return connection
