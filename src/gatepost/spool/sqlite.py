"""The default spool: one SQLite database for a worker, group commit, large bodies in files beside it.

The folder holds ``spool.db`` with its log, ``bodies/`` and ``lock``.  Nothing is kept in memory for each message but
for a few hundred entries that were just written or read.

Methods of the loop's thread only, but for the constructor, which waits for the disk: call it before the server serves.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gatepost.errors import Misuse, SpoolUnavailable
from gatepost.model.clock import Clock
from gatepost.model.envelope import Envelope, MessageId, Receipt
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.spool.body import BodyFolder
from gatepost.spool.content import SqliteContent
from gatepost.spool.files import Files
from gatepost.spool.gathering import Gathering
from gatepost.spool.incoming import SqliteIncoming
from gatepost.spool.lock import FolderLock
from gatepost.spool.message_id import MessageIds
from gatepost.spool.reader import Reader
from gatepost.spool.recovery import Recovered, recover
from gatepost.spool.room import Room
from gatepost.spool.row import encode_progress, entry_of, fresh_progress, row_of
from gatepost.spool.schema import BODY_FOLDER, DATABASE_FILE, connect_reader, connect_writer, migrate
from gatepost.spool.spool import Draft, Entry, Settlement, Status
from gatepost.spool.trouble import spool_error
from gatepost.spool.writer import Change, Fate, Writer

__all__ = ["SqliteSpool"]

# Entries with few recipients are remembered, so many of them, and need no second reading.
_REMEMBERED: Final = 512
_FEW: Final = 4
# Of them, contents up to this size, until they were tried once.
_SMALL: Final = 16_384
_THREADS: Final = 4


class SqliteSpool:
    """A `Spool` in a folder of its own.

    Args:
        path: the folder; made if it is missing.
        clock: what time it is.
        reserve_bytes: free space that new mail must leave.
        inline_bytes: how large a body may be in the database.
        emit: told when the spool is in trouble.
        files: the file operations.
        connect: opens the database to write.

    Raises:
        SpoolUnavailable: it is in use, or cannot be opened.
        ConfigError: a newer gatepost wrote it.
    """

    recovered: Recovered
    """What was found at open."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        reserve_bytes: int = 64 << 20,
        inline_bytes: int = 64 << 10,
        emit: Callable[[Event], None] | None = None,
        files: Files | None = None,
        connect: Callable[[Path], sqlite3.Connection] = connect_writer,
    ) -> None:
        self._clock = clock
        self._inline_bytes = inline_bytes
        self._emit = emit
        self._ids = MessageIds(clock)
        self._files = files or Files()
        self._room = Room(path, reserve_bytes, clock, self._files)
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="gatepost-spool")
        self._bodies = BodyFolder(path / BODY_FOLDER, self._files, self._pool, self._room)
        self._settling: set[MessageId] = set()
        self._recent: dict[MessageId, tuple[Entry, int | None]] = {}
        self._fresh: dict[MessageId, bytes] = {}
        self._doubtful: list[MessageId] = []
        self._in_trouble = False
        self._is_closed = False
        try:
            self._open(path, connect)
        except (sqlite3.Error, OSError) as error:
            reason = spool_error(error)
            raise type(reason)(f"{path}: the spool cannot be opened: {reason}") from error
        if self.recovered.lost:
            names = ", ".join(self.recovered.lost[:10])
            self._say(f"{len(self.recovered.lost)} messages are on hold, their bodies are missing: {names}")

    def _open(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        with ExitStack() as undo:
            _make_folders(path, self._files)
            self._lock = FolderLock(path)
            undo.callback(self._lock.release)
            (path / DATABASE_FILE).touch(0o600)
            connection = connect(path)
            undo.callback(connection.close)
            migrate(connection, path)
            self.recovered = recover(connection, self._bodies.path, self._files)
            # The names of database and log must outlive a power cut as well as what is in them.
            self._files.sync_folder(path)
            self._reader = Reader(connect_reader(path, timeout=0.0))
            undo.callback(self._reader.close)
            self._count = self._reader.count()
            undo.pop_all()
        self._writer = Writer(connection, lambda: connect(path), self._told)
        self._gathering = Gathering(self._writer.submit)

    # Accept.

    def begin(self) -> SqliteIncoming:
        """Start to take a message.

        Raises:
            SpoolFull: there is no room beyond the reserve.
            SpoolUnavailable: it cannot be written.
        """
        self._check_open()
        self._room.check()
        return SqliteIncoming(self, self._ids.make(), self._bodies, self._inline_bytes)

    async def put(self, draft: Draft) -> Receipt:
        """Keep a message of our own; it may use the reserve.

        Raises:
            SpoolUnavailable: it is not kept.
        """
        message_id = self._ids.make()
        await self.keep(message_id, draft.envelope, draft.content, None)
        return Receipt(message_id, len(draft.content))

    def keep(
        self,
        message_id: MessageId,
        envelope: Envelope,
        octets: bytes | bytearray,
        file_bytes: int | None,
        *,
        due: float | None = None,
        held: bool = False,
    ) -> asyncio.Future[None]:
        """Write the row of a message, and *octets* of its content; a body in a file is durable by now.

        Returns:
            What to wait for: then the message is durable, or the future raises `SpoolUnavailable`.

        Raises:
            SpoolUnavailable: the spool is closed.
        """
        now = self._clock.now()
        entry = _new_entry(message_id, envelope, now, now if due is None else due, held)
        return self._submit(
            Change(
                asyncio.get_running_loop().create_future(),
                entries=((entry, file_bytes),),
                messages=(row_of(entry, file_bytes),),
                contents=((message_id, octets),),
                body=None if file_bytes is None else message_id,
                can_drop=True,
            )
        )

    # Read.

    def entry(self, message_id: MessageId) -> Entry | None:
        """Read one entry; None if it is not there (any more)."""
        found = self._find(message_id)
        return None if found is None else found[0]

    def due(
        self,
        before: float,
        limit: int,
        *,
        after: tuple[float, str] | None = None,
        skip: frozenset[MessageId] = frozenset(),
    ) -> list[MessageId]:
        """List messages not on hold that are due at or before that time, ordered by due time and id.

        Args:
            before: the time.
            limit: how many at most.
            after: a place (due time, id) in that order: only what comes behind it.
            skip: leave these out.
        """
        self._check_open()
        return self._reader.due(before, limit, after, skip)

    def next_due(
        self, *, after: tuple[float, str] | None = None, skip: frozenset[MessageId] = frozenset()
    ) -> float | None:
        """Return when the next message behind *after* and not in *skip* is due, or None if none waits."""
        self._check_open()
        return self._reader.next_due(after, skip)

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time."""
        self._check_open()
        return self._reader.page(after, limit)

    def count(self) -> int:
        """Return how many messages lie here."""
        return self._count

    def content(self, entry: Entry) -> SqliteContent:
        """Open the content of *entry* for reading.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        return SqliteContent(self, entry.id, self._bodies)

    def stored(self, message_id: MessageId) -> tuple[bytes, int | None]:
        """Read what the database holds of a content, and the length of the body if that lies in a file.

        Raises:
            SpoolUnavailable: it cannot be read, or is not there.
        """
        found = self._find(message_id)
        if found is None:
            raise SpoolUnavailable(f"message {message_id} is not in the spool")
        octets = self._fresh.get(message_id)
        return (self._reader.octets(message_id) if octets is None else octets), found[1]

    def _find(self, message_id: MessageId) -> tuple[Entry, int | None] | None:
        self._check_open()
        found = self._recent.get(message_id)
        if found is None:
            row = self._reader.row(message_id)
            if row is None:
                return None
            found = entry_of(row), row[6]
            self._remember(*found)
        return found

    def _remember(self, entry: Entry, file_bytes: int | None) -> None:
        if len(entry.progress) <= _FEW:
            if len(self._recent) >= _REMEMBERED:
                oldest = next(iter(self._recent))
                del self._recent[oldest]
                self._fresh.pop(oldest, None)
            self._recent[entry.id] = entry, file_bytes

    # Settle.

    async def settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        """Write down what an attempt came to, and keep its bounces; return their receipts.

        A settlement counts as an attempt of the entry, unless it says otherwise.  For a message that is not there
        (any more) nothing is written, and there are no receipts.

        Raises:
            SpoolUnavailable: nothing of it is written down; keep it and try again.
            Misuse: another settlement of the message is being written, or this one names other recipients.
        """
        found = self._find(message_id)
        if found is None:
            return ()
        entry, file_bytes = found
        if message_id in self._settling:
            raise Misuse(f"message {message_id} is settled twice at once")
        if [each.recipient for each in settlement.progress] != [each.recipient for each in entry.progress]:
            raise Misuse(f"a settlement of message {message_id} names other recipients")
        change = Change(asyncio.get_running_loop().create_future())
        if any(each.status is Status.PENDING for each in settlement.progress):
            change.updates = (
                (
                    settlement.due,
                    settlement.stalled,
                    entry.attempts + settlement.is_attempt,
                    encode_progress(settlement.progress),
                    message_id,
                ),
            )
        else:
            change.removed = (message_id,)
            change.finished_body = None if file_bytes is None else message_id
        now = self._clock.now()
        bounces = [
            (_new_entry(self._ids.make(), draft.envelope, now, now), draft.content) for draft in settlement.bounces
        ]
        change.entries = tuple([(bounce, None) for bounce, _ in bounces])
        change.messages = tuple([row_of(bounce, None) for bounce, _ in bounces])
        change.contents = tuple([(bounce.id, content) for bounce, content in bounces])
        written = self._submit(change, can_wait=True)
        self._settling.add(message_id)
        await written
        return tuple([Receipt(bounce.id, len(content)) for bounce, content in bounces])

    # Write.

    def _submit(self, change: Change, *, can_wait: bool = False) -> asyncio.Future[None]:
        self._check_open()
        self._gathering.add(change, can_wait=can_wait)
        return change.future

    def _told(self, changes: Sequence[Change]) -> None:
        gone: list[MessageId] = []
        if self._doubtful and any(change.fate is Fate.WRITTEN for change in changes):
            # A later commit has taken the place of the doubtful ones in the log.
            gone, self._doubtful = self._doubtful, []
        for change in changes:
            for name in (*change.removed, *[update[-1] for update in change.updates]):
                self._settling.discard(name)
                self._recent.pop(name, None)
                self._fresh.pop(name, None)
            if change.fate is Fate.WRITTEN:
                self._count += len(change.messages) - len(change.removed)
                self._room.take(sum([2 * len(octets) for _, octets in change.contents]))
                for (entry, file_bytes), (_, octets) in zip(change.entries, change.contents, strict=True):
                    self._remember(entry, file_bytes)
                    if len(octets) <= _SMALL and entry.id in self._recent:
                        # It will be read at once, by its first attempt.
                        self._fresh[entry.id] = bytes(octets)
                if change.finished_body is not None:
                    gone.append(change.finished_body)
            elif change.body is not None:
                (self._doubtful if change.fate is Fate.DOUBTFUL else gone).append(change.body)
            error = change.error
            if change.future.done():
                continue
            if error is None:
                change.future.set_result(None)
            else:
                # One of its own for each caller: a traceback grows as it is raised.
                change.future.set_exception(type(error)(*error.args))
        if gone:
            self._bodies.remove(*gone)
        self._watch(changes)

    def _watch(self, changes: Sequence[Change]) -> None:
        error = next((change.error for change in changes if change.error is not None), None)
        if error is not None and not self._in_trouble:
            self._say(str(error))
        self._in_trouble = error is not None

    def _say(self, reason: str) -> None:
        if self._emit is not None:
            self._emit(SpoolTroubled(reason))

    # End.

    def _check_open(self) -> None:
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")

    async def close(self) -> None:
        """Write down what waits, and let go of the files; harmless a second time."""
        if self._is_closed:
            return
        self._is_closed = True
        self._gathering.hand_over()
        await self._bodies.close()
        await asyncio.get_running_loop().run_in_executor(self._pool, self._let_go)
        await asyncio.to_thread(self._pool.shutdown)

    def _let_go(self) -> None:
        self._writer.stop()
        # The writer's connection is the last, so that it makes the last checkpoint.
        self._reader.close()
        self._writer.close()
        self._lock.release()


def _new_entry(message_id: MessageId, envelope: Envelope, now: float, due: float, held: bool = False) -> Entry:
    return Entry(message_id, envelope, now, due, is_held=held, progress=fresh_progress(envelope))


def _make_folders(path: Path, files: Files) -> None:
    for folder in (path, path / BODY_FOLDER):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
            files.sync_folder(folder.parent)
