"""A client that says exactly what it is told, and reads whole replies."""

from __future__ import annotations

import asyncio
import base64
import ssl

from gatepost.testing import RunningServer

__all__ = ["Client", "connect", "log_in"]


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self, seconds: float = 60) -> str:
        """Return the next reply, lines joined by spaces; empty when the server hung up."""
        lines: list[str] = []
        async with asyncio.timeout(seconds):
            while True:
                line = (await self.reader.readline()).decode()
                if not line:
                    return " ".join(lines)
                lines.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    return " ".join(lines)

    async def say(self, text: str) -> str:
        """Send a line and return the reply."""
        self.writer.write(text.encode() + b"\r\n")
        return await self.reply()

    async def open_data(self) -> None:
        """Go on to the content of a message."""
        assert (await self.say("MAIL FROM:<tim@example.org>")).startswith("250")
        assert (await self.say("RCPT TO:<bob@example.net>")).startswith("250")
        assert (await self.say("DATA")).startswith("354")

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        try:
            async with asyncio.timeout(60):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            pass

    def abort(self) -> None:
        """Hang up with a reset."""
        self.writer.transport.abort()


async def connect(server: RunningServer, listener: str = "submissions") -> Client:
    """Connect, over TLS where the listener has it from the start, and read the greeting."""
    context: ssl.SSLContext | None = server.client_context if listener == "submissions" else None  # type: ignore[attr-defined]
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.ports[listener], ssl=context, server_hostname="localhost" if context else None
    )
    return Client(reader, writer)


async def log_in(server: RunningServer) -> Client:
    """Connect, and log in with PLAIN."""
    client = await connect(server)
    assert (await client.reply()).startswith("220")
    assert (await client.say("EHLO client.example")).startswith("250")
    token = base64.b64encode(b"\0tim@example.org\0secret-pass-1").decode()
    assert (await client.say(f"AUTH PLAIN {token}")).startswith("235")
    return client
