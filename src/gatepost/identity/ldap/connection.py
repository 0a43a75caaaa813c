"""A connection to a directory: one request at a time, each answer read within bounds (RFC 4511 §5)."""

from __future__ import annotations

import asyncio
import ssl
from typing import Final, cast

from gatepost.errors import Misuse
from gatepost.identity.ldap.ber import SEQUENCE, size_of_first
from gatepost.identity.ldap.messages import (
    EXTENDED_RESPONSE,
    START_TLS,
    UNBIND,
    Message,
    message,
    parse_message,
    parse_result,
)
from gatepost.identity.ldap.server import Server

__all__ = ["Connection", "connect"]

_ANSWER_LIMIT: Final = 1 << 20
_MESSAGE_LIMIT: Final = 64
_NUMBER_LIMIT: Final = 0x7FFFFFFF


class Connection(asyncio.Protocol):
    """What is connected; `connect` makes it.

    Attributes:
        is_open: whether it can be asked.
        used_at: when it was asked last, by the clock of the loop.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.used_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._octets = bytearray()
        self._size = 0
        self._number = 0
        self._last = 0
        self._answers: list[Message] = []
        self._waiter: asyncio.Future[list[Message]] | None = None

    async def ask(self, operation: bytes, last: int, controls: bytes = b"") -> list[Message]:
        """Send a request, and return all that comes for it, up to what has the tag *last*.

        Raises:
            OSError: the connection ended.
            ValueError: what came is no answer.
        """
        if self._transport is None or self._waiter is not None:
            raise Misuse("a request before the last one was answered")
        if not self.is_open:
            raise ConnectionResetError("the directory closed the connection")
        loop = asyncio.get_running_loop()
        self._number = self._number % _NUMBER_LIMIT + 1
        self._answers, self._last, self._size, self.used_at = [], last, 0, loop.time()
        self._waiter = loop.create_future()
        self._transport.write(message(self._number, operation, controls))
        try:
            return await self._waiter
        except BaseException:
            # What is still to come would be taken for the answer to something else.
            self.abort()
            raise
        finally:
            self._waiter = None

    async def ask_one(self, operation: bytes, last: int, controls: bytes = b"") -> Message:
        """Send a request that has one answer; the same errors as `ask`."""
        answers = await self.ask(operation, last, controls)
        if len(answers) > 1:
            raise ValueError("answers with more than it was asked for")
        return answers[0]

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Begin TLS on a connection in clear.  Raises `OSError`, `ValueError`."""
        answer = await self.ask_one(START_TLS, EXTENDED_RESPONSE)
        result = parse_result(answer.content)
        if result.code:
            raise ValueError(f"the directory does not begin TLS: {result}")
        # RFC 4511 §4.14.1: nothing may come between the answer and the handshake: it was put there by somebody else.
        if self._octets or self._transport is None:
            raise ValueError("the directory said something in clear after it agreed to begin TLS")
        loop = asyncio.get_running_loop()
        transport = await loop.start_tls(self._transport, self, context, server_hostname=host)
        if transport is None or not self.is_open:
            raise ConnectionResetError("the directory closed the connection")
        self._transport = transport

    def close(self) -> None:
        """Say goodbye."""
        if self._transport is not None and self.is_open:
            # RFC 4511 §4.3: whoever is done sends an unbind and closes.
            self._transport.write(message(self._number % _NUMBER_LIMIT + 1, UNBIND))
            self._transport.close()
        self.is_open = False

    def abort(self) -> None:
        """Let go of it at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Asyncio: it is there."""
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is none by name
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        """Asyncio: octets came."""
        self._octets += data
        self._size += len(data)
        try:
            # What is no message at all would make us wait for the rest of it.
            if self._octets[0] != SEQUENCE:
                raise ValueError("begins with something else")
            while (size := size_of_first(self._octets)) is not None and size <= len(self._octets):
                octets = bytes(self._octets[:size])
                del self._octets[:size]
                self._take(parse_message(octets))
            if self._size > _ANSWER_LIMIT or (size or 0) > _ANSWER_LIMIT or len(self._answers) > _MESSAGE_LIMIT:
                raise ValueError("answers with more than it was asked for")
        except ValueError as error:
            self._fail(ValueError(f"what came is no answer: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Asyncio: it is gone."""
        self._fail(exc if isinstance(exc, OSError) else ConnectionResetError("the directory closed the connection"))

    def _take(self, answer: Message) -> None:
        # RFC 4511 §4.4: number 0 is what nobody asked for: the directory is about to close.
        if answer.number == 0:
            self._fail(ConnectionResetError(f"the directory ends the connection: {parse_result(answer.content)}"))
            return
        if self._waiter is None or self._waiter.done() or answer.number != self._number:
            raise ValueError("nobody asked for it")
        self._answers.append(answer)
        if answer.tag == self._last:
            self._waiter.set_result(self._answers)

    def _fail(self, error: Exception) -> None:
        self._octets.clear()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
        self.abort()


async def connect(server: Server, context: ssl.SSLContext | None, *, starts_tls: bool = True) -> Connection:
    """Connect to *server*; ldaps has TLS from the start, and ldap begins it unless told otherwise.

    Raises:
        OSError: it cannot be reached, or its certificate is not good.
        ValueError: what it says is no LDAP.
    """
    if server.has_tls and context is None:
        raise Misuse("ldaps without TLS")
    loop = asyncio.get_running_loop()
    if server.path:
        _, connection = await loop.create_unix_connection(Connection, server.path)
        return connection
    _, connection = await loop.create_connection(
        Connection, server.host, server.port, ssl=context if server.has_tls else None
    )
    if context is not None and starts_tls and not server.has_tls:
        try:
            await connection.start_tls(context, server.host)
        except BaseException:
            connection.abort()
            raise
    return connection
