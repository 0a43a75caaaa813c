"""The one thread that writes the database: it takes all that waits, and commits it as one transaction.

A thousand messages a second share a few syncs this way.  A change is written whole or not at all; its caller hears of
it after the commit, one wake-up of the loop for all of a batch.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.spool.batch import Batch, prepare
from gatepost.spool.change import Change, Fate
from gatepost.spool.trouble import spool_error

__all__ = ["Writer"]

# One transaction holds so many changes at most, more or less: what waits longer is not told late.
_BATCH_LIMIT: Final = 512
# A checkpoint is due when about so much was written to the log.
_LOG_BYTES: Final = 8 << 20
# Quiet for so many seconds: time to tidy up.
_QUIET: Final = 1.0
# Free pages are given back to the file system, some at a time, when they are more than these.
_FREE_PAGES: Final = 4096
_VACUUM_PAGES: Final = 1024


class Writer:
    """Owns the only connection that writes and makes checkpoints.

    Args:
        connection: the database, brought up to date.
        connect: opens it anew, when an error has left the connection unusable.
        tell: called in the loop with each batch, once its fate is known.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        connect: Callable[[], sqlite3.Connection],
        tell: Callable[[Sequence[Change]], None],
    ) -> None:
        self._connection: sqlite3.Connection | None = _prepared(connection)
        self._connect = connect
        self._tell = tell
        self._queue: queue.SimpleQueue[list[Change] | None] = queue.SimpleQueue()
        self._log_bytes = 0
        self._is_untidy = False
        self._is_stopping = False
        self._is_over = False
        # A daemon: a process that forgot to close its spool can end, and loses nothing that it was told is kept.
        self._thread = threading.Thread(target=self._run, name="gatepost-spool-writer", daemon=True)
        self._thread.start()

    def submit(self, changes: list[Change]) -> None:
        """Hand over *changes*: as one transaction, if nothing hinders."""
        self._queue.put(changes)
        if self._is_over:
            self._refuse([])

    def stop(self) -> None:
        """Write what waits, and end the thread; waits for all of it."""
        self._queue.put(None)
        self._thread.join()

    def close(self) -> None:
        """Close the connection, after `stop`: the last one to close makes the last checkpoint."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _run(self) -> None:
        batch: list[Change] = []
        try:
            while not self._is_stopping:
                batch = self._take()
                if batch:
                    self._write(batch)
                    self._report(batch)
                    batch = []
                    if self._log_bytes >= _LOG_BYTES:
                        self._checkpoint()
        finally:
            # Only a fault of ours ends the thread early; nobody may then wait for ever.
            self._is_over = True
            self._refuse(batch)

    def _refuse(self, batch: list[Change]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                batch += self._queue.get_nowait() or []
        for change in batch:
            if change.fate is Fate.WAITS:
                change.fail(SpoolUnavailable("the spool's writer has ended"))
        self._report(batch)

    def _take(self) -> list[Change]:
        try:
            first = self._queue.get(timeout=_QUIET if self._is_untidy else None)
        except queue.Empty:
            self._tidy()
            return []
        batch: list[Change] = []
        while first is not None:
            batch += first
            if len(batch) >= _BATCH_LIMIT or self._queue.empty():
                return batch
            first = self._queue.get()
        self._is_stopping = True
        return batch

    def _report(self, batch: Sequence[Change]) -> None:
        if batch:
            loop = batch[0].future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._tell, batch)

    def _write(self, batch: Sequence[Change]) -> None:
        live = []
        for change in batch:
            if change.can_drop and change.future.cancelled():
                change.fate = Fate.DROPPED
            else:
                live.append(change)
        if not live or self._commit(live) is None or len(live) == 1:
            return
        # One of them may be at fault, or too large for the room that is left: each alone, once.  What frees room and
        # what tells of mail already sent comes first; new mail is not tried further once the disk takes none.
        works = True
        for change in sorted(live, key=_is_new_mail):
            if works or not _is_new_mail(change):
                works = not isinstance(self._commit([change]), (sqlite3.OperationalError, OSError))

    def _commit(self, changes: Sequence[Change]) -> Exception | None:
        fate = Fate.FAILED
        try:
            if self._connection is None:
                self._connection = _prepared(self._connect())
            connection = self._connection
            batch = Batch(changes)
            if batch.is_one_statement:
                fate = Fate.DOUBTFUL
                batch.apply(connection)
            else:
                connection.execute("BEGIN IMMEDIATE")
                batch.apply(connection)
                fate = Fate.DOUBTFUL
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError, ValueError, TypeError, OverflowError, SpoolUnavailable) as error:
            reason = spool_error(error)
            self._roll_back()
            if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY:
                # What was opened on a read-only disk stays so; the next batch looks again.
                self.close()
            for change in changes:
                # Tried alone after its batch: the doubt of the first time stays.
                change.fail(reason, Fate.DOUBTFUL if change.fate is Fate.DOUBTFUL else fate)
            return error
        for change in changes:
            change.fate = Fate.WRITTEN
            change.error = None
            self._log_bytes += 4096 * (2 + len(change.removed) + len(change.messages))
            self._log_bytes += sum([len(octets) for _, octets in change.contents])
        self._is_untidy = True
        return None

    def _roll_back(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Its state is unknown: the next batch begins with a new one.
            connection.close()
            self._connection = None

    def _tidy(self) -> None:
        # One short step at a time, so that what comes meanwhile does not wait.
        self._is_untidy = False
        if self._log_bytes:
            self._checkpoint()
        if self._connection is None:
            return
        try:
            free = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
            if free > _FREE_PAGES:
                # `execute` would step once, which gives back a single page.
                self._connection.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
                self._log_bytes += 4096 * _VACUUM_PAGES
                self._is_untidy = True
        except sqlite3.Error:
            self._roll_back()

    def _checkpoint(self) -> None:
        self._log_bytes = 0
        if self._connection is None:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            # Nothing is lost: the log keeps what the database file lacks, and the next one tries again.
            self._is_untidy = True


def _is_new_mail(change: Change) -> bool:
    return not change.changed


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    try:
        prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection
