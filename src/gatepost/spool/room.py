"""Is there room for more mail?  The last of the disk is kept for what we must still write down about mail we have."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.model.clock import Clock
from gatepost.spool.files import Files

__all__ = ["Room"]

# How long an answer of the file system holds, in seconds; what we take meanwhile is counted.
_FRESH: Final = 0.1
# Inodes that new mail must leave: fewer, where there are only a few.
_RESERVE_FILES: Final = 256
_RESERVE_SHARE: Final = 20


class Room:
    """Watches the free space and inodes of the file system that holds *folder*.

    Args:
        folder: any folder there.
        reserve_bytes: what new mail must leave free.
        clock: for the age of the last answer.
        files: how to ask.

    Attributes:
        reserve_bytes: what new mail must leave free.
    """

    def __init__(self, folder: Path, reserve_bytes: int, clock: Clock, files: Files) -> None:
        self._folder = folder
        self.reserve_bytes = reserve_bytes
        self._clock = clock
        self._files = files
        self._asked_at = float("-inf")
        self._free_bytes = 0.0
        self._free_files = 0.0
        self._reserve_files = 0
        self._trouble = ""

    def take(self, count: int, *, files: int = 0) -> None:
        """Note that *count* octets were written, and *files* made, until the file system is asked again."""
        self._free_bytes -= count
        self._free_files -= files

    def check(self, wanted_bytes: int = 0, *, begun: bool = False) -> None:
        """See that there is room for so much: a message that has begun may use half of the reserve.

        Raises:
            SpoolFull: there is not.
            SpoolUnavailable: nothing can be written there.
        """
        now = self._clock.monotonic()
        if not 0 <= now - self._asked_at < _FRESH:
            self._ask()
            self._asked_at = now
        if self._trouble:
            raise SpoolUnavailable(self._trouble)
        part = 2 if begun else 1
        if self._free_bytes - wanted_bytes < self.reserve_bytes // part:
            raise self._full("room")
        if self._free_files < self._reserve_files // part:
            raise self._full("inodes")

    def _full(self, what: str) -> SpoolFull:
        self._asked_at = float("-inf")
        return SpoolFull(f"the spool's file system has no {what} beyond the reserve")

    def _ask(self) -> None:
        self._trouble = ""
        try:
            answer = self._files.statvfs(self._folder)
        except OSError as error:
            self._trouble = f"the spool's file system does not answer: {error.strerror}"
            return
        if answer.f_flag & os.ST_RDONLY:
            self._trouble = "the spool's file system is read-only"
        self._free_bytes = float(answer.f_bavail * answer.f_frsize)
        # Some file systems make inodes as they need them, and say 0 of 0.
        self._free_files = float(answer.f_favail) if answer.f_files else math.inf
        self._reserve_files = min(_RESERVE_FILES, answer.f_files // _RESERVE_SHARE)
