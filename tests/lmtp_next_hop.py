"""A next hop that speaks LMTP (RFC 2033), and can do anything that a `FakeNextHop` can, for each recipient.

Its step after the final dot is ``end <address>``, once for each recipient that was taken, or ``end`` for all of them.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

from next_hop import FakeNextHop, Mail, Talk

__all__ = ["LMTP_EXTENSIONS", "FakeLmtpHop"]

LMTP_EXTENSIONS = ("PIPELINING", "SIZE 0", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES")


class FakeLmtpHop(FakeNextHop):
    """A server on 127.0.0.1, or on a Unix socket.

    Args:
        socket: where the Unix socket is to lie; None for TCP.
        options: as for a `FakeNextHop`.

    Attributes:
        kept: recipient and content of all that was taken with a 2yz reply.
    """

    def __init__(self, *, socket: Path | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.socket = socket
        self.kept: list[tuple[str, bytes]] = []

    @property
    def talk_type(self) -> type[Talk]:
        return LmtpTalk

    async def _listen(self, port: int, context: ssl.SSLContext | None) -> asyncio.Server:
        if self.socket is None:
            return await super()._listen(port, context)
        return await asyncio.start_unix_server(self._serve, self.socket, limit=2**16)


class LmtpTalk(Talk):
    """One connection."""

    hop: FakeLmtpHop

    async def do_lhlo(self, line: str) -> None:
        await super().do_ehlo(line)

    async def do_ehlo(self, line: str) -> None:
        await self.send(b"500 5.5.1 this is LMTP\r\n")

    async def do_helo(self, line: str) -> None:
        await self.send(b"500 5.5.1 this is LMTP\r\n")

    async def settle(self, mail: Mail) -> None:
        for number, recipient in enumerate(mail.recipients):
            if await self.do(f"250 2.1.5 kept as {number}", f"end {recipient}", "end"):
                mail.is_accepted = True
                self.hop.kept.append((recipient, mail.content))
