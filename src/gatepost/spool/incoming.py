"""A message on its way into the spool: in memory while it is small, in a file of its own from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.errors import Misuse
from gatepost.model.envelope import Envelope, MessageId, Receipt
from gatepost.spool.body import BodyFolder, BodyWriter

if TYPE_CHECKING:
    from gatepost.spool.sqlite import SqliteSpool

__all__ = ["SqliteIncoming"]


class SqliteIncoming:
    """What `SqliteSpool.begin` gives out.

    Args:
        spool: where it is going.
        message_id: the name it will have.
        bodies: where it goes when it is large.
        inline_bytes: how large that is.
    """

    __slots__ = ("_bodies", "_body", "_inline_bytes", "_is_over", "_octets", "_spool", "id")

    def __init__(self, spool: SqliteSpool, message_id: MessageId, bodies: BodyFolder, inline_bytes: int) -> None:
        self.id = message_id
        self._spool = spool
        self._bodies = bodies
        self._inline_bytes = inline_bytes
        self._octets = bytearray()
        self._body: BodyWriter | None = None
        self._is_over = False

    @property
    def backlog_bytes(self) -> int:
        """Octets written that are still in memory beyond what is kept inline: slow down when it grows."""
        return 0 if self._body is None else self._body.backlog_bytes

    def write(self, data: bytes) -> None:
        """Take octets of the body.  Never waits, never raises: trouble shows at `drain` and `commit`."""
        if self._is_over:
            return
        if self._body is not None:
            self._body.write(data)
            return
        self._octets += data
        if len(self._octets) > self._inline_bytes:
            start, self._octets = self._octets, bytearray()
            self._body = BodyWriter(self._bodies, self.id, start)

    async def drain(self) -> None:
        """Wait until `backlog_bytes` is small.

        Raises:
            SpoolUnavailable: it cannot be written.
        """
        if self._body is not None:
            await self._body.drain()

    async def commit(
        self, envelope: Envelope, prefix: bytes, *, due: float | None = None, held: bool = False
    ) -> Receipt:
        """Make *prefix* (the whole header section) and the body durable, as one message.

        A caller that is cancelled meanwhile leaves nothing behind or, when the writer already has it, a whole message.

        Raises:
            SpoolUnavailable: it is not kept, and no trace of it is left.
            Misuse: it was committed or aborted before.
        """
        if self._is_over:
            raise Misuse("a message can be committed once, and not after abort")
        self._is_over = True
        self._spool.arrived()
        body, inline = self._body, self._octets
        self._octets = bytearray()
        try:
            if body is None:
                octets, file_bytes = prefix + inline, None
            else:
                await body.finish()
                octets, file_bytes = prefix, body.size_bytes
            written = self._spool.keep(self.id, envelope, octets, file_bytes, due=due, held=held)
        except BaseException:
            if body is not None:
                body.abandon()
            raise
        if body is not None:
            body.hand_over()
        await written
        return Receipt(self.id, len(octets) + (file_bytes or 0))

    def abort(self) -> None:
        """Forget it; leaves nothing behind.  Harmless after `commit` and a second time."""
        if not self._is_over:
            self._is_over = True
            self._spool.arrived()
            self._octets = bytearray()
            if self._body is not None:
                self._body.abandon()
