"""The content of a message as it arrives: find its end, take the dots away, judge its line endings (RFC 5321 §4.5.2).

A state machine over whole buffers.  It keeps the header section, hands the body on piece by piece, and goes on
reading to the end when it finds a fault, so that the client hears of it in the right place.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass

from gatepost.model import reply as replies
from gatepost.model.reply import Reply
from gatepost.session.signing import Signing
from gatepost.state.unheard import Fingerprint

__all__ = ["ContentLimits", "DataReader"]

_END = b"\r\n.\r\n"
_ANY_ENDING = re.compile(rb"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class ContentLimits:
    """What content is taken.

    Args:
        header_bytes: largest header section.
        line_bytes: longest line, without its end.  RFC 5322 §2.1.1 says 998, and much that people send has more.
        normalises: whether a CR or LF that stands alone becomes CRLF; else it is refused.
    """

    header_bytes: int = 262_144
    line_bytes: int = 1_048_576
    normalises: bool = False


class DataReader:
    """Reads the octets after 354, up to CRLF.CRLF.

    Args:
        write: takes the body, in pieces, without dot-stuffing.
        limit: largest message, in octets.
        limits: what else bounds it.

    Attributes:
        header: the header section, with its empty line if there was one; complete when the end has come.
        size: octets of the message so far, without dot-stuffing (RFC 1870 §5).
        is_ascii: whether all octets so far have their high bit clear.
        fault: the first thing wrong with it, if any.
        write: takes the body.
        fingerprint: what tells it from other messages, where somebody asks for that.
        signing: sees the header, and may want the body; None where nobody signs.
    """

    __slots__ = (
        "_carry",
        "_head",
        "_in_header",
        "_limit",
        "_limits",
        "_line",
        "fault",
        "fingerprint",
        "header",
        "is_ascii",
        "signing",
        "size",
        "write",
    )

    def __init__(self, write: Callable[[bytes], None], limit: int, limits: ContentLimits) -> None:
        self.write = write
        self.fingerprint: Fingerprint | None = None
        self.signing: Signing | None = None
        self._limit = limit
        self._limits = limits
        self._line = 0  # octets of the line that has not ended yet
        # The line before the first one ended with CRLF, too: a first line of "." is the end.
        self._carry = b"\r\n"
        self._in_header = True
        self._head = bytearray()
        self.header = b""
        self.size = -2
        self.is_ascii = True
        self.fault: Reply | None = None

    def feed(self, data: bytes) -> bytes | None:
        """Take what arrived; return what follows the end of data, or None as long as it has not come."""
        buffer = self._carry + data
        # One search serves most buffers: without a dot at the start of a line there is no end, and no dot to take away.
        # To look for a dot anywhere takes next to no time, and base64 has none.  `in` would take octets for a number
        # first, and make an exception of that.
        dot = buffer.find(b".")
        dot = buffer.find(b"\r\n.", max(dot - 2, 0)) if dot >= 0 else -1
        # RFC 5321 §4.1.1.4: the end of data is CRLF.CRLF and nothing else.
        end = buffer.find(_END, dot) if dot >= 0 else -1
        if end >= 0:
            self._take(buffer[: end + 2], has_dots=dot < end)
            if self._in_header and self.fault is None:
                self.header = bytes(self._head[2:])
            return buffer[end + 5 :]
        keep = _held_back(buffer)
        self._carry = buffer[len(buffer) - keep :]
        self._take(buffer[: len(buffer) - keep] if keep else buffer, has_dots=dot >= 0)
        return None

    def fail(self, fault: Reply) -> None:
        """Keep nothing more; answer with *fault* at the end."""
        if self.fault is None:
            self.fault = fault
            self.header = b""
            self._head.clear()

    def _take(self, piece: bytes, *, has_dots: bool) -> None:
        """Take raw octets that split no CRLF, no dot at the start of a line, and no end of data."""
        if self.fault is not None or not piece:
            return
        bare = _has_bare_line_ending(piece)
        # RFC 5321 §2.3.8: CR and LF stand together or not at all; a lone one is how mail is smuggled.
        if bare and not self._limits.normalises:
            self.fail(replies.BARE_LINE_ENDING)
            return
        # RFC 2045 §2.8: text has no NUL; to some readers it ends a line, or the message.
        if piece.find(b"\0") >= 0:
            self.fail(replies.NUL_IN_MESSAGE)
            return
        # RFC 5321 §4.5.2: a dot at the start of a line was added by the client.
        if has_dots:
            piece = piece.replace(b"\r\n.", b"\r\n")
        if bare:
            # Only now: what looked like the end of data, or like a dot to take away, after a lone CR or LF, is content.
            piece = _ANY_ENDING.sub(b"\r\n", piece)
        if self._is_line_too_long(piece):
            self.fail(replies.LINE_TOO_LONG)
            return
        self.size += len(piece)
        # RFC 1870 §6.3: a message over the limit is refused, whatever size was declared.
        if self.size > self._limit:
            self.fail(replies.MESSAGE_TOO_BIG)
            return
        if self.is_ascii and not piece.isascii():
            self.is_ascii = False
        if self._in_header:
            self._take_header(piece)
        else:
            self.write(piece)

    def _is_line_too_long(self, piece: bytes) -> bool:
        limit = self._limits.line_bytes
        if self._line + len(piece) <= limit:
            last = piece.rfind(b"\r\n")
            self._line = len(piece) - last - 2 if last >= 0 else self._line + len(piece)
            return False
        first, *others = piece.split(b"\r\n")
        longest = max([self._line + len(first), *map(len, others)])
        self._line = len(others[-1]) if others else longest
        return longest > limit

    def _take_header(self, piece: bytes) -> None:
        # `_head` starts with the CRLF that stands before the first line, so that an empty header is found, too.
        searched = max(len(self._head) - 3, 0)
        self._head += piece
        end = self._head.find(b"\r\n\r\n", searched)
        if (end if end >= 0 else len(self._head)) > self._limits.header_bytes:
            self.fail(replies.HEADER_TOO_BIG)
        elif end >= 0:
            body = bytes(self._head[end + 4 :])
            self.header = bytes(self._head[2 : end + 4])
            self._head.clear()
            self._in_header = False
            if self.signing is not None:
                self.write = self.signing.begin(self.header, self.write)
            if body:
                self.write(body)


def _has_bare_line_ending(piece: bytes) -> bool:
    # Python's reader of text files notes which line endings it saw, three times as fast as counting them.
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(piece.decode("latin-1"), final=True)
    return decoder.newlines not in (None, "\r\n")


def _held_back(buffer: bytes) -> int:
    """Count the octets at the end of *buffer* that may begin the end of data."""
    for length in (4, 3, 2, 1):
        if buffer.endswith(_END[:length]):
            return length
    return 0
