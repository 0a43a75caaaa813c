"""At open: what was half written goes; what lost its content, or was in flight too often when we died, is held back.

What was accepted stays, and what was in flight is due as it was: a claim lives in the memory of the process that made
it, and ends with it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.spool.files import Files
from gatepost.spool.row import COLUMNS, encode_progress, entry_of

__all__ = ["CRASHES_LIMIT", "Recovered", "recover"]

CRASHES_LIMIT: Final = 3
"""A message that was in flight at so many crashes, and never landed between them, may be their cause: it is held."""

_LOST: Final = "451 4.3.0 the body of this message is missing from the spool"
_ROW: Final = f"SELECT {COLUMNS} FROM message WHERE id = ?"  # noqa: S608 - a constant of ours
_FILED: Final = "SELECT id, file_bytes FROM message WHERE file_bytes IS NOT NULL AND id > ? ORDER BY id LIMIT 1000"
_CRASHES: Final = "SELECT crashes, held FROM message WHERE id = ?"
_HAS_FILE: Final = "SELECT 1 FROM message WHERE id = ? AND file_bytes IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found.

    Args:
        removed: files of bodies that were never accepted, or whose message was finished.
        lost: messages whose body is missing or not whole; they are on hold.
        held: messages that are on hold now, because of crashes.
    """

    removed: int
    lost: tuple[MessageId, ...]
    held: tuple[MessageId, ...]


def recover(connection: sqlite3.Connection, bodies: Path, files: Files, in_flight: Sequence[MessageId]) -> Recovered:
    """Bring rows and files together, and count the crash for what was *in_flight*.

    Nothing is kept in memory for each message.

    Raises:
        sqlite3.Error: the database cannot be read or written.
        OSError: the folder cannot be listed.
    """
    removed = _remove_orphans(connection, bodies, files)
    lost = _hold_lost(connection, bodies)
    return Recovered(removed, tuple(lost), tuple(_count_crash(connection, in_flight)))


def _remove_orphans(connection: sqlite3.Connection, bodies: Path, files: Files) -> int:
    removed = 0
    for path in bodies.iterdir():
        if connection.execute(_HAS_FILE, (path.name,)).fetchone() is None:
            # One that cannot be removed, on a disk that is read-only now, harms nobody.
            with contextlib.suppress(OSError):
                files.remove(path)
                removed += 1
    return removed


def _hold_lost(connection: sqlite3.Connection, bodies: Path) -> list[MessageId]:
    lost: list[MessageId] = []
    after = ""
    while page := connection.execute(_FILED, (after,)).fetchall():
        after = page[-1][0]
        for name, file_bytes in page:
            try:
                is_whole = (bodies / name).stat().st_size == file_bytes
            except FileNotFoundError:
                is_whole = False
            except OSError:
                # It may be readable later; until then reading it says so.
                continue
            if not is_whole:
                _hold(connection, name)
                lost.append(name)
    return lost


def _hold(connection: sqlite3.Connection, name: MessageId) -> None:
    row = connection.execute(_ROW, (name,)).fetchone()
    try:
        progress = encode_progress(tuple([replace(each, reply=_LOST) for each in entry_of(row).progress]))
    except SpoolUnavailable:
        # Neither envelope nor body can be read: it stays for somebody to look at, and keeps nothing else from starting.
        progress = row[8]
    connection.execute("UPDATE message SET held = 1, progress = ? WHERE id = ?", (progress, name))


def _count_crash(connection: sqlite3.Connection, in_flight: Sequence[MessageId]) -> list[MessageId]:
    held: list[MessageId] = []
    if not in_flight:
        return held
    connection.execute("BEGIN IMMEDIATE")
    try:
        for name in in_flight:
            row = connection.execute(_CRASHES, (name,)).fetchone()
            if row is None:
                continue
            crashes, was_held = row[0] + 1, row[1]
            is_held = was_held or crashes >= CRASHES_LIMIT
            connection.execute("UPDATE message SET crashes = ?, held = ? WHERE id = ?", (crashes, is_held, name))
            if is_held and not was_held:
                held.append(name)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return held
