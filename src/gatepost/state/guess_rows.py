"""What is done to the rows that count failed logins, inside a transaction of the state file."""

from __future__ import annotations

import sqlite3
from typing import Final

__all__ = ["add", "count_of", "fill", "mark", "prune", "take_one"]

# More than these are not kept: the oldest go.  About 60 octets each.
_ROW_LIMIT: Final = 500_000

_COUNT: Final = "SELECT total(count) FROM guess WHERE subject = ? AND slice BETWEEN ? AND ?"
_ADD: Final = "INSERT INTO guess VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"
# That it was told of is kept as a subject of its own.
_MARK: Final = """
    INSERT INTO guess SELECT 't ' || ?, ?, 1 WHERE NOT EXISTS (
        SELECT 1 FROM guess WHERE subject = 't ' || ? AND slice BETWEEN ? AND ?)"""
_TAKE_ONE: Final = "UPDATE guess SET count = count - 1 WHERE subject = ? AND slice = ? AND count > 0"


def count_of(connection: sqlite3.Connection, key: str, first: int, last: int) -> int:
    """Return how many failures of *key* are on record from slice *first* to *last*."""
    count: float = connection.execute(_COUNT, (key, first, last)).fetchone()[0]
    return int(count)


def add(connection: sqlite3.Connection, key: str, now: int) -> None:
    """Count one more in slice *now*."""
    connection.execute(_ADD, (key, now, 1))


def take_one(connection: sqlite3.Connection, key: str, slice_: int) -> None:
    """Count one less in that slice."""
    connection.execute(_TAKE_ONE, (key, slice_))


def mark(connection: sqlite3.Connection, key: str, now: int, first: int, last: int) -> bool:
    """Note that somebody was told that *key* is locked; tell whether nobody was yet."""
    return connection.execute(_MARK, (key, now, key, first, last)).rowcount > 0


def fill(connection: sqlite3.Connection, key: str, limit: int, now: int, first: int, last: int) -> None:
    """Lock *key* at once.  Twice the limit, because a success that is under way may take back what it wrote."""
    connection.execute(_ADD, (key, now, 2 * limit))
    mark(connection, key, now, first, last)


def prune(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Forget what does not count any more, and the oldest of what is too much."""
    connection.execute("DELETE FROM guess WHERE slice < ?", (first,))
    connection.execute("DELETE FROM guess WHERE slice > ?", (last,))
    while connection.execute("SELECT count(*) FROM guess").fetchone()[0] > _ROW_LIMIT:
        connection.execute("DELETE FROM guess WHERE slice = (SELECT min(slice) FROM guess)")
