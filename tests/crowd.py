"""Connections by the hundred that do as little as they can: slow ones, ones that are stuck in the handshake, idle ones.

They come from many addresses of this machine, as a crowd does.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import ssl
from collections.abc import Iterator

__all__ = ["Crowd", "Guest", "many_descriptors"]

_AT_ONCE = 40


@contextlib.contextmanager
def many_descriptors(count: int) -> Iterator[None]:
    """Let this process open so many descriptors, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count if hard < 0 else min(hard, count)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Guest(asyncio.Protocol):
    """One connection.

    Attributes:
        heard: what the server said.
        is_gone: whether the server hung up.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.is_gone = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, error: Exception | None) -> None:
        self.is_gone = True
        self.transport = None

    def say(self, octets: bytes) -> None:
        """Send something, if anybody is there."""
        if self.transport is not None:
            self.transport.write(octets)

    def leave(self) -> None:
        """Hang up without a word."""
        if self.transport is not None:
            self.transport.abort()


class Crowd:
    """Many connections.

    Args:
        starttls_port: where there is TLS after STARTTLS.
        implicit_port: where there is TLS from the start.
        context: of a client.
    """

    def __init__(self, starttls_port: int, implicit_port: int, context: ssl.SSLContext) -> None:
        self._starttls_port = starttls_port
        self._implicit_port = implicit_port
        self._context = context
        self.slow: list[Guest] = []
        self.stuck: list[Guest] = []
        self.idle: list[Guest] = []
        self._dripping: asyncio.Task[None] | None = None

    async def gather(self, slow: int, stuck: int, idle: int) -> None:
        """Connect them all."""
        self.slow += await self.come(slow, network=2)
        self._dripping = asyncio.create_task(self._drip())
        self.stuck += await self.come(stuck, network=3, implicit=True)
        for guest in self.stuck[::2]:
            guest.say(b"\x16\x03\x01")  # the beginning of a ClientHello
        self.idle += await self.come(idle, network=4, implicit=True, context=self._context)
        for guest in self.idle:
            guest.say(b"EHLO client.example\r\n")

    async def come(
        self,
        count: int,
        *,
        network: int,
        each: int = 100,
        implicit: bool = False,
        context: ssl.SSLContext | None = None,
    ) -> list[Guest]:
        """Open *count* connections, so many from *each* address of 127.0.<network>.0/24."""
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(_AT_ONCE)

        async def connect(number: int) -> Guest:
            async with room:
                _, guest = await loop.create_connection(
                    Guest,
                    "127.0.0.1",
                    self._implicit_port if implicit else self._starttls_port,
                    local_addr=(f"127.0.{network}.{1 + number // each}", 0),
                    ssl=context,
                    server_hostname="localhost" if context is not None else None,
                )
            return guest

        return list(await asyncio.gather(*(connect(number) for number in range(count))))

    async def _drip(self) -> None:
        """Send one octet a second on each slow connection, of a line that never ends."""
        for octet in b"EHLO " + b"x" * 1000:
            for guest in self.slow:
                guest.say(bytes([octet]))
            await asyncio.sleep(1)

    @property
    def guests(self) -> list[Guest]:
        """All of them."""
        return [*self.slow, *self.stuck, *self.idle]

    async def leave(self) -> None:
        """Hang up, all of them."""
        if self._dripping is not None:
            self._dripping.cancel()
        for guest in self.guests:
            guest.leave()
        while not all(guest.is_gone for guest in self.guests):
            await asyncio.sleep(0.01)
