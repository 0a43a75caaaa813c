"""The default spool: one SQLite database for a worker, group commit, large bodies in files beside it.

The folder holds ``spool.db`` with its log, ``bodies/`` and ``lock``.  Nothing is kept in memory for each message but
for a few hundred entries that were just written or read.

Methods of the loop's thread only, but for the constructor, which waits for the disk: call it before the server serves.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.model.clock import Clock
from gatepost.model.envelope import Envelope, MessageId, Receipt
from gatepost.model.priority import Priority
from gatepost.observe.events import Event, MessageHeld, SpoolTroubled
from gatepost.spool.body import BodyFolder
from gatepost.spool.change import Change
from gatepost.spool.changes import Changes
from gatepost.spool.content import SqliteContent
from gatepost.spool.fates import Fates
from gatepost.spool.files import Files
from gatepost.spool.gathering import Gathering
from gatepost.spool.in_flight import InFlight, left_in_flight
from gatepost.spool.incoming import SqliteIncoming
from gatepost.spool.lane import lane_of
from gatepost.spool.layout import make_folder
from gatepost.spool.lock import FolderLock
from gatepost.spool.message_id import MessageIds
from gatepost.spool.reader import Reader
from gatepost.spool.recent import Found, Recent
from gatepost.spool.recovery import CRASHES_LIMIT, Recovered, recover
from gatepost.spool.room import Room
from gatepost.spool.row import StoredRow, entry_of
from gatepost.spool.schema import BODY_FOLDER, DATABASE_FILE, connect_reader, connect_writer, migrate
from gatepost.spool.spool import Draft, Entry, Settlement
from gatepost.spool.threads import Threads
from gatepost.spool.transition import kept, new_entry
from gatepost.spool.trouble import spool_error
from gatepost.spool.writer import Writer

__all__ = ["SqliteSpool"]

_THREADS: Final = 4


def _ordinary(_envelope: Envelope) -> int:
    return Priority.NORMAL


class SqliteSpool:
    """A `Spool` in a folder of its own.

    Args:
        path: the folder; made if it is missing.
        clock: what time it is.
        reserve_bytes: free space that new mail must leave.
        inline_bytes: how large a body may be in the database.
        priority: says how urgent a message is.
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
        priority: Callable[[Envelope], int] = _ordinary,
        emit: Callable[[Event], None] | None = None,
        files: Files | None = None,
        connect: Callable[[Path], sqlite3.Connection] = connect_writer,
    ) -> None:
        self._clock = clock
        self._inline_bytes = inline_bytes
        self._priority = priority
        self._emit = emit
        self._ids = MessageIds(clock)
        self._files = files or Files()
        self._room = Room(path, reserve_bytes, clock, self._files)
        self._threads = Threads(_THREADS, "gatepost-spool")
        self._bodies = BodyFolder(path / BODY_FOLDER, self._files, self._threads, self._room)
        self._changes = Changes(self._find, self._row, self._submit, self._ids, clock)
        self._recent = Recent()
        self._fates = Fates(self._recent, self._changes.turns, self._room, self._bodies, self._say)
        self._is_closed = False
        try:
            self._open(path, connect)
        except (sqlite3.Error, OSError) as error:
            reason = spool_error(error)
            raise type(reason)(f"{path}: the spool cannot be opened: {reason}") from error
        for name in self.recovered.held:
            self._tell(MessageHeld(name, f"we died {CRASHES_LIMIT} times while it was tried"))
        if self.recovered.lost:
            names = ", ".join(self.recovered.lost[:10])
            self._say(f"{len(self.recovered.lost)} messages are on hold, their bodies are missing: {names}")

    def _open(self, path: Path, connect: Callable[[Path], sqlite3.Connection]) -> None:
        with ExitStack() as undo:
            make_folder(path / BODY_FOLDER, self._files)
            self._lock = FolderLock(path)
            undo.callback(self._lock.release)
            (path / DATABASE_FILE).touch(0o600)
            connection = connect(path)
            undo.callback(connection.close)
            migrate(connection, path)
            self.recovered = recover(connection, self._bodies.path, self._files, left_in_flight(path))
            # The names of database and log must outlive a power cut as well as what is in them.
            self._files.sync_folder(path)
            self._reader = Reader(connect_reader(path, timeout=0.0))
            undo.callback(self._reader.close)
            self._fates.count = self._reader.count()
            self._in_flight = InFlight(path)
            undo.callback(self._in_flight.close)
            self._writer = Writer(connection, lambda: connect(path), self._fates.tell)
            undo.pop_all()
        self._gathering = Gathering(self._writer.submit)

    # Accept.

    def check_room(self, wanted_bytes: int) -> None:
        """See that a message of so many octets would be taken.

        Raises:
            SpoolFull: there is no such room beyond the reserve.
            SpoolUnavailable: it cannot be written.
        """
        self._check_open()
        self._room.check(wanted_bytes)

    def begin(self) -> SqliteIncoming:
        """Start to take a message.

        Raises:
            SpoolFull: there is no room beyond the reserve.
            SpoolUnavailable: it cannot be written.
        """
        self._check_open()
        self._room.check()
        self._gathering.expect(1)
        return SqliteIncoming(self, self._ids.make(), self._bodies, self._inline_bytes)

    def arrived(self) -> None:
        """Note that a message that was begun is complete, or will not be."""
        self._gathering.expect(-1)

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
        lane = lane_of(envelope.account, self._priority(envelope))
        entry = new_entry(message_id, envelope, now, now if due is None else due, held, lane=lane)
        return self._submit(kept(asyncio.get_running_loop().create_future(), entry, octets, file_bytes))

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

    def lanes(self, before: float, limit: int, *, after: int, since: float) -> tuple[list[int], int | None]:
        """List lanes behind *after* that hold messages due since then and *before*; say which was looked at last."""
        self._check_open()
        return self._reader.lanes(before, limit, after, since)

    def in_lane(self, lane: int, before: float, limit: int, *, start: tuple[float, str]) -> list[tuple[float, str]]:
        """List the places (due time, id) of a lane that are due, from *start* on, in their order."""
        self._check_open()
        return self._reader.in_lane(lane, before, limit, start)

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time, without those that are damaged."""
        self._check_open()
        return self._reader.page(after, limit)

    def adapt(self, *, reserve_bytes: int, inline_bytes: int, priority: Callable[[Envelope], int]) -> None:
        """Keep so much space free, so large bodies in the database, and mail so urgent, from now on."""
        self._priority = priority
        self._room.reserve_bytes = reserve_bytes
        self._inline_bytes = inline_bytes

    def count(self) -> int:
        """Return how many messages lie here."""
        return self._fates.count

    def content(self, entry: Entry) -> SqliteContent:
        """Open the content of *entry* for reading.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        return SqliteContent(self, entry.id, self._bodies)

    def header(self, entry: Entry) -> bytes:
        """Read the header section of *entry*.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        return self.stored(entry.id)[0][: entry.envelope.header_bytes]

    def stored(self, message_id: MessageId) -> tuple[bytes, int | None]:
        """Read what the database holds of a content, and the length of the body if that lies in a file.

        Raises:
            SpoolUnavailable: it cannot be read, or is not there.
        """
        found = self._find(message_id)
        if found is None:
            raise SpoolUnavailable(f"message {message_id} is not in the spool")
        octets = self._recent.content(message_id)
        return (self._reader.octets(message_id) if octets is None else octets), found[1]

    def _find(self, message_id: MessageId) -> Found | None:
        if self._is_closed:
            self._check_open()
        found = self._recent.entry(message_id)
        if found is None:
            row = self._reader.row(message_id)
            if row is None:
                return None
            found = entry_of(row), row[6]
            self._recent.remember(*found)
        return found

    def _row(self, message_id: MessageId) -> StoredRow | None:
        self._check_open()
        return self._reader.row(message_id)

    # Change.

    async def settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        """Write down what an attempt came to, and keep its bounces; return their receipts.

        A settlement counts as an attempt of the entry, unless it says otherwise.  For a message that is not there
        (any more) nothing is written, and there are no receipts.

        Raises:
            SpoolUnavailable: nothing of it is written down; keep it and try again.
            Misuse: another settlement of the message is being written, or this one names other recipients.
        """
        return await self._changes.settle(message_id, settlement)

    async def alter(self, message_id: MessageId, *, held: bool | None = None, due: float | None = None) -> bool:
        """Put a message on hold or release it, or change when it is due; tell whether it was there.

        Raises:
            SpoolUnavailable: it is not written down.
        """
        return await self._changes.alter(message_id, held, due)

    async def remove(self, message_id: MessageId, bounces: tuple[Draft, ...] = ()) -> tuple[Receipt, ...] | None:
        """Drop a message and keep *bounces* in one transaction; return their receipts, None if it was not there.

        Raises:
            SpoolUnavailable: it is not dropped.
        """
        return await self._changes.remove(message_id, bounces)

    async def rewrite(self, message_id: MessageId, change: Callable[[Entry], Entry | None]) -> bool:
        """Write an entry anew as *change* makes it of what stands there; tell whether it was there and changed.

        Raises:
            SpoolUnavailable: it is not written down.
        """
        return await self._changes.rewrite(message_id, change)

    def attempting(self, message_id: MessageId) -> None:
        """Note that an attempt of a message begins: should we die, a start finds out."""
        self._in_flight.begin(message_id)

    def attempted(self, message_id: MessageId) -> None:
        """Note that an attempt has landed."""
        self._in_flight.end(message_id)

    # Write.

    def _submit(self, change: Change, *, can_wait: bool = False) -> asyncio.Future[None]:
        if self._is_closed:
            self._check_open()
        self._gathering.add(change, can_wait=can_wait)
        return change.future

    def _say(self, reason: str) -> None:
        self._tell(SpoolTroubled(reason))

    def _tell(self, event: Event) -> None:
        if self._emit is not None:
            self._emit(event)

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
        await self._threads.run(self._let_go)
        await asyncio.to_thread(self._threads.stop)

    def _let_go(self) -> None:
        self._writer.stop()
        # The writer's connection is the last, so that it makes the last checkpoint.
        self._reader.close()
        self._writer.close()
        self._in_flight.close()
        self._lock.release()
