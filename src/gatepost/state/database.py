"""The node's state: one SQLite database that all workers and the command line share.

    database = Database(state_dir / "state.db", emit=emit)
    database.open()
    rows = database.read("SELECT count FROM guess WHERE subject = ?", (subject,))     # keyed, waits for nobody
    total = await database.write(lambda connection: connection.execute(...).fetchone()[0])
    database.submit(lambda connection: connection.execute(...))                       # nobody waits for it
    database.close()

A change is a function of the connection that writes.  It runs in the writer's thread, in a transaction that holds the
write lock from its start; changes that wait are committed together.  It may be run again after a roll-back, so it
changes nothing but the database.

What lies here is worth less than mail, and must stop none: whatever is wrong with the file is `StateUnavailable` to
the caller, who goes on as if nothing was known, and a `StateTroubled` event, the same one at most once a minute.  A
damaged file is set aside as ``state.db.damaged``, and a new one is begun.

SQLite before 3.51.3 can damage a database when two connections write to or checkpoint its log at the same time.  So
automatic checkpoints are off, and the log is moved (PASSIVE) by whoever holds the write lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

from gatepost.errors import StateUnavailable
from gatepost.observe.emit import Emitter
from gatepost.observe.events import StateTroubled
from gatepost.state.file import StateFile, is_damage
from gatepost.state.schema import MIGRATIONS

__all__ = ["Change", "Database"]

T = TypeVar("T")
Change = Callable[[sqlite3.Connection], T]
_Job = tuple[Change[Any], Future[Any]]

# One transaction holds so many changes at most.
_BATCH_LIMIT: Final = 256
# So many changes may wait; more are turned away.
_QUEUE_LIMIT: Final = 10_000
# The log is moved into the database after so many transactions, or when nothing was written for so many seconds.
_CHECKPOINT_EVERY: Final = 200
_QUIET: Final = 30.0
# Whether the file is still the one at its place is looked at once in so many seconds.
_LOOK_EVERY: Final = 1.0
# Trouble is told of once in so many seconds.
_TELL_EVERY: Final = 60.0


class Database:
    """The file at *path*, as one process sees it.

    Args:
        path: the file; made if missing.
        emit: hears of trouble, in the event loop's thread.
        migrations: the tables.
    """

    def __init__(
        self, path: Path, *, emit: Emitter | None = None, migrations: Sequence[Sequence[str]] = MIGRATIONS
    ) -> None:
        self.path = path
        self._file = StateFile(path, migrations)
        self._emit = emit
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reader: sqlite3.Connection | None = None
        self._reader_inode = (0, 0)
        self._looked_at = 0.0
        self._writer: sqlite3.Connection | None = None
        self._writer_inode = (0, 0)
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._is_over = False
        self._is_suspect = False
        self._unmoved = 0
        self._told_at = float("-inf")
        self._told = ""

    def open(self) -> None:
        """Make the file or bring it up to date, and begin to write; after trouble each change tries again.

        Raises:
            ConfigError: a newer gatepost wrote the file.
        """
        with contextlib.suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        try:
            self._connect_writer()
        except (sqlite3.Error, OSError, StateUnavailable) as error:
            self._tell(self._trouble(error))
        # A daemon: a process that forgot to close can end, and loses nothing that it was told is kept.
        self._thread = threading.Thread(target=self._run, name="gatepost-state-writer", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what waits, and let go of the file."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._refuse([])
        self._drop_reader()
        self._drop_writer()

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a keyed look-up, which waits for no lock; from one thread only.

        Raises:
            StateUnavailable: the file cannot be read now.
        """
        try:
            if self._reader is None or self._is_replaced():
                self._drop_reader()
                self._reader, self._reader_inode = self._file.open_reader()
            return self._reader.execute(sql, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            self._drop_reader()
            if is_damage(error):
                # The writer looks, and sets it aside.
                self._is_suspect = True
                self._put(lambda _: None)
            trouble = self._trouble(error)
            self._tell(trouble)
            raise trouble from None

    async def write(self, change: Change[T]) -> T:
        """Do *change*; return what it returned, once that is committed.

        Raises:
            StateUnavailable: it could not be written, and is not.
        """
        return await asyncio.wrap_future(self._put(change))

    def submit(self, change: Change[T]) -> Future[T]:
        """Let *change* be done soon, also when nobody waits for it.

        Returns:
            The future of its result; its callbacks run in the writer's thread, after the commit.
        """
        return self._put(change)

    def change(self, change: Change[T]) -> T:
        """Do *change*, and wait: for the command line, which has no loop.

        Raises:
            StateUnavailable: it could not be written, and is not.
        """
        return self._put(change).result()

    def _is_replaced(self) -> bool:
        """Look, now and then, whether it was set aside, or a backup put in its place."""
        now = time.monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = now
        return self._file.inode() != self._reader_inode

    def _put(self, change: Change[T]) -> Future[T]:
        future: Future[T] = Future()
        if self._thread is None or not self._thread.is_alive():
            future.set_exception(StateUnavailable(f"{self.path}: the state file is closed"))
        elif self._queue.qsize() >= _QUEUE_LIMIT:
            trouble = StateUnavailable(f"{self.path}: too many changes wait to be written")
            self._tell(trouble)
            future.set_exception(trouble)
        else:
            self._queue.put((change, future))
            if self._is_over:
                self._refuse([])
        return future

    def _tell(self, trouble: StateUnavailable) -> None:
        loop = self._loop
        now = time.monotonic()
        reason = str(trouble)
        if self._emit is None or loop is None or loop.is_closed():
            return
        if reason == self._told and now - self._told_at < _TELL_EVERY:
            return
        self._told, self._told_at = reason, now
        # Whichever thread noticed: events are told in the loop's.
        loop.call_soon_threadsafe(self._emit, StateTroubled(reason=reason))

    def _trouble(self, error: Exception) -> StateUnavailable:
        if isinstance(error, StateUnavailable):
            return error
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return StateUnavailable(f"{self.path}: {said}")

    # In the writer's thread

    def _run(self) -> None:
        batch: list[_Job] = []
        try:
            is_stopping = False
            while not is_stopping:
                batch, is_stopping = self._take()
                if batch:
                    self._write(batch)
                    batch = []
                if self._unmoved >= _CHECKPOINT_EVERY:
                    self._checkpoint()
        finally:
            # Only a fault of ours ends the thread early; nobody may then wait for ever.
            self._is_over = True
            self._refuse(batch)

    def _take(self) -> tuple[list[_Job], bool]:
        try:
            job = self._queue.get(timeout=_QUIET if self._unmoved else None)
        except queue.Empty:
            self._checkpoint()
            return [], False
        batch: list[_Job] = []
        while job is not None:
            if job[1].set_running_or_notify_cancel():
                batch.append(job)
            if len(batch) >= _BATCH_LIMIT or self._queue.empty():
                return batch, False
            job = self._queue.get()
        return batch, True

    def _refuse(self, batch: list[_Job]) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._queue.get_nowait()
                if job is not None and job[1].set_running_or_notify_cancel():
                    batch.append(job)
        for _, future in batch:
            if not future.done():
                future.set_exception(StateUnavailable(f"{self.path}: the state file is closed"))

    def _write(self, batch: list[_Job]) -> None:
        try:
            results = self._commit([change for change, _ in batch])
        except (sqlite3.Error, OSError, ValueError, OverflowError, StateUnavailable) as error:
            if len(batch) > 1 and _may_be_of_one(error):
                for job in batch:
                    self._write([job])
                return
            failure = error if isinstance(error, ValueError | OverflowError) else self._trouble(error)
            if isinstance(failure, StateUnavailable):
                self._tell(failure)
            for _, future in batch:
                future.set_exception(failure)
            return
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(result)

    def _commit(self, changes: Sequence[Change[Any]]) -> list[Any]:
        try:
            if self._is_suspect:
                self._is_suspect = False
                self._check()
            return self._attempt(changes)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside()
        return self._attempt(changes)

    def _attempt(self, changes: Sequence[Change[Any]]) -> list[Any]:
        connection = self._connected_writer()
        try:
            connection.execute("BEGIN IMMEDIATE")
            results = [change(connection) for change in changes]
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        self._unmoved += 1
        return results

    def _roll_back(self) -> None:
        if self._writer is None or not self._writer.in_transaction:
            return
        try:
            self._writer.execute("ROLLBACK")
        except sqlite3.Error:
            # Its state is unknown: the next change begins with a new one.
            self._drop_writer()

    def _check(self) -> None:
        found = self._connected_writer().execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            damage = sqlite3.DatabaseError(found)
            damage.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damage

    def _checkpoint(self) -> None:
        self._unmoved = 0
        # Should it fail, nothing is lost: the log keeps what the database file lacks, and the next one tries again.
        with contextlib.suppress(sqlite3.Error, OSError, StateUnavailable):
            connection = self._connected_writer()
            # This transaction changes nothing: it keeps every other writer out while the log is moved.
            connection.execute("BEGIN IMMEDIATE")
            try:
                with contextlib.closing(self._file.connect()) as mover:
                    mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            finally:
                self._roll_back()

    def _connected_writer(self) -> sqlite3.Connection:
        if self._writer is not None and self._writer_inode != self._file.inode():
            self._drop_writer()
        if self._writer is None:
            self._connect_writer()
        assert self._writer is not None
        return self._writer

    def _connect_writer(self) -> None:
        try:
            self._writer_inode = self._file.inode()
            self._writer, self._writer_inode = self._file.open_writer()
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            self._set_aside()
            self._writer, self._writer_inode = self._file.open_writer()

    def _set_aside(self) -> None:
        damaged = self._writer_inode
        self._drop_writer()
        aside = self._file.set_aside(damaged)
        if aside is not None:
            self._tell(StateUnavailable(f"{self.path}: damaged, kept as {aside.name}; limits and quotas begin anew"))

    def _drop_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _may_be_of_one(error: Exception) -> bool:
    """Tell whether one change alone may be at fault, and not the file or its lock."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
