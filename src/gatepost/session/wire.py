"""The protocol loop of a session: octets in, lines out, replies back, one deadline (RFC 5321 §4.1.1, RFC 2920).

`Wire` is aiosmtpd's `SMTP` with its own way of reading and writing.  It keeps at most one buffer in each direction:
it stops reading while the client sends faster than we work, and stops working while the client does not read.  The
replies to a group of commands go out in one write.  One timer serves all waiting.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Final, cast

from aiosmtpd.smtp import SMTP
from aiosmtpd.smtp import Envelope as HandlerEnvelope
from aiosmtpd.smtp import Session as HandlerSession

from gatepost.errors import Malformed, SpoolUnavailable, TooLong
from gatepost.model.envelope import MessageId
from gatepost.session.data import DataReader
from gatepost.session.failures import reply_to
from gatepost.spool.spool import Incoming

__all__ = ["LINE_LIMIT", "LINGER", "Gone", "Wire"]

# RFC 4954 §4: at least 12,288 octets must pass in an exchange; access tokens come near that.
LINE_LIMIT: Final = 16_384
_BUFFER_LIMIT: Final = 65_536
_BACKLOG_LIMIT: Final = 131_072
LINGER: Final = 2.0


class Gone(Exception):
    """The client hung up, or was silent for too long."""

    def __init__(self, *, timed_out: bool = False) -> None:
        super().__init__("timed out" if timed_out else "hung up")
        self.timed_out = timed_out


class Wire(SMTP):
    """Carries lines and replies; what they mean is the business of the class below."""

    transport: asyncio.Transport | None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not aiosmtpd's own __init__: it looks at every method of every instance by reflection.
        self.loop = self._loop = loop
        self.transport = None
        self.session: HandlerSession = HandlerSession(loop)
        self.envelope: HandlerEnvelope = HandlerEnvelope()
        self.received_at = loop.time()
        self.patience = 60.0
        self.closes_at = math.inf  # no waiting goes on after this moment of the loop's clock
        self._buffer = bytearray()
        self._searched = 0
        self._discarding = b""
        self._answered_at = 0.0  # when a command was last answered at once
        self._is_prompting = False  # the task waits for a command, and for nothing else
        self._out: list[bytes] = []
        self._data: DataReader | None = None
        self._backlog: Incoming | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._deadline = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._has_eof = False
        self._is_deaf = False  # all is said, and what still comes is not looked at
        self._handler_coroutine: asyncio.Task[None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.is_keeping = False  # a message; it is seen through, whatever becomes of the connection
        # Fingerprints and ids of messages that were kept, until an octet shows that their client may have heard so.
        self.unheard: list[tuple[bytes, MessageId]] = []

    # What the transport tells us

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session."""
        # RFC 5321 §3.1: the server speaks first.
        self.transport = cast("asyncio.Transport", transport)
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def data_received(self, data: bytes) -> None:
        """Take octets: to the message while there is one on its way, else to the line buffer."""
        if self.unheard:
            self.unheard.clear()
        if self._is_deaf:
            return
        self.received_at = self.loop.time()
        reader = self._data
        if reader is None:
            if self._is_prompting and not self._buffer and self._answers_at_once(data):
                return
            self._buffer += data
            if len(self._buffer) > _BUFFER_LIMIT:
                self._pause_reading()
            self._wake()
            return
        rest = reader.feed(data)
        if reader.fault is not None and self._backlog is not None:
            self._backlog.abort()
            self._backlog = None
        if rest is not None:
            self._data = None
            self._buffer += rest
            self._wake()
        elif self._backlog is not None and self._backlog.backlog_bytes > _BACKLOG_LIMIT:
            self._pause_reading()
            self._wake()
        elif self._deadline < math.inf:
            self._deadline = self.received_at + self.patience

    def _answers_at_once(self, data: bytes) -> bool:
        """Answer *data*, and nothing is before it, if that can be done without the task; tell whether it was."""
        del data
        return False

    def eof_received(self) -> bool:
        """Note that nothing more comes; in clear, what came is still answered."""
        self._has_eof = True
        self._wake()
        if self._is_deaf or self.transport is None:
            return False
        return self.transport.get_extra_info("ssl_object") is None

    def connection_lost(self, error: Exception | None) -> None:
        """End everything that belongs to the session."""
        del error
        self.transport = None
        self._stop_timer()
        if self._handler_coroutine is not None and not self.is_keeping:
            self._handler_coroutine.cancel()
        self.end()

    @property
    def has_begun(self) -> bool:
        """Whether a transport was ever there."""
        return self._handler_coroutine is not None

    def end(self) -> None:
        """Tell, once, that the connection is no more."""
        on_end, self.on_end = self.on_end, None
        if on_end is not None:
            on_end()

    def pause_writing(self) -> None:
        """Stop working: the client does not read."""
        self._is_writing_paused = True

    def resume_writing(self) -> None:
        """Go on working."""
        self._is_writing_paused = False
        self._wake()

    # What the session asks for

    async def _read_line(self, *, in_exchange: bool = False) -> bytes:
        """Wait for a line and return it without its end, CRLF or LF alone.

        Raises:
            Malformed: it was over the limit, and has been read to its end; `TooLong` if it belongs to AUTH.
            Gone: none comes.
        """
        buffer = self._buffer
        deadline: float | None = None
        began = 0.0
        while True:
            end = buffer.find(b"\n", self._searched)
            if end >= 0:
                line = bytes(buffer[:end])
                del buffer[: end + 1]
                self._searched = 0
                self._resume_reading()
                if self._discarding or end >= LINE_LIMIT:
                    start = self._discarding or line
                    self._discarding = b""
                    if in_exchange or start[:5].upper() == b"AUTH ":
                        raise TooLong
                    raise Malformed("line too long", code=500, enhanced="5.5.2", text="Line too long")
                return line[:-1] if line.endswith(b"\r") else line
            if len(buffer) >= LINE_LIMIT:
                self._discarding = self._discarding or bytes(buffer[:5])
                buffer.clear()
                self._resume_reading()
            self._searched = len(buffer)
            if self._has_eof:
                raise Gone
            # RFC 5321 §4.5.3.2.7: we wait for a whole line; one that comes octet by octet is given no more time.
            if deadline is None or self._answered_at > began:
                began = self.loop.time()
                deadline = began + self.patience
            self._is_prompting = not in_exchange
            try:
                await self._wait(deadline)
            finally:
                self._is_prompting = False

    async def read_data(self, reader: DataReader, incoming: Incoming, octets: int | None = None) -> None:
        """Read a message to its end, no faster than *incoming* can keep it; its faults are in *reader* then.

        Args:
            reader: takes it.
            incoming: where the reader writes it.
            octets: how many they are, if that is known.

        Raises:
            Gone: the client hung up, or was silent for too long.
        """
        rest = reader.feed(bytes(self._buffer[:octets]))
        del self._buffer[:octets]
        self._searched = 0
        self._resume_reading()
        if rest is not None:
            self._buffer += rest
            return
        self._take(reader, incoming)
        try:
            while self.is_in_data:
                if self._has_eof:
                    raise Gone
                if not self._is_reading_paused:
                    await self._wait()
                    continue
                try:
                    if reader.fault is None:
                        await incoming.drain()
                except SpoolUnavailable as error:
                    reader.fail(reply_to(error))
                    incoming.abort()
                    self._backlog = None
                self._resume_reading()
        finally:
            self._backlog = None

    def _take(self, reader: DataReader, incoming: Incoming) -> None:
        self._data = reader
        self._backlog = incoming

    async def skip(self, octets: int, deadline: float | None) -> None:
        """Read and forget *octets*, until *deadline*, or as long as some come within our patience.

        Raises:
            Gone: the client hung up, or was silent for too long.
        """
        buffer = self._buffer
        while True:
            here = min(octets, len(buffer))
            del buffer[:here]
            octets -= here
            self._searched = 0
            self._resume_reading()
            if not octets:
                return
            if self._has_eof:
                raise Gone
            await self._wait(deadline)

    @property
    def is_in_data(self) -> bool:
        """Whether a message is on its way, so that what comes is no command."""
        return self._data is not None

    @property
    def has_input(self) -> bool:
        """Whether octets wait that were not looked at, or nothing more can come."""
        return bool(self._buffer) or self._has_eof

    def send(self, data: bytes) -> None:
        """Say *data*, together with what else there is to say before the next waiting."""
        self._out.append(data)

    def flush(self) -> None:
        """Write what was said; after the last word nothing more goes out."""
        if self._out:
            if self.transport is not None and not self._is_deaf:
                self.transport.write(self._out[0] if len(self._out) == 1 else b"".join(self._out))
            self._out.clear()

    async def _breathe(self) -> None:
        """Wait while the client does not read what we wrote; what it sends meanwhile gives it no more time."""
        deadline = self.loop.time() + self.patience
        while self._is_writing_paused and self.transport is not None:
            await self._wait(deadline)

    async def _give_way(self) -> None:
        """Write what was said, and let others have the loop.

        Raises:
            Gone: the session has lasted too long; who never pauses is never waited for.
        """
        self.flush()
        await asyncio.sleep(0)
        if self.loop.time() >= self.closes_at:
            raise Gone(timed_out=True)

    def close(self) -> None:
        """Write what was said, and hang up."""
        self.flush()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Hang up at once."""
        if self.transport is not None:
            self.transport.abort()

    def take_leave(self, *, is_expected: bool = False) -> None:
        """Write what was said, and hang up: when the client has, or after some seconds; at once if it is expected.

        Closed with octets that nobody read, TCP would send a reset, and the client might never see what was said last
        (RFC 1122 §4.2.2.13).
        """
        self._stop_timer()
        self.flush()
        transport = self.transport
        if transport is None:
            return
        self._timer = self.loop.call_later(LINGER, transport.abort)
        if self._has_eof or is_expected or transport.is_closing():
            transport.close()
        elif not self._is_deaf:
            self._is_deaf = True
            self._buffer.clear()
            transport.write_eof()
            transport.resume_reading()

    # Waiting

    async def _wait(self, deadline: float | None = None) -> None:
        """Write what was said, then wait until something happens, for our patience or until *deadline*."""
        self.flush()
        loop = self.loop
        if self.received_at >= self.closes_at:
            raise Gone(timed_out=True)  # the timer alone would not reach a client that never pauses
        self._deadline = loop.time() + self.patience if deadline is None else deadline
        moment = min(self._deadline, self.closes_at)
        if self._timer_at > moment:
            self._stop_timer()
            self._timer_at = moment
            self._timer = loop.call_at(moment, self._look_at_clock)
        waiter = self._waiter = loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None
            self._deadline = math.inf

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _look_at_clock(self) -> None:
        """End the waiting if its time is up; the timer is lazy, and comes early more often than not."""
        self._timer = None
        self._timer_at = math.inf
        if self._deadline == math.inf:
            return
        moment = min(self._deadline, self.closes_at)
        if self.loop.time() < moment:
            self._timer_at = moment
            self._timer = self.loop.call_at(moment, self._look_at_clock)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(Gone(timed_out=True))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = math.inf

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and self.transport is not None:
            self._is_reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused and self.transport is not None and len(self._buffer) <= _BUFFER_LIMIT:
            self._is_reading_paused = False
            self.transport.resume_reading()
