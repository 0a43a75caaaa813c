"""Write lines from a thread of its own, so that a slow or broken target stops nobody.

`LogWriter.write` never waits and never raises.  Lines are written in the order they came, within some hundredths of
a second.  When the target is too slow, or fails, lines are dropped; how many is written as soon as it works again.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

from gatepost.observe.target import Target

__all__ = ["DirectWriter", "LogWriter"]

_LINES_WAITING = 20_000
_BATCH_LINES = 1_000
# Between batches: an idle log costs nothing, a busy one some twenty writes a second.  Each takes the interpreter from
# the loop several times.
_PAUSE = 0.05
_PATIENCE = 0.2


class LogWriter:
    """Takes lines; its thread writes them.

    Args:
        target: path of a file to append to, or a file descriptor that stays open.
        lost: makes the line that says how many lines were dropped.

    Attributes:
        on_lost: told how many lines were dropped, each once; by any thread, one at a time.
    """

    def __init__(self, target: Path | int, lost: Callable[[int], str]) -> None:
        self._target = Target(target)
        self._lost_line = lost
        self.on_lost: Callable[[int], None] = _ignore
        self._lines: deque[str] = deque()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._is_waiting = False  # for the bell
        self._dropped = 0
        self._lock = threading.Lock()  # of the number of dropped lines
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def write(self, line: str) -> None:
        """Take a line, without its newline.  Never waits, never raises."""
        if len(self._lines) < _LINES_WAITING:
            self._lines.append(line)
            if self._is_waiting:
                self._is_waiting = False  # once is enough to be heard
                self._bell.put(None)
        else:
            self._drop(1)

    def reopen(self) -> None:
        """Look now whether the file was renamed, even if there is nothing to write."""
        self._bell.put(None)

    def close(self, patience: float = 2.0) -> None:
        """Write what waits, for *patience* seconds at most, and end the thread.  Harmless a second time."""
        self._is_closing = True
        self._bell.put(None)
        self._thread.join(patience)

    def _run(self) -> None:
        while not self._is_closing or self._lines:
            self._wait()
            self._target.follow()
            if self._lines:
                self._put([self._lines.popleft() for _ in range(min(len(self._lines), _BATCH_LINES))])
            if len(self._lines) < _BATCH_LINES and not self._is_closing:
                time.sleep(_PAUSE)
        self._target.close()

    def _wait(self) -> None:
        """Wait for a line, or for somebody who rings."""
        # Said before the look: a line that comes after it is told of by the bell.
        self._is_waiting = True
        if not self._lines and not self._is_closing:
            self._bell.get()
        self._is_waiting = False

    def _put(self, batch: list[str]) -> None:
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        if dropped:
            batch = [*batch, self._lost_line(dropped)]
        missing = len(batch) - self._target.put([_octets(line) for line in batch])
        if missing and dropped:
            # The line that would have said so is no loss by itself.
            with self._lock:
                self._dropped += dropped
            missing -= 1
        if missing:
            self._drop(missing)

    def _drop(self, count: int) -> None:
        with self._lock:
            self._dropped += count
            self.on_lost(count)


class DirectWriter:
    """Writes each line at once: for a process that has no threads, and little to say.

    Args:
        target: path of a file to append to, or a file descriptor that stays open.
    """

    def __init__(self, target: Path | int) -> None:
        self._target = target

    def write(self, line: str) -> None:
        """Write a line, without its newline; never raises, and hardly waits."""
        with contextlib.suppress(OSError), contextlib.closing(Target(self._target, _PATIENCE)) as target:
            target.put([_octets(line)])

    def reopen(self) -> None:
        """Nothing is open."""

    def close(self) -> None:
        """Nothing is open."""


def _octets(line: str) -> bytes:
    return (line + "\n").encode("utf-8", "backslashreplace")


def _ignore(count: int) -> None:
    """Tell nobody."""
