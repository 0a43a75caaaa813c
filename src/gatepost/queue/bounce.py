"""Write what a sender is told of a message, as a message to be kept beside it (RFC 5321 §6.1, RFC 3464)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence

from gatepost.message.dsn import CONTENT_LIMIT, Action, RecipientReport, Report, compose
from gatepost.message.signer import Signer
from gatepost.model.envelope import Body, Envelope, Notify, Recipient, Ret
from gatepost.model.xtext import decode_xtext, original_recipient
from gatepost.queue.notices import Notice
from gatepost.relay.transport import Content
from gatepost.spool.spool import Draft, Entry

__all__ = ["Bouncer"]

# RFC 3463 §3.3, §3.4: more than the mailbox takes, more than the system takes.
_TOO_LARGE = ("5.2.3", "5.3.4")


class Bouncer:
    """Writes notifications in the name of this server.

    Args:
        hostname: our own name.
        signer: signs them, if it has a key of ours; None where nobody signs.
    """

    def __init__(self, hostname: str, signer: Signer | None = None) -> None:
        self._hostname = hostname
        self._signer = signer
        self._serial = itertools.count(1)

    async def draft(
        self,
        entry: Entry,
        notices: Sequence[Notice],
        content: Content | None,
        now: float,
        *,
        retry_until: float | None = None,
    ) -> Draft | None:
        """Write one notification of all *notices*; None if there are none, or the message has a null reverse-path.

        Args:
            entry: the message it is about.
            notices: what is told, one for each recipient that it is told of.
            content: what the message holds; None if that cannot be read.
            now: the time.
            retry_until: when those that are delayed are given up.

        Raises:
            SpoolUnavailable: the content cannot be read after all.
        """
        envelope = entry.envelope
        # RFC 5321 §4.5.5, §6.1: a notification has the null reverse-path, and none is sent about a notification.
        if envelope.reverse_path is None or not notices:
            return None
        report = Report(
            reporting_mta=self._hostname,
            reverse_path=envelope.reverse_path,
            arrival=entry.accepted_at,
            now=now,
            unique=f"{entry.id}.{int(now * 1000):x}.{next(self._serial)}",
            recipients=tuple([_told(envelope.recipients[each.index], each, retry_until) for each in notices]),
            envelope_id=decode_xtext(envelope.envid),
        )
        header, whole = b"", None
        if content is not None:
            is_whole = _returns_content(envelope, notices)
            octets = await _beginning(
                content, envelope.size_bytes if is_whole else min(envelope.header_bytes, CONTENT_LIMIT)
            )
            header, whole = octets[: envelope.header_bytes], octets if is_whole else None
        return self._enclose(envelope, compose(report, header, whole))

    def _enclose(self, about: Envelope, content: bytes) -> Draft:
        assert about.reverse_path is not None
        to = about.reverse_path.in_ascii()
        content, signatures = (content, 0) if self._signer is None else self._signer.sign_whole(content)
        header_bytes = content.find(b"\r\n\r\n") + 4
        envelope = Envelope(
            reverse_path=None,
            # RFC 3461 §6.1: nothing is reported about a report.
            recipients=(Recipient(to, Notify.NEVER),),
            body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
            smtputf8=not (to.is_ascii and content[:header_bytes].isascii()),
            header_bytes=header_bytes,
            size_bytes=len(content),
            # What must not leave the sandbox is not answered outside of it either.
            sandbox=about.sandbox,
            signatures=signatures,
        )
        return Draft(envelope, content)


def _returns_content(envelope: Envelope, notices: Sequence[Notice]) -> bool:
    """Tell whether the message goes back whole, and not just its header."""
    # RFC 3461 §4.3: HDRS asks for the header only, and a report of anything but a failure has no more than that.
    if envelope.ret is Ret.HEADERS or envelope.size_bytes > CONTENT_LIMIT:
        return False
    failures = [each for each in notices if each.action is Action.FAILED]
    # What was too large for a next hop would make its bounce too large as well.
    return bool(failures) and not any(each.reply.enhanced in _TOO_LARGE for each in failures)


def _told(recipient: Recipient, notice: Notice, retry_until: float | None) -> RecipientReport:
    reply = notice.reply
    return RecipientReport(
        final_recipient=recipient.mailbox,
        action=notice.action,
        status=reply.enhanced,
        diagnostic=str(reply),
        is_remote=reply.is_remote,
        # What we keep ourselves was given to no other server.
        remote_mta=notice.next_hop if reply.is_remote or notice.action is not Action.DELIVERED else "",
        last_attempt=notice.at,
        will_retry_until=retry_until,
        original_recipient=original_recipient(recipient.orcpt) if recipient.orcpt else "",
    )


async def _beginning(content: Content, size_bytes: int) -> bytes:
    if content.inline is not None:
        return content.inline[:size_bytes]
    pieces, missing = [], size_bytes
    chunks = content.chunks()
    try:
        async for chunk in chunks:
            pieces.append(chunk[:missing])
            missing -= len(chunk)
            if missing <= 0:
                break
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    return b"".join(pieces)
