"""Turn 8-bit content into 7-bit content for a next hop without 8BITMIME (RFC 6152 §3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gatepost.errors import Malformed
from gatepost.message.convert import to_seven_bit
from gatepost.relay.transport import Content

__all__ = ["CONVERSION_LIMIT", "Converted", "convert"]

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
    return Converted(await asyncio.to_thread(to_seven_bit, whole))
