"""The audit trail: a line of JSON for each audited event, each with the SHA-256 of the line before.

Every process writes a chain of its own, all into one file.  A line ends in ``worker``, ``pid``, ``chain`` (drawn at its
begin), ``number`` (counted from 1) and ``previous``: the hash of the line before in that chain, without its newline.
The first line of a chain hashes the last one that the same worker left in the file, if there is any.  A chain goes on
across files when the file is rotated.  `verify` checks them.

A line is in the page cache when the call returns, and synced within a second.  A full disk or a broken file stops
nobody: what is not written is counted, and a line of the chain says how much that was once it can be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from gatepost.observe.events import AuditResumed, AuditTroubled, Event
from gatepost.observe.line import Stamp, json_line, showable
from gatepost.observe.verify import NOTHING_BEFORE, parse_line

__all__ = ["AuditTrail", "try_file"]

_SYNC_SECONDS: Final = 1.0
_PATIENCE: Final = 5.0
_NONE: Final = -1  # no descriptor: the file could not be opened, and is tried again each second
_TAIL_BYTES: Final = 1 << 20  # so far back the last line of a worker is looked for


class AuditTrail:
    """Keeps audited events; an event listener.

    Args:
        path: the file to append to.
        worker: number of the worker.
        emit: told when the file gets into trouble, and out of it.
        now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self, path: Path, worker: int, emit: Callable[[Event], None], now: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._emit = emit
        self._stamp = Stamp(now)
        self._fields: dict[type[Event], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._tags: dict[str, Any] = {"worker": worker, "pid": os.getpid(), "chain": secrets.token_hex(8)}
        self._number = 0
        self._lost = 0
        self._is_troubled = False
        self._sync_trouble = ""
        self._told = ""  # of the trouble of the sync
        self._is_dirty = False
        self._lock = threading.Lock()  # of the descriptor
        self._descriptor = _NONE
        self._previous, self._is_torn = NOTHING_BEFORE, False
        with contextlib.suppress(OSError):
            self._descriptor = _open(path)
            self._previous, self._is_torn = _last_line(self._descriptor, worker)
        self._write("info", "audit chain begun", {"torn": self._is_torn})
        self._is_closing = False
        self._turn = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def __call__(self, event: Event) -> None:
        """Append the line of *event*, if it is audited."""
        if not event.audited:
            return
        kind = event.__class__
        if kind not in self._fields:
            names = tuple(field.name for field in fields(kind))
            self._fields[kind] = names, tuple(field.name for field in fields(kind) if field.type in (float, "float"))
        names, floats = self._fields[kind]
        rest = {name: getattr(event, name) for name in names}
        for name in floats:
            rest[name] = showable(rest[name])
        if (self._is_troubled and not self._resume()) or not self._write(event.level, event.name, rest):
            self._lost += 1
        if self._told != self._sync_trouble:
            # The thread may not tell: events belong to the thread of the loop.
            self._told = self._sync_trouble
            if self._told:
                self._emit(AuditTroubled(f"{self._path} cannot be synced: {self._told}"))

    def reopen(self) -> None:
        """Look now whether the file was renamed; otherwise that is done each second."""
        self._turn.set()

    def close(self) -> None:
        """Sync what was written, and let go of the file.  Nothing may be told of any more."""
        self._is_closing = True
        self._turn.set()
        self._thread.join(_PATIENCE)
        with self._lock, contextlib.suppress(OSError):
            os.close(self._descriptor)
            self._descriptor = _NONE

    # The loop's thread.

    def _write(self, level: str, name: str, rest: dict[str, Any]) -> bool:
        """Append a line to the chain; tell whether it is there."""
        number = self._number + 1
        tags = {**self._tags, "number": number, "previous": self._previous}
        line = json_line(self._stamp(), level, name, {**rest, **tags}).encode()
        octets = line + b"\n"
        if self._is_torn:
            octets = b"\n" + octets
        try:
            with self._lock:
                if self._descriptor == _NONE:
                    raise OSError(errno.EIO, "it could not be opened")
                done = os.write(self._descriptor, octets)
        except OSError as error:
            self._get_troubled(error.strerror or type(error).__name__)
            return False
        if done < len(octets):
            self._is_torn = self._is_torn or done > 0
            self._get_troubled("No space left for a whole line")
            return False
        self._number, self._previous = number, sha256(line).hexdigest()
        self._is_torn, self._is_dirty = False, True
        return True

    def _get_troubled(self, reason: str) -> None:
        if not self._is_troubled:
            self._is_troubled = True
            self._emit(AuditTroubled(f"{self._path}: {reason}"))

    def _resume(self) -> bool:
        """Say how much is missing, as soon as anything can be said; tell whether it could."""
        if not self._write("warning", "audit resumed", {"lost": self._lost, "torn": self._is_torn}):
            return False
        lost, self._lost, self._is_troubled = self._lost, 0, False
        self._emit(AuditResumed(lost))
        return True

    # The trail's own thread.

    def _run(self) -> None:
        self._sync_folder()
        is_last = False
        while not is_last:
            self._turn.wait(_SYNC_SECONDS)
            self._turn.clear()
            is_last = self._is_closing
            self._sync()
            self._follow()

    def _sync(self) -> None:
        if not self._is_dirty:
            return
        self._is_dirty = False
        try:
            os.fdatasync(self._descriptor)
            self._sync_trouble = ""
        except OSError as error:
            self._sync_trouble, self._is_dirty = error.strerror or type(error).__name__, True

    def _sync_folder(self) -> None:
        with contextlib.suppress(OSError):
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _follow(self) -> None:
        """Open the file anew if it is no longer the one under its name; the old one is synced to its end."""
        with contextlib.suppress(OSError):
            if self._descriptor != _NONE and self._is_the_one():
                return
            fresh = _open(self._path)
            with self._lock:
                old, self._descriptor = self._descriptor, fresh
            if old == _NONE:
                return
            try:
                os.fdatasync(old)
            finally:
                os.close(old)
                self._sync_folder()

    def _is_the_one(self) -> bool:
        try:
            there, ours = self._path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def try_file(path: Path) -> None:
    """See that the file can be opened; it is made if it is missing.

    Raises:
        OSError: it cannot.
    """
    os.close(_open(path))


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def _last_line(descriptor: int, worker: int) -> tuple[str, bool]:
    """Return the hash of the last line of *worker* in the file, and whether the file ends in half a line."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    for octets in reversed(tail.split(b"\n")):
        line = parse_line(octets)
        if line is not None and line.worker == worker:
            return line.digest, not tail.endswith(b"\n")
    return NOTHING_BEFORE, bool(tail) and not tail.endswith(b"\n")
