"""Turn 8-bit content into 7-bit content for a next hop without 8BITMIME (RFC 6152 §3).

What bears signatures of ours is signed anew then: they would not survive.  Signatures that it came with stay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gatepost.errors import Malformed
from gatepost.message.convert import to_seven_bit
from gatepost.message.signer import Signer
from gatepost.relay.transport import Content

__all__ = ["CONVERSION_LIMIT", "Converted", "Prefixed", "Signed", "convert", "end"]

CONVERSION_LIMIT = 32 * 1024 * 1024
"""Largest content that is converted, in octets: it lies in memory meanwhile."""


class Converted:
    """Content that lies in memory."""

    def __init__(self, content: bytes) -> None:
        self.size_bytes = len(content)
        self.inline: bytes | None = content

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content, whole."""
        if self.inline is not None:
            yield self.inline


class Signed:
    """Content that bears signatures of ours.

    Args:
        content: what is to be sent.
        signatures: how many there are, the first ones in its header.
        signer: signs it anew; None where nobody does any more.

    Attributes:
        is_lost: whether it was converted, and nobody signed it anew.
    """

    def __init__(self, content: Content, signatures: int, signer: Signer | None) -> None:
        self.is_lost = False
        self._content = content
        self._signatures = signatures
        self._signer = signer
        self.size_bytes = content.size_bytes
        self.inline = content.inline

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its start, as it is."""
        return self._content.chunks()

    def in_seven_bit(self, whole: bytes) -> bytes:
        """Convert *whole*, all of it, and sign what comes out.

        Raises:
            Malformed: it cannot be converted.
        """
        converted = to_seven_bit(Signer.unsigned(whole, self._signatures))
        signed, count = (converted, 0) if self._signer is None else self._signer.sign_whole(converted)
        # RFC 6376 §6.1: a broken signature is worth no more than none, and looks like forgery.
        self.is_lost = not count
        return signed


class Prefixed:
    """Content with one more header field on top, above signatures of ours.

    Args:
        content: what is below.
        prefix: the field, in ASCII.
    """

    def __init__(self, content: Content, prefix: bytes) -> None:
        self._content = content
        self._prefix = prefix
        self.size_bytes = content.size_bytes + len(prefix)
        self.inline = None if content.inline is None else prefix + content.inline

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its start."""
        yield self._prefix
        chunks = self._content.chunks()
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await end(chunks)

    def in_seven_bit(self, whole: bytes) -> bytes:
        """Convert *whole*, all of it; what is below the field is signed anew if it bears signatures of ours.

        Raises:
            Malformed: it cannot be converted.
        """
        below, content = whole[len(self._prefix) :], self._content
        return self._prefix + (content.in_seven_bit(below) if isinstance(content, Signed) else to_seven_bit(below))


async def end(chunks: AsyncIterator[bytes]) -> None:
    """End a generator at once, so that the file it reads is closed."""
    aclose = getattr(chunks, "aclose", None)
    if aclose is not None:
        await aclose()


async def convert(content: Content) -> Content:
    """Return *content* with nothing but 7-bit octets; the work is done in a thread.

    Raises:
        Malformed: it cannot be converted.
        SpoolUnavailable: it cannot be read.
    """
    if content.size_bytes > CONVERSION_LIMIT:
        raise Malformed("too large to be converted to 7-bit", code=554, enhanced="5.6.3")
    whole = content.inline
    if whole is None:
        whole = b"".join([piece async for piece in content.chunks()])
    return Converted(
        await asyncio.to_thread(content.in_seven_bit if isinstance(content, Signed | Prefixed) else to_seven_bit, whole)
    )
