"""Our SMTP client: one connection to a next hop, one transaction after another on it (RFC 5321 §3.3, RFC 2920).

Where the next hop offers PIPELINING a message takes two round trips: MAIL, RCPT and DATA in one write, then the
content.
Whatever happens comes back as one result per recipient.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Sequence
from functools import partial

from gatepost.ending import ended_by
from gatepost.errors import Malformed, SpoolUnavailable
from gatepost.model.address import Mailbox
from gatepost.model.delivery import Deferred, Delivered, Failed, Handover, RemoteReply, Result
from gatepost.model.envelope import Body, Envelope, Recipient
from gatepost.relay.capabilities import Capabilities
from gatepost.relay.conversion import convert, end
from gatepost.relay.dsn_parameters import mail_parameters, rcpt_parameters
from gatepost.relay.replies import WireReply
from gatepost.relay.stuffing import END, DotStuffer, stuff
from gatepost.relay.transport import Content
from gatepost.relay.trouble import Silence, Trouble, Violation, reply_trouble
from gatepost.relay.wire import Timeouts, Wire

__all__ = ["Connection"]

# DATA gets two replies: 354, and one to the content, which some next hops give before its end.
_DATA = b"DATA\r\n"

_PIECE_BYTES = 128 * 1024
# What a next hop says when it does not know where we are in the talk, and the codes that say no more than that.
_OUT_OF_STEP = frozenset({500, 502, 503})
_VAGUE = frozenset({"5.0.0", "5.5.0", "5.5.1", "5.5.2"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Connection:
    """A connection to a next hop that is ready for mail.

    Args:
        wire: open, greeted, encrypted and logged in as it should be.
        capabilities: what the next hop offers on it.
        host: what the next hop is called in results.
        timeouts: how long it may take.

    Attributes:
        since: when it became ready, by the loop's clock.
        served: how many transactions were tried.
        trouble: why the connection is of no more use, if it is.
        is_committed: whether the final dot of the last transaction may have reached the next hop.
        transactions_limit: how many it takes on this connection.
    """

    def __init__(self, wire: Wire, capabilities: Capabilities, host: str, timeouts: Timeouts) -> None:
        self.wire = wire
        self._capabilities = capabilities
        self._host = host
        self._timeouts = timeouts
        self._needs_reset = False
        self.since = asyncio.get_running_loop().time()
        self.served = 0
        self.trouble: Trouble | None = None
        self.is_committed = False
        self._in_group = False
        self._is_in_step = False  # 354 stood where it belongs, so the replies before it do
        # RFC 9422 §4.1: MAILMAX is how many transactions a session may have.
        self.transactions_limit = capabilities.transactions_limit or math.inf
        self._has_begun = False  # whether some of the content may have reached the next hop

    @property
    def has_stalled(self) -> bool:
        """Whether the next hop fell silent within a group of pipelined commands."""
        return self._in_group and isinstance(self.trouble, Silence)

    @property
    def is_open(self) -> bool:
        """Whether another transaction can be tried."""
        return self.trouble is None and self.wire.is_open

    def quit(self) -> None:
        """Part from the next hop."""
        self.wire.quit(self._timeouts.quit)

    def share(self, recipients: Sequence[Recipient]) -> int:
        """Return how many of *recipients*, from the first on, the next hop takes in one transaction."""
        capabilities = self._capabilities
        # RFC 9422 §4.2: RCPTMAX is how many recipients a transaction may have.
        count = min(len(recipients), capabilities.recipients_limit or len(recipients))
        if capabilities.domains_limit is not None:
            # RFC 9422 §4.3: RCPTDOMAINMAX is how many domains they may have.
            domains: set[str] = set()
            for number, recipient in enumerate(recipients[:count]):
                domains.add(recipient.mailbox.ascii_domain)
                if len(domains) > capabilities.domains_limit:
                    return number
        return count

    async def transact(self, envelope: Envelope, recipients: Sequence[Recipient], content: Content) -> list[Result]:
        """Hand over one message; return a result for each of *recipients*, in their order.

        Raises:
            SpoolUnavailable: the content cannot be read; the next hop got nothing.
        """
        self.served += 1
        self.is_committed = self._is_in_step = self._has_begun = False
        results: list[Result | None] = [None] * len(recipients)
        try:
            lines = self._lines(envelope, recipients)
            content = await self._fitting(envelope, content)
            mail = self._mail(envelope, lines[0], content.size_bytes)
        except Malformed as error:
            failed = Failed(RemoteReply.ours(error.code, error.enhanced, error.text or error.reason), self._host)
            return [failed] * len(recipients)
        try:
            rest = await self._talk(mail, lines[1:], content, results)
        except Trouble as trouble:
            self.trouble = trouble
            # After the final dot only a reply tells that the message was not taken.
            is_doubtful = self.is_committed and not trouble.reply.is_remote
            rest = Deferred(trouble.reply, self._host, trouble.cause, is_doubtful, is_unseen=not self._has_begun)
            if trouble.reply.is_remote and not self._in_group:
                self.quit()
            else:
                self.wire.abort()
            if self.has_stalled or (isinstance(trouble, Violation) and not self._is_in_step):
                # A reply is missing or too many, and nobody knows which: those that came may be of other recipients.
                results = [None] * len(recipients)
        except BaseException:
            # Half a message must not look like a whole one.
            self.wire.abort()
            raise
        return [result or rest for result in results]

    # What is said.

    def _lines(self, envelope: Envelope, recipients: Sequence[Recipient]) -> list[str]:
        boxes = [each.mailbox for each in recipients]
        reverse_path = envelope.reverse_path
        needs_utf8 = (
            envelope.smtputf8
            or not (reverse_path is None or reverse_path.local.isascii())
            or False in [box.local.isascii() for box in boxes]
        )
        if needs_utf8 and not self._capabilities.smtputf8:
            # RFC 6531 §3.2: without SMTPUTF8 at the next hop the message goes back.
            raise Malformed(f"{self._host} does not take internationalised mail", code=553, enhanced="5.6.7")
        lines = [f"MAIL FROM:<{'' if reverse_path is None else _path(reverse_path, needs_utf8)}>"]
        if self._capabilities.dsn:
            lines[0] += mail_parameters(envelope)
            lines += [
                f"RCPT TO:<{_path(each.mailbox, needs_utf8)}>{rcpt_parameters(each, in_utf8=needs_utf8)}\r\n"
                for each in recipients
            ]
        else:
            # RFC 3461 §5.2.2: a next hop without DSN gets none of its parameters.
            lines += [f"RCPT TO:<{_path(box, needs_utf8)}>\r\n" for box in boxes]
        if needs_utf8:
            lines[0] += " SMTPUTF8"
        return lines

    async def _fitting(self, envelope: Envelope, content: Content) -> Content:
        # RFC 6152 §3: 8-bit content goes only where 8BITMIME is offered; else it is converted, or goes back.
        if envelope.body is Body.EIGHT_BIT and not self._capabilities.eightbitmime:
            content = await convert(content)
        limit = self._capabilities.size_limit
        # RFC 1870 §5: what is larger than the next hop takes is not even tried.
        if limit is not None and content.size_bytes > limit:
            raise Malformed(f"{self._host} takes messages up to {limit} octets", code=552, enhanced="5.3.4")
        return content

    def _mail(self, envelope: Envelope, line: str, size_bytes: int) -> str:
        if self._capabilities.size:
            line += f" SIZE={size_bytes}"
        if envelope.body is Body.EIGHT_BIT and self._capabilities.eightbitmime:
            line += " BODY=8BITMIME"
        return line + "\r\n"

    # How it is said.

    async def _talk(self, mail: str, rcpts: list[str], content: Content, results: list[Result | None]) -> Result:
        """Run the transaction; fill in who was refused; return what holds for the others."""
        if self._capabilities.pipelining:
            outcome = await self._pipelined(mail, rcpts, results)
        else:
            outcome = await self._step_by_step(mail, rcpts, results)
        if outcome is not None:
            self._needs_reset = True
            return outcome
        return await self._hand_over(content, results)

    async def _hand_over(self, content: Content, _results: list[Result | None]) -> Result:
        """Send the content; return what holds for all who have no result yet."""
        reply = await self._send_content(content)
        remote = reply.remote()
        if reply.is_positive:
            return Delivered(remote, self._host, Handover.REPORTED if self._capabilities.dsn else Handover.RELAYED)
        self._needs_reset = True
        return self._refused(reply, "content")

    async def _pipelined(self, mail: str, rcpts: list[str], results: list[Result | None]) -> Result | None:
        """Say MAIL, RCPT and DATA in one go; None means that the next hop waits for the content."""
        wire, timeouts = self.wire, self._timeouts
        reset = "RSET\r\n" if self._needs_reset else ""
        # RFC 2920 §3.1: RSET, MAIL and RCPT may stand anywhere in a group, DATA only at its end.
        wire.send("".join((reset, mail, *rcpts)).encode() + _DATA, len(rcpts) + (4 if reset else 3))
        self._in_group = True
        if reset:
            self._was_reset(await wire.reply("RSET", timeouts.command))
        mailed = await wire.reply("MAIL", timeouts.mail)
        refused = None if mailed.is_positive else self._refused(mailed, "MAIL")
        is_taken = False
        for number in range(len(rcpts)):
            answer = await wire.reply("RCPT", timeouts.rcpt)
            is_taken = is_taken or answer.is_positive
            if refused is None:
                self._note(number, answer, results)
        data = await wire.reply("DATA", timeouts.data)
        if data.code == 354:
            self._is_in_step = True
        else:
            wire.forgo()
        self._in_group = False
        if refused is None and is_taken:
            return None if data.code == 354 else self._refused(data, "DATA")
        if data.code == 354:
            if is_taken:  # recipients without a sender: a dot now would send them an empty message
                raise Violation(f"recipients were taken after MAIL was not: {mailed.remote()}")
            await self._send_nothing()
        return refused or Deferred(data.remote(), self._host)

    async def _send_nothing(self) -> None:
        # RFC 2920 §3.1: DATA may be taken although every RCPT was refused; then nothing but the dot is sent, and what
        # the next hop says to it means nothing.
        self.wire.write(END)
        await self.wire.reply("the end of no content", self._timeouts.final)

    async def _step_by_step(self, mail: str, rcpts: list[str], results: list[Result | None]) -> Result | None:
        """Say MAIL, RCPT and DATA, each after the reply to the one before."""
        timeouts = self._timeouts
        if self._needs_reset:
            self._was_reset(await self._ask("RSET\r\n", "RSET", timeouts.command))
        mailed = await self._ask(mail, "MAIL", timeouts.mail)
        if not mailed.is_positive:
            return self._refused(mailed, "MAIL")
        for number, rcpt in enumerate(rcpts):
            self._note(number, await self._ask(rcpt, "RCPT", timeouts.rcpt), results)
        if None not in results:
            return results[0]
        self.wire.send(_DATA, 2)
        data = await self.wire.reply("DATA", timeouts.data)
        if data.code == 354:
            self._is_in_step = True
            return None
        self.wire.forgo()
        return self._refused(data, "DATA")

    async def _ask(self, command: str, stage: str, seconds: float) -> WireReply:
        self.wire.send(command.encode())
        return await self.wire.reply(stage, seconds)

    async def _send_content(self, content: Content) -> WireReply:
        self._has_begun = True
        wire = self.wire
        if content.inline is not None:
            if await wire.writable(self._timeouts.block):
                self.is_committed = True
                wire.write(stuff(content.inline))
        elif await self._stream(content):
            self.is_committed = True
        reply = await wire.reply("content", self._timeouts.final)
        if not self.is_committed:
            # The next hop did not wait for the end: it will not take the rest as content.
            if reply.is_positive:
                raise Violation(f"accepted before the end of content: {reply.remote()}")
            self.trouble = Violation("refused before the end of content")
            self.wire.abort()
        return reply

    async def _stream(self, content: Content) -> bool:
        """Send the content with its final dot; False if the next hop spoke or went away before the dot."""
        stuffer = DotStuffer()
        chunks = content.chunks()
        sent_bytes = await ended_by(self._stream_chunks(chunks, stuffer), partial(end, chunks))
        if sent_bytes is None:
            return False
        if sent_bytes != content.size_bytes:
            raise SpoolUnavailable(f"content has {sent_bytes} octets instead of {content.size_bytes}")
        if not await self.wire.writable(self._timeouts.block):
            return False
        self.wire.write(stuffer.finish())
        return True

    async def _stream_chunks(self, chunks: AsyncIterator[bytes], stuffer: DotStuffer) -> int | None:
        """Send them; return how many octets they have, or None if the next hop spoke or went away."""
        wire, seconds = self.wire, self._timeouts.block
        sent_bytes = 0
        async for chunk in chunks:
            sent_bytes += len(chunk)
            for start in range(0, len(chunk), _PIECE_BYTES):
                if not await wire.writable(seconds):
                    return None
                wire.write(stuffer.feed(chunk[start : start + _PIECE_BYTES]))
                await asyncio.sleep(0)  # the sockets may take it all: let others work, and hear the next hop
        return sent_bytes

    # What is heard.

    def _note(self, number: int, reply: WireReply, results: list[Result | None]) -> None:
        if reply.is_positive:
            return
        result = self._refused(reply, "RCPT")
        # RFC 5321 §4.5.3.1.10: 552 after some recipients were taken is an old way to say "too many": not for ever.
        if reply.code == 552 and result.reply.enhanced in ("5.0.0", "5.5.3") and None in results[:number]:
            result = Deferred(result.reply, self._host)
        results[number] = result

    def _refused(self, reply: WireReply, stage: str) -> Deferred | Failed:
        remote = reply.remote()
        trouble = reply_trouble(remote)
        if trouble is not None:
            raise trouble
        if 400 <= reply.code <= 499:
            return Deferred(remote, self._host)
        if reply.code >= 500:
            # RFC 5321 §4.2.4: the command is not known, or not now: that is about the talk, and no mail's fault.
            if reply.code in _OUT_OF_STEP and stage != "content" and remote.enhanced in _VAGUE:
                return Deferred(remote, self._host)
            return Failed(remote, self._host)
        raise Violation(f"a reply that does not fit {stage}: {remote}")

    def _was_reset(self, reply: WireReply) -> None:
        if not reply.is_positive:
            self._refused(reply, "RSET")
            raise Violation(f"RSET was refused: {reply.remote()}")
        self._needs_reset = False


def _path(box: Mailbox, needs_utf8: bool) -> str:
    # RFC 6531 §3.2, RFC 5891 §4.4: without SMTPUTF8 a domain is written in A-labels.
    text = str(box if needs_utf8 or box.domain.isascii() else Mailbox(box.local, box.ascii_domain))
    if _CONTROL.search(text):
        raise Malformed("control character in an address", code=553, enhanced="5.1.3")
    return text
