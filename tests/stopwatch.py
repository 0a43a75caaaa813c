"""How long something took, but for the time in which the machine held everybody up: a promise of seconds is kept or not
by what we do, and a machine that stands still for a while, as virtual ones may, keeps none.
"""

from __future__ import annotations

import threading
import time
from typing import Self

__all__ = ["Stopwatch"]

_TICK = 0.02
_LATE = 0.1


class Stopwatch:
    """Runs while the block does; a thread that only wants to tick notices when nothing runs."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._began = 0.0
        self._held_up = 0.0
        self._thread = threading.Thread(target=self._tick, name="stopwatch", daemon=True)

    @property
    def seconds(self) -> float:
        """What it shows."""
        return time.monotonic() - self._began - self._held_up

    def _tick(self) -> None:
        while True:
            before = time.monotonic()
            if self._is_over.wait(_TICK):
                return
            late = time.monotonic() - before - _TICK
            if late > _LATE:
                self._held_up += late

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
