"""Reading the database of a spool: keyed look-ups and short pages, each over when it returns.

`open_reader` reads a spool beside the server that works on it, and takes no lock::

    with open_reader(path) as reader:
        for entry in reader.list(): ...
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Self

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.spool.body import PIECE_BYTES
from gatepost.spool.files import Files
from gatepost.spool.row import COLUMNS, COLUMNS_BEFORE, StoredRow, entry_of
from gatepost.spool.schema import BODY_FOLDER, connect_reader
from gatepost.spool.spool import Entry
from gatepost.spool.trouble import spool_error

__all__ = ["Reader", "SpoolReader", "open_reader"]

_DUE: Final = "SELECT id FROM message WHERE held = 0 AND (due, id) > (?, ?) AND due <= ? ORDER BY due, id LIMIT ?"
_NEXT: Final = "SELECT due, id FROM message WHERE held = 0 AND (due, id) > (?, ?) ORDER BY due, id LIMIT ?"
# From lane to lane by the index, past whatever they hold.
_LANES: Final = """
    WITH RECURSIVE step(lane) AS (
        SELECT * FROM (SELECT lane FROM message WHERE held = 0 AND lane > ?1 ORDER BY lane LIMIT 1)
        UNION ALL
        SELECT (SELECT lane FROM message WHERE held = 0 AND lane > step.lane ORDER BY lane LIMIT 1)
        FROM step WHERE step.lane IS NOT NULL LIMIT ?2
    )
    SELECT lane, (
        SELECT due FROM message WHERE held = 0 AND lane = step.lane AND due >= ?3 ORDER BY due LIMIT 1
    ) FROM step WHERE lane IS NOT NULL
"""
_IN_LANE: Final = """
    SELECT due, id FROM message WHERE held = 0 AND lane = ? AND (due, id) >= (?, ?) AND due <= ?
    ORDER BY due, id LIMIT ?
"""
_START: Final = (float("-inf"), "")
_OCTETS: Final = "SELECT octets FROM content WHERE id = ?"
_COUNT: Final = "SELECT count(*) FROM message"
_COUNT_HELD: Final = "SELECT count(*) FROM message WHERE held = 1"


class Reader:
    """Questions to one read-only connection; it fetches all of each answer, so no transaction stays open.

    Every method raises `SpoolUnavailable` when the database cannot be read.

    Args:
        connection: the database.
        tell: told of each row that a page passes over, for it cannot be understood.
    """

    def __init__(self, connection: sqlite3.Connection, tell: Callable[[str], None] | None = None) -> None:
        self._connection = connection
        self._tell = tell
        # Beside no server, a spool of an older version is read as it lies there.
        columns = COLUMNS_BEFORE.get(self._ask("PRAGMA user_version")[0][0], COLUMNS)
        self._row = f"SELECT {columns} FROM message WHERE id = ?"  # noqa: S608 - of constants of ours
        self._page = f"SELECT {columns} FROM message WHERE id > ? ORDER BY id LIMIT ?"  # noqa: S608

    def row(self, message_id: MessageId) -> StoredRow | None:
        """Read the row of a message; None if there is none."""
        rows = self._ask(self._row, message_id)
        return rows[0] if rows else None

    def octets(self, message_id: MessageId) -> bytes:
        """Read what the database holds of the content: the header section, and the body unless it lies in a file."""
        rows = self._ask(_OCTETS, message_id)
        if not rows:
            raise SpoolUnavailable(f"the content of message {message_id} is not in the spool")
        octets: bytes = rows[0][0]
        return octets

    def due(
        self, before: float, limit: int, after: tuple[float, str] | None, skip: frozenset[MessageId]
    ) -> list[MessageId]:
        """List messages not on hold that are due, behind *after* and without those in *skip*, by due time and name."""
        names = [name for (name,) in self._ask(_DUE, *(after or _START), before, limit + len(skip))]
        return [name for name in names if name not in skip][:limit]

    def next_due(self, after: tuple[float, str] | None, skip: frozenset[MessageId]) -> float | None:
        """Return when the next message behind *after* and not in *skip* is due."""
        rows = self._ask(_NEXT, *(after or _START), len(skip) + 1)
        return next((due for due, name in rows if name not in skip), None)

    def lanes(self, before: float, limit: int, after: int, since: float) -> tuple[list[int], int | None]:
        """List lanes behind *after* with messages due since then and *before*; say which was looked at last, if any."""
        rows = self._ask(_LANES, after, limit, since)
        found = [lane for lane, due in rows if due is not None and due <= before]
        return found, rows[-1][0] if len(rows) == limit else None

    def in_lane(self, lane: int, before: float, limit: int, start: tuple[float, str]) -> list[tuple[float, str]]:
        """List the places of a lane that are due, from *start* on."""
        return self._ask(_IN_LANE, lane, *start, before, limit)

    def page(self, after: MessageId | None, limit: int) -> list[Entry]:
        """Read the entries after *after*, in the order of their names, without those that are damaged."""
        entries: list[Entry] = []
        last = after or ""
        while len(entries) < limit and (rows := self._ask(self._page, last, limit - len(entries))):
            last = rows[-1][0]
            for row in rows:
                try:
                    entries.append(entry_of(row))
                except SpoolUnavailable as error:
                    if self._tell is not None:
                        self._tell(str(error))
        return entries

    def count(self, *, held: bool = False) -> int:
        """Count the messages, or those on hold."""
        number: int = self._ask(_COUNT_HELD if held else _COUNT)[0][0]
        return number

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, question: str, *values: object) -> list[Any]:
        try:
            return self._connection.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise spool_error(error) from error


class SpoolReader:
    """A spool to look at only."""

    def __init__(self, folder: Path, tell: Callable[[str], None] | None = None) -> None:
        self._bodies = folder / BODY_FOLDER
        self._files = Files()
        self._reader = Reader(connect_reader(folder, timeout=5.0), tell)

    def entry(self, message_id: MessageId) -> Entry | None:
        """Read one entry; None if it is not there (any more)."""
        row = self._reader.row(message_id)
        return None if row is None else entry_of(row)

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time, without those that are damaged."""
        return self._reader.page(after, limit)

    def count(self, *, held: bool = False) -> int:
        """Return how many messages lie here, or how many of them are on hold."""
        return self._reader.count(held=held)

    def content(self, entry: Entry) -> Iterator[bytes]:
        """Yield the content from its start.

        Raises:
            SpoolUnavailable: it cannot be read, or is gone by now.
        """
        row = self._reader.row(entry.id)
        if row is None:
            raise SpoolUnavailable(f"message {entry.id} is not in the spool any more")
        yield self._reader.octets(entry.id)
        file_bytes, offset = row[6] or 0, 0
        while offset < file_bytes:
            try:
                piece = self._files.read(self._bodies / entry.id, PIECE_BYTES, offset)
            except OSError as error:
                raise spool_error(error) from error
            if not piece:
                raise SpoolUnavailable(f"the body of message {entry.id} is shorter than it was")
            offset += len(piece)
            yield piece

    def header(self, entry: Entry) -> bytes:
        """Read the header section of *entry*.

        Raises:
            SpoolUnavailable: it cannot be read, or is gone by now.
        """
        return self._reader.octets(entry.id)[: entry.envelope.header_bytes]

    def close(self) -> None:
        """Let go of the database; makes no checkpoint."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_reader(path: Path, tell: Callable[[str], None] | None = None) -> SpoolReader:
    """Open the spool at *path* to read, whether or not a server works on it.

    Args:
        path: the folder of the spool.
        tell: told of each message that a list passes over, for its row is damaged.

    Raises:
        SpoolUnavailable: there is none, or it cannot be read.
        ConfigError: a newer gatepost wrote it.
    """
    return SpoolReader(path, tell)
