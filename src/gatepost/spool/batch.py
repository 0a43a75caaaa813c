"""A batch of changes as statements of SQL: nearly always as one, which is a transaction of its own.

With each step that SQLite is asked for, the interpreter is let go and waited for: with one for each kind of row and two
for the transaction, the writer's thread and the loop's took it from each other six times a batch.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gatepost.spool.change import Change
from gatepost.spool.row import WRITTEN

__all__ = ["Batch", "prepare"]

# What a row of `batch` asks for.
_KEEP, _REMOVE, _NOTHING = 0, 1, 2
_COLUMNS: Final = WRITTEN.split(", ")
# A value that is not there; SQLite's module for Python looks for somebody who translates None, each time.
_NO_FILE: Final = -1
_BLANK: Final = (0,) * len(_COLUMNS)
_NOTHING_ROW: Final = (_NOTHING, *_BLANK, 0)
# A statement has one of these numbers of rows, for each is kept ready; what is missing are rows that ask for nothing.
_SIZES: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_LIMIT: Final = _SIZES[-1]
_ROW: Final = f"({', '.join(['?'] * len(_NOTHING_ROW))})"
_TEXTS: Final = {size: f"INSERT INTO batch VALUES {', '.join([_ROW] * size)}" for size in _SIZES}  # noqa: S608
# SQLite copies the rows of a statement first: of large contents fewer stand in one.
_OCTETS_LIMIT: Final = 1 << 20
_SIZE_FOR: Final = [next(size for size in _SIZES if size >= rows) for rows in range(_LIMIT + 1)]

_UPDATE: Final = "UPDATE message SET due = ?, stalled = ?, attempts = ?, progress = ?, crashes = 0 WHERE id = ?"
_ALTER: Final = """
    UPDATE message
    SET held = coalesce(?, held), due = coalesce(?, due), crashes = CASE ? WHEN 0 THEN 0 ELSE crashes END
    WHERE id = ?
"""
_REWRITE: Final = "UPDATE message SET due = ?, envelope = ?, progress = ?, crashes = 0 WHERE id = ?"


def prepare(connection: sqlite3.Connection) -> None:
    """Make what `Batch.apply` writes to; it lies in memory and is seen by this connection only.

    Raises:
        sqlite3.Error: it cannot be made.
    """
    new = ", ".join(f"nullif(NEW.{each}, {_NO_FILE})" if each == "file_bytes" else f"NEW.{each}" for each in _COLUMNS)
    names = ["kind", *_COLUMNS, "octets"]
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute(f"CREATE TEMP VIEW batch ({', '.join(names)}) AS SELECT {', '.join(['NULL'] * len(names))}")
    connection.execute(f"""
        CREATE TEMP TRIGGER batch_keep INSTEAD OF INSERT ON batch WHEN NEW.kind = {_KEEP} BEGIN
            INSERT INTO message ({WRITTEN}) VALUES ({new});
            INSERT INTO content VALUES (NEW.id, NEW.octets);
        END
    """)  # noqa: S608 - names of ours
    connection.execute(f"""
        CREATE TEMP TRIGGER batch_remove INSTEAD OF INSERT ON batch WHEN NEW.kind = {_REMOVE} BEGIN
            DELETE FROM message WHERE id = NEW.id;
            DELETE FROM content WHERE id = NEW.id;
        END
    """)  # noqa: S608 - numbers of ours


class Batch:
    """Changes that are written together.

    Attributes:
        is_one_statement: whether `apply` is a transaction by itself; else it wants to stand in one.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._statements: list[tuple[str, Sequence[Any]]] = []
        self._parts: list[list[tuple[Any, ...]]] = []
        self._octets = 0  # in the last part
        for change in changes:
            for name in change.removed:
                self._add((_REMOVE, name, *_BLANK), 0)
            for row, (_, octets) in zip(change.messages, change.contents, strict=True):
                file_bytes = row[6]
                shown = _NO_FILE if file_bytes is None else file_bytes
                self._add((_KEEP, *row[:6], shown, *row[7:], octets), len(octets))
            if change.updates or change.alterations or change.rewrites:
                self._statements += [(_UPDATE, each) for each in change.updates]
                self._statements += [(_ALTER, each) for each in change.alterations]
                self._statements += [(_REWRITE, each) for each in change.rewrites]
        self.is_one_statement = not self._statements and len(self._parts) <= 1

    def _add(self, row: tuple[Any, ...], octets: int) -> None:
        if not self._parts or len(self._parts[-1]) == _LIMIT or (octets and self._octets + octets > _OCTETS_LIMIT):
            self._parts.append([])
            self._octets = 0
        self._parts[-1].append(row)
        self._octets += octets

    def apply(self, connection: sqlite3.Connection) -> None:
        """Write it all.

        Raises:
            sqlite3.Error: it cannot be written.
            ValueError: a value is no such thing as SQLite knows.
            OverflowError: a number is larger than SQLite knows.
        """
        for text, values in self._statements:
            connection.execute(text, values)
        for rows in self._parts:
            size = _SIZE_FOR[len(rows)]
            padded = rows + [_NOTHING_ROW] * (size - len(rows))
            connection.execute(_TEXTS[size], [value for row in padded for value in row])
