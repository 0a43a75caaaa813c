"""Two ways to a session: a real socket, and a transport in memory that cuts exactly where it is told to."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from fuzz.replies import Broken, Replies, Reply
from gatepost.session.service import Service
from gatepost.session.smtp import SubmissionSession

__all__ = ["MemoryWire", "SocketWire", "Wire"]


class Wire:
    """Carries octets to the server and replies back.

    Attributes:
        replies: what came and was not looked at.
        has_ended: whether the server hung up.
        was_reset: whether it did so by a reset.
    """

    def __init__(self) -> None:
        self.replies = Replies()
        self.has_ended = False
        self.was_reset = False
        self._news = asyncio.Event()

    async def send(self, octets: bytes) -> None:
        """Send *octets* as one piece."""
        raise NotImplementedError

    async def start_tls(self) -> None:
        """Go on in TLS."""
        raise NotImplementedError

    async def hang_up(self) -> None:
        """End the connection."""
        raise NotImplementedError

    async def reply(self, seconds: float) -> Reply | None:
        """Return the next reply; None if the server hung up.  Raises `Broken`, also if none comes in time."""
        while (reply := self.replies.next()) is None and not self.has_ended:
            await self._wait(seconds, "no reply")
        if reply is None and not self.replies.is_between:
            raise Broken(f"half a reply: {self.replies.rest!r}")
        return reply

    async def end(self, seconds: float) -> None:
        """Wait until the server hangs up.  Raises `Broken` if it does not."""
        while not self.has_ended:
            await self._wait(seconds, "it does not hang up")

    async def _wait(self, seconds: float, what: str) -> None:
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            raise Broken(f"{what} within {seconds:g} s") from None

    def came(self, octets: bytes) -> None:
        """Take what the server said."""
        self.replies.feed(octets)
        self._news.set()

    def ended(self) -> None:
        """Note that it hung up."""
        self.has_ended = True
        self._news.set()


class SocketWire(Wire, asyncio.Protocol):
    """A TCP connection, in TLS or not."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self._transport: Any = None
        self._lost = asyncio.Event()
        self._can_write = asyncio.Event()
        self._can_write.set()

    async def connect(self, port: int, *, is_encrypted: bool) -> SocketWire:
        """Connect to *port* of 127.0.0.1."""
        self._transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: self,
            "127.0.0.1",
            port,
            ssl=self._context if is_encrypted else None,
            server_hostname="localhost" if is_encrypted else None,
        )
        return self

    def data_received(self, data: bytes) -> None:
        self.came(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.was_reset = error is not None
        self._lost.set()
        self._can_write.set()
        self.ended()

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    async def send(self, octets: bytes) -> None:
        if not self.has_ended:
            self._transport.write(octets)
            await asyncio.sleep(0)
            await self._can_write.wait()

    async def start_tls(self) -> None:
        self._transport = await asyncio.get_running_loop().start_tls(
            self._transport, self, self._context, server_hostname="localhost"
        )

    async def hang_up(self) -> None:
        self._transport.abort()
        await self._lost.wait()


class MemoryWire(Wire, asyncio.Transport):
    """A session without a socket.

    Args:
        service: of the listener.
        facts: what a TLS transport would know of its connection; None in clear.
    """

    def __init__(self, service: Service, facts: ssl.SSLObject | None) -> None:
        super().__init__()
        self._facts = facts
        self._protocol: asyncio.BaseProtocol = SubmissionSession(service)
        self._can_read = asyncio.Event()
        self._can_read.set()
        self._is_closing = False
        self._protocol.connection_made(self)

    # What the session asks of its transport

    def write(self, data: Any) -> None:
        if not self._is_closing:
            self.came(bytes(data))

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._can_read.set()
            asyncio.get_running_loop().call_soon(self._lose)

    def _lose(self) -> None:
        self._protocol.connection_lost(None)
        self.ended()

    abort = close

    def write_eof(self) -> None:
        # The client does what asyncio's transports do by themselves: it hangs up, too.
        asyncio.get_running_loop().call_soon(self._hang_up_too)

    def _hang_up_too(self) -> None:
        if not self._is_closing and not self._protocol.eof_received():  # type: ignore[attr-defined]
            self.close()

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._can_read.clear()

    def resume_reading(self) -> None:
        self._can_read.set()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 1), "ssl_object": self._facts}.get(name, default)

    # What the client does

    async def send(self, octets: bytes) -> None:
        await self._can_read.wait()
        if not self._is_closing:
            self._protocol.data_received(octets)  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    async def start_tls(self) -> None:
        raise Broken("no handshake in memory")

    async def hang_up(self) -> None:
        self.close()
        await asyncio.sleep(0)
