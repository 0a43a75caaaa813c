"""A transport to somebody whose ways are known: its size, a header field it wants, and what its replies mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

from gatepost.ending import ended_by
from gatepost.model.delivery import Delivered, Failed, RemoteReply, Result
from gatepost.relay.conversion import Prefixed, end
from gatepost.relay.known_replies import KnownReplies
from gatepost.relay.transport import Content, Delivery, Transport

__all__ = ["Provided"]


class Provided:
    """Another transport, with what is known of where it leads.

    Args:
        transport: what carries the mail.
        known: what its replies mean.
        message_bytes: the longest message it takes; None if that is not known.
        field: name and value of a header field for messages that have none of that name.

    Attributes:
        transport: what carries the mail.
    """

    def __init__(
        self,
        transport: Transport,
        known: KnownReplies,
        *,
        message_bytes: int | None = None,
        field: tuple[str, str] | None = None,
    ) -> None:
        self.name = transport.name
        self.transport = transport
        self._known = known
        self._message_bytes = message_bytes
        self._field = field

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Try once; return one result per recipient, in their order.

        Raises:
            SpoolUnavailable: the content cannot be read; the next hop got nothing.
        """
        if self._field is not None:
            content = await _with_field(delivery.content, delivery.envelope.header_bytes, *self._field)
            delivery = replace(delivery, content=content)
        limit = self._message_bytes
        # RFC 1870 §5: what is larger than the next hop takes is not even tried.
        if limit is not None and delivery.content.size_bytes > limit:
            reply = RemoteReply.ours(552, "5.3.4", f"Messages this way may have {limit} octets at most")
            return [Failed(reply)] * len(delivery.recipients)
        results = await self.transport.deliver(delivery)
        for result in results:
            if not isinstance(result, Delivered):
                return list(map(self._known.judge, results))
        return results

    async def close(self) -> None:
        """Let go of kept connections."""
        await self.transport.close()


async def _with_field(content: Content, header_bytes: int, name: str, value: str) -> Content:
    """Return *content* with a header field on top, or as it is if it has one of that name."""
    header = content.inline
    if header is None:
        chunks = content.chunks()
        header = await ended_by(_beginning(chunks, header_bytes), partial(end, chunks))
    wanted = b"\r\n" + name.lower().encode("ascii") + b":"
    if wanted in (b"\r\n" + header[:header_bytes]).lower():
        return content
    return Prefixed(content, f"{name}: {value}\r\n".encode("ascii"))


async def _beginning(chunks: AsyncIterator[bytes], octets: int) -> bytes:
    """Read so many *octets*, if there are so many, and the rest of the chunk they end in."""
    pieces, size = [], 0
    async for chunk in chunks:
        pieces.append(chunk)
        size += len(chunk)
        if size >= octets:
            break
    return b"".join(pieces)
