"""The LMTP transport: a host or Unix socket that says for each recipient what became of the mail (RFC 2033)."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from gatepost.model.delivery import Deferred, Delivered, Handover, Result
from gatepost.relay.client import Connection
from gatepost.relay.replies import WireReply
from gatepost.relay.smarthost import SmartHost
from gatepost.relay.transport import Content
from gatepost.relay.trouble import Trouble, Violation

__all__ = ["Lmtp"]

FINAL_TIMES = 3
"""How often the patience for one reply to the content is had for all of them together.

Whoever answers for a hundred recipients, each at the last moment, would outlast the attempt; then what came is lost.
"""


class LmtpConnection(Connection):
    """A connection on which the content gets a reply for each recipient that was taken."""

    async def _hand_over(self, content: Content, _results: list[Result | None]) -> Result:
        """Send the content; put the reply of each recipient into *_results*, as they come; return the last.

        Who has no reply when the connection ends keeps none, and may have it all the same.
        """
        taken = [number for number, result in enumerate(_results) if result is None]
        # RFC 2033 §4.2: after the final dot there is one reply for each RCPT that was taken, in their order.
        self.wire.expect(len(taken) - 1)
        reply = await self._send_content(content)
        time, final = asyncio.get_running_loop().time, self._timeouts.final
        over = time() + FINAL_TIMES * final
        for place, number in enumerate(taken):
            if place:
                if not self.is_committed:  # it spoke before the final dot, which it never got
                    raise Violation("refused before the end of content")
                reply = await self.wire.reply("content", max(0.0, min(final, over - time())))
            _results[number] = self._outcome(reply)
        if self.wire.has_spoken_unasked and len({type(_results[number]) for number in taken}) > 1:
            # One reply too many, and nobody knows which: the yes of one may be that of another.
            for number in taken:
                _results[number] = None
            raise Violation("more replies to the content than recipients")
        last = _results[taken[-1]]
        assert last is not None
        return last

    def _outcome(self, reply: WireReply) -> Result:
        """Return what *reply* means for its recipient; the others still get theirs when it says more than that."""
        if reply.is_positive:
            # Who speaks LMTP keeps mail for its users: what it takes is delivered, unless it will report itself.
            handover = Handover.REPORTED if self._capabilities.dsn else Handover.DELIVERED
            return Delivered(reply.remote(), self._host, handover)
        self._needs_reset = True
        try:
            return self._refused(reply, "content")
        except Trouble as trouble:
            if not trouble.reply.is_remote:
                raise
            self.trouble = self.trouble or trouble
            return Deferred(trouble.reply, self._host, trouble.cause)

    async def _send_nothing(self) -> None:
        # RFC 2033 §4.2: DATA must be refused when no RCPT was taken; whoever takes it then owes the dot no reply.
        self.trouble = Violation("DATA was taken without a recipient")
        self.wire.abort()


class Lmtp(SmartHost):
    """One host that takes the mail onward by LMTP: a smart host but for LHLO, and for a reply to each recipient.

    Without a port and with a socket, its host is what it is called in results.
    """

    _connection: ClassVar[type[Connection]] = LmtpConnection
    _is_lmtp: ClassVar[bool] = True
