"""Write lines to a file, pipe or terminal from a thread of its own, so that a slow or broken target stops nobody.

`LogWriter.write` never waits and never raises.  Lines are written in the order they came, within some hundredths of
a second.  When the target is too slow, or fails, lines are dropped; how many is written as soon as it works again.  A
file that was moved away (log rotation) is opened anew under its name.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

__all__ = ["DirectWriter", "LogWriter"]

_LINES_WAITING = 20_000
_BATCH_LINES = 1_000
_PAUSE = 0.01  # between batches: an idle log costs nothing, a busy one a hundred writes a second
_PATIENCE = 0.5  # with a target that takes nothing


class LogWriter:
    """Takes lines; its thread writes them.

    Args:
        target: path of a file to append to, or a file descriptor that stays open.
        lost: makes the line that says how many lines were dropped.
    """

    def __init__(self, target: Path | int, lost: Callable[[int], str]) -> None:
        self._path = target if isinstance(target, Path) else None
        self._descriptor = _open(target) if isinstance(target, Path) else target
        self._lost_line = lost
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._dropped = 0
        self._lock = threading.Lock()  # of the number of dropped lines
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, without its newline.  Never waits, never raises."""
        if self._lines.qsize() < _LINES_WAITING:
            self._lines.put(line)
        else:
            self._drop(1)

    def close(self, patience: float = 2.0) -> None:
        """Write what waits, for *patience* seconds at most, and end the thread.  Harmless a second time."""
        self._is_closing = True
        self._lines.put(None)
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._is_closing or not self._lines.empty():
            batch = self._take()
            if batch:
                self._put(batch)
            if not self._is_closing:
                time.sleep(_PAUSE)
        if self._path is not None:
            os.close(self._descriptor)

    def _take(self) -> list[str]:
        """Wait for a line; return it with those that came after it."""
        batch = [self._lines.get()]
        with contextlib.suppress(Empty):
            while len(batch) < _BATCH_LINES:
                batch.append(self._lines.get_nowait())
        return [line for line in batch if line is not None]

    def _put(self, batch: list[str]) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        lost = [self._lost_line(dropped)] if dropped else []
        octets = ("\n".join([*batch, *lost]) + "\n").encode("utf-8", "backslashreplace")
        try:
            if self._path is not None:
                self._follow(self._path)
            self._write_all(octets)
        except OSError:
            self._drop(dropped + len(batch))

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count

    def _write_all(self, octets: bytes) -> None:
        view = memoryview(octets)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                # Somebody who shares the descriptor made it non-blocking.
                _, ready, _ = select.select([], [self._descriptor], [], _PATIENCE)
                if not ready:
                    raise

    def _follow(self, path: Path) -> None:
        """Open the file anew if it is no longer the one under its name."""
        try:
            there, ours = path.stat(), os.fstat(self._descriptor)
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                return
        except FileNotFoundError:
            pass
        fresh = _open(path)
        os.close(self._descriptor)
        self._descriptor = fresh


class DirectWriter:
    """Writes each line at once: for a process that has no threads, and little to say.

    Args:
        target: path of a file to append to, or a file descriptor that stays open.
    """

    def __init__(self, target: Path | int) -> None:
        self._target = target

    def write(self, line: str) -> None:
        """Write a line, without its newline; never raises."""
        octets = (line + "\n").encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            descriptor = _open(self._target) if isinstance(self._target, Path) else self._target
            try:
                os.write(descriptor, octets)
            finally:
                if isinstance(self._target, Path):
                    os.close(descriptor)

    def close(self) -> None:
        """Nothing is open."""


def _open(path: Path) -> int:
    # The log names addresses: it is not for everybody.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
