"""Where lines go: a file, pipe or terminal that several processes write to, whose lines are never torn or mixed.

Who writes holds a lock on the target for as long as that takes.  A file is appended to in one write; when the disk is
full, the part of a line that still found room is taken away again.  A pipe gets pieces of whole lines that the kernel
takes as one (PIPE_BUF), for the sake of others that know of no lock.  A file that was renamed or removed (log rotation)
is opened anew under its name; until that can be done, lines go to the old one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

__all__ = ["Target"]

_PIECE: Final = select.PIPE_BUF
_STUCK: Final = 0.5  # with a non-blocking descriptor that takes nothing
_LOCK_PATIENCE: Final = 2.0  # a stopped process may hold the lock: better mixed lines than none
_LOCK_PAUSE: Final = 0.001


class Target:
    """One open target.

    Args:
        target: path of a file to append to, or a file descriptor that stays open.
        patience: how long to wait for a pipe that is full, in seconds; None for ever.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, target: Path | int, patience: float | None = None) -> None:
        self._path = target if isinstance(target, Path) else None
        self._patience = patience
        self._is_torn = False
        self._descriptor = _open(target) if isinstance(target, Path) else target
        self._is_file = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        if self._is_file and self._path is None:
            # Somebody may truncate it (copytruncate): then we go on at its end, not where we were.
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags | os.O_APPEND)

    def put(self, lines: Sequence[bytes]) -> int:
        """Write *lines*, each with its newline; return how many were written whole.  Never raises."""
        written = 0
        with contextlib.suppress(OSError), self._lock():
            if self._is_file:
                return self._append(lines)
            for piece in _pieces(lines):
                self._write(b"".join(piece))
                written += len(piece)
        return written

    def follow(self) -> None:
        """Open the file anew if it is no longer the one under its name."""
        if self._path is None:
            return
        with contextlib.suppress(OSError):
            with contextlib.suppress(FileNotFoundError):
                there, ours = self._path.stat(), os.fstat(self._descriptor)
                if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            fresh = _open(self._path)
            os.close(self._descriptor)
            self._descriptor = fresh
            self._is_file = stat.S_ISREG(os.fstat(fresh).st_mode)

    def close(self) -> None:
        """Let go of what was opened here."""
        if self._path is not None:
            os.close(self._descriptor)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        deadline = time.monotonic() + _LOCK_PATIENCE
        is_locked = False
        while not is_locked:
            try:
                # A lock of the process, not of the descriptor: that one is shared by all who were forked.
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_locked = True
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline:
                    break
                time.sleep(_LOCK_PAUSE)
            except OSError:
                break  # it knows no locks
        try:
            yield
        finally:
            if is_locked:
                with contextlib.suppress(OSError):
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _append(self, lines: Sequence[bytes]) -> int:
        octets = b"".join(lines)
        if self._ends_in_half_a_line():
            octets = b"\n" + octets
        done = 0
        try:
            while done < len(octets):
                done += os.write(self._descriptor, octets[done:] if done else octets)
        except OSError:
            return self._withdraw(lines, octets, done)
        return len(lines)

    def _withdraw(self, lines: Sequence[bytes], octets: bytes, done: int) -> int:
        """Take the last, half line away again; return how many are there."""
        whole = octets.rfind(b"\n", 0, done) + 1
        end = os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if whole < done and os.fstat(self._descriptor).st_size == end:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end - (done - whole))
        count, length = 0, len(octets) - sum(map(len, lines))
        for line in lines:
            length += len(line)
            if length > whole:
                break
            count += 1
        return count

    def _ends_in_half_a_line(self) -> bool:
        """Tell whether somebody was killed in the middle of a line."""
        try:
            size = os.fstat(self._descriptor).st_size
            return size > 0 and os.pread(self._descriptor, 1, size - 1) not in (b"\n", b"")
        except OSError:
            return False  # we may not read it

    def _write(self, octets: bytes) -> None:
        if self._is_torn:
            octets = b"\n" + octets
        view = memoryview(octets)
        while view:
            if self._patience is not None:
                self._wait(self._patience)
            try:
                view = view[os.write(self._descriptor, view[:_PIECE] if self._patience is not None else view) :]
            except BlockingIOError:
                # Somebody who shares the descriptor made it non-blocking.
                self._wait(_STUCK)
            finally:
                self._is_torn = self._is_torn if len(view) == len(octets) else bool(view)

    def _wait(self, seconds: float) -> None:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        if not poll.poll(seconds * 1000):
            raise TimeoutError


def _pieces(lines: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Divide *lines* into runs that the kernel takes in one piece; a longer line is a run of its own."""
    run: list[bytes] = []
    length = 0
    for line in lines:
        if run and length + len(line) > _PIECE:
            yield run
            run, length = [], 0
        run.append(line)
        length += len(line)
    if run:
        yield run


def _open(path: Path) -> int:
    flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    # The log names addresses: it is not for everybody.
    try:
        return os.open(path, flags | os.O_RDWR, 0o640)
    except PermissionError:
        return os.open(path, flags | os.O_WRONLY, 0o640)
