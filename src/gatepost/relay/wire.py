"""The wire to a next hop: replies in order, writes with back-pressure, one lazy deadline, TLS on top.

One task at a time waits here.  Whatever ends the connection (it closes, it resets, it says nothing in time, it says
what is no reply or what nobody asked for) shows as `Trouble` at the next `reply`, after the replies that came before.
"""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from gatepost.channel_binding import bindings
from gatepost.model.delivery import Cause
from gatepost.relay.replies import BadReply, ReplyReader, WireReply
from gatepost.relay.tls_trouble import handshake_trouble, lost_connection, plain_talk
from gatepost.relay.trouble import Silence, Trouble, Violation, next_hop_trouble

__all__ = ["Timeouts", "Wire"]

_HIGH_WATER_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long the next hop may take, in seconds (RFC 5321 §4.5.3.2).

    The ten minutes after the final dot matter: whoever gives up sooner delivers twice.
    """

    connect: float = 30.0
    handshake: float = 60.0
    greeting: float = 300.0
    command: float = 300.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0
    quit: float = 5.0


class Wire(asyncio.Protocol):
    """One connection to a next hop.

    Args:
        on_lost: called once, when the connection is gone.

    Attributes:
        is_encrypted: whether there is TLS.
        has_spoken_unasked: whether more replies came than were asked for, besides a 421.
    """

    def __init__(self, on_lost: Callable[[], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = ReplyReader()
        self._replies: deque[WireReply] = deque()
        self._expected = 1  # RFC 5321 §3.1: the server speaks first
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_quitting = False
        self._is_gone = False
        self._end: Trouble | None = None
        self._deadline = math.inf
        self._patience = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._host = ""  # with whom we have TLS
        self.on_lost = on_lost
        self.is_encrypted = False
        self.has_spoken_unasked = False

    @property
    def is_open(self) -> bool:
        """Whether more can be said."""
        return self._end is None and not self._is_quitting

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is none by name
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        """Take replies; more of them than were asked for end the connection."""
        if self._end is not None:
            return
        bad: Trouble | None = None
        replies: Sequence[WireReply]
        try:
            replies = self._reader.feed(data)
        except BadReply as error:
            # What came before it was said, and holds: with LMTP each reply is another recipient's.
            replies, bad = error.before, Violation(f"bad reply: {error.reason}")
        asked = self._expected
        self._replies.extend(replies[:asked])
        if len(replies) > asked:
            self._expected, reply = 0, replies[asked]
            # RFC 5321 §3.8: a server that shuts down says 421 unasked.
            self.has_spoken_unasked = reply.code != 421
            self._fail(_unasked(reply) if self.has_spoken_unasked else Trouble(reply.remote(), Cause.NEXT_HOP))
            return
        if replies:
            self._expected -= len(replies)
            if self._is_quitting:
                self._close()
            self._wake()
        if bad is not None:
            self._fail(bad)

    def pause_writing(self) -> None:
        """Hear that enough waits to be sent."""
        self._is_paused = True

    def resume_writing(self) -> None:
        """Hear that more can be written."""
        self._is_paused = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and whoever wanted to know."""
        self._is_gone = True
        self._end = self._end or lost_connection(self._host, exc)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._wake()
        if self.on_lost is not None:
            self.on_lost()
            self.on_lost = None

    # What the client calls.

    def send(self, data: bytes, replies: int = 1) -> None:
        """Write commands that will get so many replies.  Never waits, never raises."""
        self._expected += replies
        self.write(data)

    def forgo(self) -> None:
        """Take note that one of the replies that were asked for will not come.

        Raises:
            Violation: it came already.
        """
        self._expected -= 1
        if self._expected < 0:
            self._expected = 0
            reply = self._replies.pop()
            if reply.code != 421:
                raise self._fail(_unasked(reply))
            self._fail(Trouble(reply.remote(), Cause.NEXT_HOP))

    def expect(self, replies: int) -> None:
        """Take note of replies that will come besides those that were asked for."""
        self._expected += replies

    def write(self, data: bytes) -> None:
        """Write octets.  Never waits, never raises."""
        if self._end is None and self._transport is not None:
            self._transport.write(data)

    async def reply(self, stage: str, seconds: float) -> WireReply:
        """Wait for the next reply.

        Args:
            stage: what was asked, for the reason of a failure.
            seconds: how long it may take.

        Raises:
            Trouble: there will be none.
        """
        while not self._replies:
            if self._end is not None:
                raise self._ended(stage)
            await self._wait(seconds)
        return self._replies.popleft()

    async def writable(self, seconds: float) -> bool:
        """Wait until more can be written; False when the next hop spoke or went away before that."""
        while self._is_paused and not self._replies and self._end is None:
            await self._wait(seconds)
        return not self._replies and self._end is None

    async def start_tls(self, context: ssl.SSLContext, host: str, seconds: float, *, is_implicit: bool = False) -> None:
        """Put TLS on top, and check that the certificate is that of *host* as *context* says.

        Args:
            context: what is asked of it.
            host: who is meant.
            seconds: how long the handshake may take.
            is_implicit: whether it begins the connection, where nobody has anything to say before.

        Raises:
            Trouble: there is no TLS now; the connection is closed.
        """
        # RFC 3207 §4: what came in before TLS is not to be trusted; here it would be read as if it came after it.
        if self._replies or not self._reader.is_between:
            self._fail(
                plain_talk(host)
                if is_implicit
                else next_hop_trouble("4.7.5", "more octets after the reply to STARTTLS")
            )
        if self._end is not None or self._transport is None:
            raise self._ended("STARTTLS")
        self._host = host
        try:
            transport = await self._loop.start_tls(
                self._transport, self, context, server_hostname=host, ssl_handshake_timeout=seconds
            )
        except OSError as error:
            trouble = handshake_trouble(host, error)
        else:
            if transport is not None:
                self._transport = transport
                transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
                self.is_encrypted = True
                return
            trouble = next_hop_trouble("4.7.5", f"{host} closed the connection in the TLS handshake")
        self._fail(trouble)
        raise trouble

    def bindings(self) -> Mapping[str, bytes]:
        """Return type and data of what a login can be bound to on this connection; nothing if there is nothing."""
        return bindings(self._transport)

    def quit(self, seconds: float) -> None:
        """Say QUIT if that is possible, and close soon; waits for nobody."""
        if not self.is_open:
            return
        # RFC 5321 §4.1.1.10: QUIT, and close when its reply is there.
        self.send(b"QUIT\r\n")
        self._is_quitting = True
        self._set_deadline(seconds)

    def abort(self) -> None:
        """Cut the connection now: nothing of what waits is sent any more."""
        self._fail(next_hop_trouble("4.4.2", "connection given up"))

    @property
    def is_gone(self) -> bool:
        """Whether the connection is closed at both ends."""
        return self._is_gone

    async def closed(self) -> None:
        """Wait until the connection is gone."""
        while not self._is_gone:
            await self._wait(None)

    # Inside.

    def _ended(self, stage: str) -> Trouble:
        assert self._end is not None
        reply = self._end.reply
        if reply.is_remote:
            return self._end
        text = f"{reply.text} ({stage})"
        if isinstance(self._end, Silence | Violation):
            return type(self._end)(text)
        return Trouble(replace(reply, text=text), self._end.cause)

    def _fail(self, trouble: Trouble) -> Trouble:
        if self._end is None:
            self._end = trouble
        if self._transport is not None:
            self._transport.abort()
        self._wake()
        return trouble

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float | None) -> None:
        if seconds is not None:
            self._set_deadline(seconds)
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            if seconds is not None:
                self._deadline = math.inf

    # One timer a connection, set only when none runs that fires early enough: timers of their own, one per reply,
    # would cost as much as all the rest.

    def _set_deadline(self, seconds: float) -> None:
        self._patience = seconds
        self._deadline = self._loop.time() + seconds
        if self._timer is not None:
            if self._timer.when() <= self._deadline:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._loop.time() >= self._deadline:
            self._fail(Silence(f"no answer within {self._patience:g} seconds"))
        elif self._deadline < math.inf:
            self._timer = self._loop.call_at(self._deadline, self._ring)


def _unasked(reply: WireReply) -> Violation:
    return Violation(f"a reply that nobody asked for: {reply.remote()}")
