"""Entries that were just written or read, and small contents until they were tried once: no second reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatepost.model.envelope import MessageId
from gatepost.spool.spool import Entry

__all__ = ["Found", "Recent"]

# Entries with few recipients are remembered, so many of them.
_REMEMBERED: Final = 512
_FEW: Final = 4
# Of them, contents up to this size.
_SMALL: Final = 16_384

Found = tuple[Entry, int | None]
"""An entry, and the length of its body's file if it has one."""


class Recent:
    """A short memory; the database is the truth."""

    def __init__(self) -> None:
        self._entries: dict[MessageId, Found] = {}
        self._contents: dict[MessageId, bytes] = {}

    def entry(self, message_id: MessageId) -> Found | None:
        """Return an entry, if it is remembered."""
        return self._entries.get(message_id)

    def content(self, message_id: MessageId) -> bytes | None:
        """Return what the database holds of a content, if it is remembered."""
        return self._contents.get(message_id)

    def remember(self, entry: Entry, file_bytes: int | None) -> None:
        """Keep *entry* in mind, unless it is large."""
        if len(entry.progress) <= _FEW:
            if len(self._entries) >= _REMEMBERED:
                oldest = next(iter(self._entries))
                del self._entries[oldest]
                self._contents.pop(oldest, None)
            self._entries[entry.id] = entry, file_bytes

    def remember_new(self, entry: Entry, file_bytes: int | None, octets: bytes | bytearray) -> None:
        """Keep a new entry in mind, with its content if that is small: its first attempt reads it at once."""
        self.remember(entry, file_bytes)
        if len(octets) <= _SMALL and entry.id in self._entries:
            self._contents[entry.id] = bytes(octets)

    def forget(self, names: Iterable[MessageId]) -> None:
        """Forget messages that were changed."""
        for name in names:
            self._entries.pop(name, None)
            self._contents.pop(name, None)
