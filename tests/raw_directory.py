"""A directory that answers with whatever octets a test wants, over a real socket, and writes down what it was asked."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from gatepost.identity.ldap.ber import Elements, element, size_of_first, whole
from servers import free_ports

__all__ = ["BIND", "EXTENDED", "SEARCH", "RawDirectory", "done", "entry", "message", "result"]

BIND, SEARCH, EXTENDED = 0x60, 0x63, 0x77
_ANSWERS = {BIND: 0x61, SEARCH: 0x65, EXTENDED: 0x78}


def message(number: int, operation: bytes, *more: bytes) -> bytes:
    return element(0x30, whole(number), operation, *more)


def result(tag: int, code: int, text: bytes = b"", *more: bytes) -> bytes:
    return element(tag, whole(code, 0x0A), element(0x04), element(0x04, text), *more)


def done(number: int, code: int = 0, *more: bytes) -> bytes:
    """Return the end of a search."""
    return message(number, result(0x65, code, b"", *more))


def entry(number: int, name: bytes = b"uid=tim,o=x", **values: bytes) -> bytes:
    """Return a message with an entry."""
    attributes = [
        element(0x30, element(0x04, key.encode()), element(0x31, element(0x04, value))) for key, value in values.items()
    ]
    return message(number, element(0x64, element(0x04, name), element(0x30, *attributes)))


@dataclass
class RawDirectory:
    """Has one entry, uid=tim,o=x, and takes every password, unless *answers* says otherwise for a kind of request."""

    answers: dict[int, Callable[[int, bytes], bytes]] = field(default_factory=dict)
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    is_mute: bool = False
    closes_after: int = 0  # so many answers, on each connection
    pause: float = 0.0
    port: int = 0
    connections: int = 0
    most_at_once: int = 0
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, context: ssl.SSLContext | None = None) -> None:
        if not self.port:
            [self.port] = free_ports(1)  # nobody takes it meanwhile
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0.01)
        await self._server.wait_closed()

    @property
    def is_connected(self) -> bool:
        return bool(self._writers)

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def binds(self) -> list[tuple[bytes, bytes]]:
        """Names and passwords that were tried."""
        found = []
        for tag, content in self.requests:
            if tag == BIND:
                parts = Elements(content)
                parts.whole()
                found.append((parts.one(0x04), parts.one(0x80)))
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self.most_at_once = max(self.most_at_once, len(self._writers))
        try:
            octets, answered = b"", 0
            while came := await reader.read(65536):
                if self.is_mute:
                    continue
                octets += came
                while (size := size_of_first(octets)) is not None and size <= len(octets):
                    parts = Elements(octets[:size]).within(0x30)
                    octets = octets[size:]
                    number = parts.whole()
                    tag, content = parts.any()
                    self.requests.append((tag, content))
                    if tag not in _ANSWERS:
                        continue
                    await asyncio.sleep(self.pause)
                    writer.write(self._answer(number, tag, content))
                    await writer.drain()
                    answered += 1
                    if answered == self.closes_after:
                        return
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def _answer(self, number: int, tag: int, content: bytes) -> bytes:
        if tag in self.answers:
            return self.answers[tag](number, content)
        if tag == SEARCH:
            return entry(number, mail=b"tim@example.org") + done(number)
        return message(number, result(_ANSWERS[tag], 0))
