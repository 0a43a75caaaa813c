"""Who must be told that a message failed, and when nobody may be (RFC 5321 §6.1, RFC 3464)."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence

from gatepost.message.dsn import CONTENT_LIMIT, Action, RecipientReport, Report, compose
from gatepost.model.delivery import Failed
from gatepost.model.envelope import Body, Envelope, Recipient
from gatepost.relay.transport import Content
from gatepost.spool.spool import Draft, Entry

__all__ = ["Bouncer"]

# RFC 3463 §3.3, §3.4: more than the mailbox takes, more than the system takes.
_TOO_LARGE = ("5.2.3", "5.3.4")


class Bouncer:
    """Writes bounces in the name of this server.

    Args:
        hostname: our own name.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._serial = itertools.count(1)

    async def draft(
        self, entry: Entry, failures: Sequence[tuple[Recipient, Failed]], content: Content | None, now: float
    ) -> Draft | None:
        """Write one bounce for all *failures* of an attempt; None if the message has a null reverse-path.

        Args:
            entry: the message that failed.
            failures: its failed recipients, one at least.
            content: what it holds; None if that cannot be read.
            now: when the attempt ended.

        Raises:
            SpoolUnavailable: the content cannot be read after all.
        """
        envelope = entry.envelope
        # RFC 5321 §4.5.5, §6.1: a notification has the null reverse-path, and none is sent about a notification.
        if envelope.reverse_path is None:
            return None
        report = Report(
            reporting_mta=self._hostname,
            reverse_path=envelope.reverse_path,
            arrival=entry.accepted_at,
            now=now,
            unique=f"{entry.id}.{int(now * 1000):x}.{next(self._serial)}",
            recipients=tuple([_told(recipient, failed, now) for recipient, failed in failures]),
        )
        header, whole = b"", None
        if content is not None:
            # What was too large for a next hop would make its bounce too large as well.
            is_small = envelope.size_bytes <= CONTENT_LIMIT and not any(
                failed.reply.enhanced in _TOO_LARGE for _, failed in failures
            )
            octets = await _beginning(
                content, envelope.size_bytes if is_small else min(envelope.header_bytes, CONTENT_LIMIT)
            )
            header, whole = octets[: envelope.header_bytes], octets if is_small else None
        return self._enclose(envelope, compose(report, header, whole))

    def _enclose(self, failed: Envelope, content: bytes) -> Draft:
        assert failed.reverse_path is not None
        to = failed.reverse_path.in_ascii()
        header_bytes = content.find(b"\r\n\r\n") + 4
        envelope = Envelope(
            reverse_path=None,
            recipients=(Recipient(to),),
            body=Body.SEVEN_BIT if content.isascii() else Body.EIGHT_BIT,
            smtputf8=not (to.is_ascii and content[:header_bytes].isascii()),
            header_bytes=header_bytes,
            size_bytes=len(content),
            # What must not leave the sandbox is not answered outside of it either.
            sandbox=failed.sandbox,
        )
        return Draft(envelope, content)


def _told(recipient: Recipient, failed: Failed, now: float) -> RecipientReport:
    reply = failed.reply
    return RecipientReport(
        final_recipient=recipient.mailbox,
        action=Action.FAILED,
        status=reply.enhanced,
        diagnostic=str(reply),
        is_remote=reply.is_remote,
        remote_mta=failed.next_hop,
        last_attempt=now,
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
