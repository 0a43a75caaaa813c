"""The content of a message, read in pieces: a small one whole from the database, a large one from its file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Self

from gatepost.model.envelope import MessageId
from gatepost.spool.body import BodyFolder

if TYPE_CHECKING:
    from gatepost.spool.sqlite import SqliteSpool

__all__ = ["SqliteContent"]


class SqliteContent:
    """What `SqliteSpool.content` gives out; no file stays open between two pieces.

    Attributes:
        size_bytes: length of the content.
        inline: the whole content, when it lies in the database; None when part of it is in a file.
    """

    __slots__ = ("_bodies", "_file_bytes", "_message_id", "_octets", "_spool", "inline", "size_bytes")

    def __init__(self, spool: SqliteSpool, message_id: MessageId, bodies: BodyFolder) -> None:
        self._spool = spool
        self._message_id = message_id
        self._bodies = bodies
        self._octets = b""
        self._file_bytes = 0
        self.inline: bytes | None = None
        self.size_bytes = 0

    async def __aenter__(self) -> Self:
        self._octets, file_bytes = self._spool.stored(self._message_id)
        if file_bytes is None:
            self.inline = self._octets
        else:
            self._file_bytes = file_bytes
        self.size_bytes = len(self._octets) + self._file_bytes
        return self

    async def __aexit__(self, *_: object) -> None:
        self._octets = b""
        self.inline = None

    def chunks(self) -> AsyncIterator[bytes]:
        """Return an iterator over the content from its start; can be called again.

        Raises:
            SpoolUnavailable: while it is read: the body's file cannot be read, or has gone.
        """
        return self._bodies.pieces(self._octets, self._message_id, self._file_bytes)
