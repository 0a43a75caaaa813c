"""A service of Dovecot's, asked over its socket: one connection for many questions (auth protocol, version 1).

    we    VERSION 1 1, CPID 4711                      it    VERSION 1 2, MECH PLAIN plaintext, SPID 12, CUID 1, DONE
    we    AUTH 1 PLAIN service=smtp resp=…            it    OK 1 user=tim

Between the words of a line there are tabs.  A line that cannot be understood ends the connection, and all questions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, cast

__all__ = ["Address", "Answer", "DovecotService", "escape"]

Address: TypeAlias = Path | tuple[str, int]
"""Where a service listens: a Unix socket, or address and port."""

_LINE_LIMIT: Final = 65_536
_GREETING_LINES: Final = 256
_GREETING_SECONDS: Final = 10.0
_UNSENT_LIMIT: Final = 1 << 20
# Numbers have 32 bits at most; whoever asked the first of them has gone long ago.
_LAST_NUMBER: Final = 1 << 31

_ESCAPES: Final = str.maketrans({"\1": "\0011", "\t": "\1t", "\r": "\1r", "\n": "\1n", "\0": "\0010"})
_PLAIN: Final = {"1": "\1", "t": "\t", "r": "\r", "n": "\n", "0": "\0"}


def escape(text: str) -> str:
    """Return *text* as it may stand between tabs."""
    return text.translate(_ESCAPES)


def _unescape(text: str) -> str:
    if "\1" not in text:
        return text
    first, *others = text.split("\1")
    try:
        return first + "".join([_PLAIN[each[0]] + each[1:] for each in others])
    except (KeyError, IndexError):
        raise ValueError("a wrong escape") from None


class Answer(NamedTuple):
    """The answer to one question.

    Args:
        kind: its first word.
        words: those after the number, as they are meant.
    """

    kind: str
    words: Sequence[str]


class _Lost(OSError):
    """The connection ended before the answer came."""


class DovecotService:
    """A service that is asked; it is connected with when it is first asked, and again when it was away.

    Args:
        address: where it listens.
        greeting: what we say first.
        ends: the word of the last line of its own greeting.
        wants: a line that must be in its greeting; empty for none.
    """

    def __init__(self, address: Address, greeting: str, ends: str, wants: str = "") -> None:
        self._address = address
        self._opening = (greeting, ends, wants)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    def __str__(self) -> str:
        return str(self._address) if isinstance(self._address, Path) else "{}:{}".format(*self._address)

    async def ask(self, command: str, words: str) -> Answer:
        """Ask, and wait for the answer, for as long as it takes.

        Args:
            command: the first word.
            words: those after the number.

        Raises:
            OSError: it cannot be reached, goes away, or says what it must not; the text says which.
        """
        for _ in range(2):
            connection, is_new = await self._connected()
            try:
                return await connection.ask(command, words)
            except _Lost:
                # It was started anew while we kept the connection, perhaps: whoever asks must not be told of that.
                if is_new:
                    raise
        connection, _ = await self._connected()
        return await connection.ask(command, words)

    async def connect(self) -> None:
        """Make sure that it is there.  Raises `OSError`."""
        await self._connected()

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.end("closed")

    async def _connected(self) -> tuple[_Connection, bool]:
        if self._connecting is None:
            if self._connection is not None and not self._connection.problem:
                return self._connection, False
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(self._settle)
        # Whoever stops waiting does not stop it for the others.
        return await asyncio.shield(self._connecting), True

    async def _connect(self) -> _Connection:
        connection = self._connection = _Connection(*self._opening)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                if isinstance(self._address, Path):
                    await loop.create_unix_connection(lambda: connection, str(self._address))
                else:
                    await loop.create_connection(lambda: connection, *self._address)
                await connection.opened
            return connection
        except TimeoutError:
            raise OSError(f"no greeting within {_GREETING_SECONDS:g} seconds") from None
        except _Lost:
            raise
        except OSError as error:
            raise OSError(os.strerror(error.errno) if error.errno else "cannot be reached") from None
        finally:
            if not connection.is_open:
                connection.end("given up")

    def _settle(self, task: asyncio.Task[_Connection]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # whoever waited for it may have gone


class _Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, greeting: str, ends: str, wants: str) -> None:
        self.problem = ""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._greeting, self._ends, self._wants = greeting, ends, wants
        self._heard: list[str] = []
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._last = 0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has greeted us."""
        return self.opened.done() and not self.problem

    async def ask(self, command: str, words: str) -> Answer:
        if self._transport is None or self.problem:
            raise _Lost(self.problem or "not connected")
        if self._transport.get_write_buffer_size() > _UNSENT_LIMIT:
            self.end("does not read what it is asked")
            raise _Lost(self.problem)
        self._number = self._number % _LAST_NUMBER + 1
        self._last = max(self._last, self._number)
        number = self._number
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[number] = answer
        self._transport.write(f"{command}\t{number}\t{words}\n".encode())
        try:
            return await answer
        except asyncio.CancelledError:
            if not self.problem and command == "AUTH":
                self._transport.write(f"CANCEL\t{number}\n".encode())
            raise
        finally:
            self._pending.pop(number, None)

    def end(self, problem: str) -> None:
        """Hang up; whoever waits for an answer is told *problem*."""
        if self.problem:
            return
        self.problem = problem
        if self._transport is not None:
            self._transport.abort()
        for each in self._pending.values():
            if not each.done():
                each.set_exception(_Lost(problem))
        if not self.opened.done():
            self.opened.set_exception(_Lost(problem))
            # Whoever waited for it may have gone.
            self.opened.exception()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        if self.problem:
            self._transport.abort()
        else:
            self._transport.write(self._greeting.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.end(str(exc) if exc else "closed the connection")

    def data_received(self, data: bytes) -> None:
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        try:
            for each in lines:
                if self.problem:
                    return
                self._line(each.decode())
        except ValueError:
            # Its text may be somebody's answer.
            self.end("said something that is no answer")
        if len(self._buffer) > _LINE_LIMIT:
            self._buffer = b""
            self.end(f"said a line of more than {_LINE_LIMIT} octets")

    def _line(self, line: str) -> None:
        kind, *words = line.split("\t")
        if not self.opened.done():
            self._hear(line, kind, words)
            return
        number = int(words[0]) if words and words[0].isascii() and words[0].isdecimal() else 0
        if not 0 < number <= self._last or not kind:
            raise ValueError(line)
        answer = self._pending.get(number)
        # Whoever asked may have stopped waiting.
        if answer is not None and not answer.done():
            answer.set_result(Answer(kind, [_unescape(each) for each in words[1:]]))

    def _hear(self, line: str, kind: str, words: Sequence[str]) -> None:
        """Take a line of the greeting."""
        if kind == "VERSION" and words[:1] != ["1"]:
            self.end("speaks another version of the protocol than 1")
        elif len(self._heard) >= _GREETING_LINES:
            self.end("does not come to the end of its greeting")
        elif kind != self._ends:
            self._heard.append(line)
        elif not any(each.startswith("VERSION\t") for each in self._heard):
            self.end("names no version")
        elif self._wants and not any(f"{each}\t".startswith(f"{self._wants}\t") for each in self._heard):
            self.end("does not offer what is needed: " + self._wants.replace("\t", " "))
        else:
            self._heard.clear()
            self.opened.set_result(None)
