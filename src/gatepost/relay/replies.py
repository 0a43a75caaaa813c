"""Read what a next hop says: octets in, whole replies out, no I/O (RFC 5321 §4.2).

A reply is taken strictly: the same code on each line, CRLF line ends, bounded lengths.  Anything else is `BadReply`,
after which nothing on that connection can be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from gatepost.errors import Malformed
from gatepost.model.delivery import RemoteReply

__all__ = ["LINE_LIMIT", "REPLY_LIMIT", "BadReply", "ReplyReader", "WireReply"]

LINE_LIMIT = 4096
"""Longest line, in octets.  RFC 5321 §4.5.3.1.5 allows 512; some say more."""

REPLY_LIMIT = 65536
"""Longest reply, in octets of all its lines."""

TEXT_LIMIT = 1000
"""Longest text that is kept of a reply, in characters: it lies in the spool once per recipient."""

# RFC 5321 §4.2: "reply-code [SP text]" ends a reply, "reply-code - text" goes on.
_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])([\x20-\x7e]*))?")
_UNPRINTABLE = re.compile(rb"[^\x20-\x7e]")
# RFC 5321 §4.2.3: 2yz codes that answer other questions, or none: they are no yes to mail.
_OTHER_YES = frozenset({211, 214, 220, 221, 235})
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?= |$)")


class BadReply(Malformed):
    """What the next hop says is no SMTP reply.

    Attributes:
        before: the good replies that came in one piece with it.
    """

    before: Sequence[WireReply] = ()


class WireReply(NamedTuple):
    """One reply: the basic code and the text of each line, printable ASCII."""

    code: int
    lines: tuple[str, ...]

    @property
    def is_positive(self) -> bool:
        """Whether this is a yes to a command of a mail transaction."""
        # RFC 5321 §4.2.1: of a code that is not known, the first digit counts.
        return self.code == 250 or (200 <= self.code < 300 and self.code not in _OTHER_YES)

    def remote(self) -> RemoteReply:
        """Return it as it is recorded: lines joined, the enhanced code once, not too long."""
        first, *rest = self.lines
        match = _ENHANCED.match(first)
        if match is not None:
            # RFC 2034 §4: the enhanced code stands on each line; once is enough to read.
            rest = [line.removeprefix(match[0]).lstrip() for line in rest]
        text = " ".join(filter(None, (first, *rest)))
        if len(text) > TEXT_LIMIT:
            text = text[: TEXT_LIMIT - 4] + " ..."
        return RemoteReply.parse(self.code, text)


# What next hops say to message after message, octet for octet; all of it is forgotten when it is much.
_known: dict[bytes, tuple[WireReply, ...]] = {}
_KNOWN_LIMIT = 100
_KNOWN_BYTES = 512


class ReplyReader:
    """Cuts what arrives into replies."""

    def __init__(self) -> None:
        self._buffer = b""
        self._code = 0
        self._lines: list[str] = []
        self._octets = 0

    @property
    def is_between(self) -> bool:
        """Whether nothing of a further reply has arrived."""
        return not self._buffer and not self._lines

    def feed(self, data: bytes) -> tuple[WireReply, ...]:
        """Take octets; return the replies that are complete now.

        Raises:
            BadReply: this is not SMTP.
        """
        if self._buffer or self._lines or len(data) > _KNOWN_BYTES:
            return tuple(self._read(data))
        known = _known.get(data)
        if known is None:
            known = tuple(self._read(data))
            if not self._buffer and not self._lines:  # whole replies
                if len(_known) >= _KNOWN_LIMIT:
                    _known.clear()
                _known[data] = known
        return known

    def _read(self, data: bytes) -> list[WireReply]:
        # RFC 5321 §2.3.8: only CRLF ends a line.
        *lines, self._buffer = (self._buffer + data).split(b"\r\n") if self._buffer else data.split(b"\r\n")
        replies: list[WireReply] = []
        try:
            for line in lines:
                reply = self._take(line)
                if reply is not None:
                    replies.append(reply)
            if len(self._buffer) > LINE_LIMIT:
                raise BadReply("a line of the reply is too long")
            if b"\n" in self._buffer:  # say so at once: whoever sends it may never send the CRLF we would wait for
                raise BadReply("a bare LF in the reply")
        except BadReply as bad:
            bad.before = replies
            raise
        return replies

    def _take(self, line: bytes) -> WireReply | None:
        self._octets += len(line)
        if len(line) > LINE_LIMIT or self._octets > REPLY_LIMIT:
            raise BadReply("the reply is too long")
        match = _LINE.fullmatch(line) or _LINE.fullmatch(_cleaned(line))
        if match is None:
            raise BadReply("a line of the reply does not start with a code")
        code = int(match[1])
        text = (match[3] or b"").decode("ascii").strip()
        if match[2] == b"-" or self._lines:
            if self._lines and code != self._code:
                raise BadReply("the lines of the reply have different codes")
            self._code = code
            self._lines.append(text)
            if match[2] == b"-":
                return None
            lines = tuple(self._lines)
            self._lines.clear()
        else:
            lines = (text,)
        self._octets = 0
        return WireReply(code, lines)


def _cleaned(line: bytes) -> bytes:
    if b"\n" in line:
        raise BadReply("a bare LF in the reply")
    return _UNPRINTABLE.sub(b"?", line.replace(b"\t", b" "))
