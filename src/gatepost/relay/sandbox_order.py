"""Which messages lie in the folder of a sandbox, the oldest first, as all workers of a node together left them there.

The folder says what the others brought: each worker looks there anew once it brought a hundredth of what may stay,
so that a large folder is not read for each message.  Whoever brings or takes away holds the folder's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["SandboxOrder", "alone"]

_PART: Final = 100


@contextlib.contextmanager
def alone(folder: int) -> Iterator[None]:
    """Hold the lock of an open folder; where there are no such locks, go on without."""
    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_UN)


class SandboxOrder:
    """The messages in the folder at *path*, as one worker knows them.  For use in threads, under a lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, int] | None = None  # when each was written, by name, the oldest first
        self._brought = 0  # since the folder was looked at

    def bring(self, name: str, keep: int) -> list[str]:
        """Take note of a message whose file is there now; return the oldest ones beyond *keep*, which have to go."""
        kept = self._kept
        if kept is None or self._brought >= keep // _PART:
            kept = self._kept = self._look(kept or {})
            self._brought = 0
        self._brought += 1
        kept.pop(name, None)
        kept[name] = (self._path / f"{name}.eml").stat().st_mtime_ns
        goes = list(kept)[: len(kept) - keep] if len(kept) > keep else []
        for each in goes:
            del kept[each]
        return goes

    def _look(self, known: dict[str, int]) -> dict[str, int]:
        found: list[tuple[int, str]] = []
        with os.scandir(self._path) as entries:
            for each in entries:
                if each.name.endswith(".eml"):
                    name = each.name.removesuffix(".eml")
                    with contextlib.suppress(FileNotFoundError):
                        found.append((known.get(name) or each.stat().st_mtime_ns, name))
        # What came within one tick of the clock is in the order of its names, which are that of acceptance.
        return {name: written for written, name in sorted(found)}
