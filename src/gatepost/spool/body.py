"""Bodies that are too large for the database: each streamed to a file of its own as it arrives.

The order is what makes them safe: the file is synced, then its folder, and only then is the row written that names it.
A file without a row is nothing, and recovery removes it.

All disk work runs in the spool's own threads, one piece of work a body at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.spool.files import Files
from gatepost.spool.room import Room
from gatepost.spool.threads import Threads
from gatepost.spool.trouble import spool_error

__all__ = ["PIECE_BYTES", "BodyFolder", "BodyWriter"]

PIECE_BYTES: Final = 128 << 10
"""How much is written or read at once."""


class BodyFolder:
    """The folder, and the bodies that are being written there.

    Args:
        path: the folder.
        files: how to work on it.
        threads: where to work.
        room: whether there is space for another piece.
    """

    def __init__(self, path: Path, files: Files, threads: Threads, room: Room) -> None:
        self.path = path
        self.files = files
        self.threads = threads
        self.room = room
        self.growing: set[BodyWriter] = set()
        self.is_closed = False

    def remove(self, *names: MessageId) -> None:
        """Remove bodies soon; one that cannot be removed is left for recovery."""
        self.threads.run(self._remove, names)

    def _remove(self, names: tuple[MessageId, ...]) -> None:
        for name in names:
            with contextlib.suppress(OSError):
                self.files.remove(self.path / name)

    def read(self, name: MessageId, offset: int) -> bytes:
        """Read the next piece of a body; call it in a thread.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        try:
            return self.files.read(self.path / name, PIECE_BYTES, offset)
        except OSError as error:
            raise spool_error(error) from error

    async def pieces(self, first: bytes, name: MessageId, file_bytes: int) -> AsyncIterator[bytes]:
        """Yield *first*, and then a body of that length.

        Raises:
            SpoolUnavailable: it cannot be read, or has gone.
        """
        yield first
        offset = 0
        while offset < file_bytes:
            piece = await self.threads.run(self.read, name, offset)
            if not piece:
                raise SpoolUnavailable(f"the body of message {name} is shorter than it was")
            offset += len(piece)
            yield piece

    async def close(self) -> None:
        """Forget the bodies that are still being written, and wait until they are gone."""
        self.is_closed = True
        for body in tuple(self.growing):
            body.abandon()
        while works := [body.work for body in self.growing if body.work is not None]:
            await asyncio.wait(works)


class BodyWriter:
    """One body on its way into its file.

    The loop touches the file's state only while no work runs, a thread only while it does.
    """

    def __init__(self, folder: BodyFolder, name: MessageId, start: bytearray) -> None:
        self._folder = folder
        self._path = folder.path / name
        folder.room.take(0, files=1)
        self._waiting = start
        self._working_bytes = 0
        self._failure: SpoolUnavailable | None = None
        self._is_abandoned = False
        self._is_created = False
        self._fd = -1
        self.size_bytes = len(start)
        self.work: asyncio.Future[None] | None = None
        folder.growing.add(self)
        self._write_out()

    @property
    def backlog_bytes(self) -> int:
        """Octets that are not yet written."""
        return len(self._waiting) + self._working_bytes

    def write(self, data: bytes) -> None:
        """Take octets; after a failure they are thrown away."""
        if self._failure is not None or self._is_abandoned:
            return
        self._waiting += data
        self.size_bytes += len(data)
        if self.work is None and len(self._waiting) >= PIECE_BYTES:
            self._write_out()

    async def drain(self) -> None:
        """Wait until at most a piece waits.

        Raises:
            SpoolUnavailable: it cannot be written.
        """
        while self.backlog_bytes > PIECE_BYTES:
            await self._idle()
        if self._failure is not None:
            raise self._failure

    async def finish(self) -> None:
        """Write what waits; make the file and its name durable.

        Raises:
            SpoolUnavailable: it cannot be written, or was abandoned.
        """
        await self._idle()
        if self._failure is None and not self._is_abandoned:
            self._start(self._complete)
            await self._idle()
        if self._is_abandoned:
            raise SpoolUnavailable("the message was given up while it was written")
        if self._failure is not None:
            raise self._failure

    def hand_over(self) -> None:
        """Leave the finished file to whoever writes the row that names it."""
        self._folder.growing.discard(self)

    def abandon(self) -> None:
        """Remove the file, as soon as nothing works on it; harmless a second time."""
        if not self._is_abandoned:
            self._is_abandoned = True
            self._waiting = bytearray()
            if self.work is None:
                self._clear()

    async def _idle(self) -> None:
        while self.work is not None:
            await asyncio.wait((self.work,))

    def _write_out(self) -> None:
        try:
            if self._folder.is_closed:
                raise SpoolUnavailable("the spool is closed")
            self._folder.room.check(begun=True)
        except SpoolUnavailable as error:
            self._fail(error)
            self._clear()
        else:
            self._start(self._append)

    def _start(self, step: Callable[[bytearray], None]) -> None:
        piece, self._waiting = self._waiting, bytearray()
        self._working_bytes = len(piece)
        self._folder.room.take(len(piece))
        self.work = self._folder.threads.run(step, piece)
        self.work.add_done_callback(self._worked)

    def _worked(self, work: asyncio.Future[None]) -> None:
        self.work = None
        self._working_bytes = 0
        error = work.exception()
        if error is not None:
            if not isinstance(error, Exception):
                raise error
            self._fail(spool_error(error))
        if self._failure is not None or self._is_abandoned:
            self._clear()
        elif len(self._waiting) >= PIECE_BYTES:
            self._write_out()

    def _fail(self, error: SpoolUnavailable) -> None:
        self._failure = error
        self._waiting = bytearray()

    def _clear(self) -> None:
        if self._is_created:
            self._start(self._discard)
        else:
            self._folder.growing.discard(self)

    # What follows runs in a thread.

    def _append(self, piece: bytearray) -> None:
        files = self._folder.files
        if not self._is_created:
            self._fd = files.create(self._path)
            self._is_created = True
        files.write(self._fd, piece)

    def _complete(self, piece: bytearray) -> None:
        files = self._folder.files
        self._append(piece)
        files.sync(self._fd)
        self._close()
        files.sync_folder(self._folder.path)

    def _discard(self, _: bytearray) -> None:
        # Marked as gone first: a file that cannot be removed now is left for recovery, not tried for ever.
        self._is_created = False
        with contextlib.suppress(OSError):
            self._close()
        with contextlib.suppress(OSError):
            self._folder.files.remove(self._path)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._folder.files.close(fd)
