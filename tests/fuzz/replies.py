"""What is a reply and what is not: every line by the letter, no matter what it answers (RFC 5321 §4.2, RFC 2034 §4)."""

from __future__ import annotations

import re

__all__ = ["Broken", "Replies", "Reply"]

_LINE = re.compile(rb"([2345])([0-5])([0-9])([ -])([\t\x20-\x7e]*)\r\n")
_ENHANCED = re.compile(rb"([245])\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}) \S")
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_LINE_LIMIT = 512  # RFC 5321 §4.5.3.1.5
_CHALLENGE_LIMIT = 12_288  # RFC 4954 §4
# What must never be read in a reply.
_INNARDS = re.compile(rb"Traceback|Exception|Error:|sqlite|asyncio|aiosmtpd|python|/src/|site-packages", re.IGNORECASE)


class Broken(Exception):
    """The server did what it must not."""


class Reply:
    """One whole reply.

    Attributes:
        code: its number.
        lines: its texts, without codes and line ends.
    """

    def __init__(self, code: int, lines: list[bytes]) -> None:
        self.code = code
        self.lines = lines

    def judge_codes(self, *, is_bare: bool) -> None:
        """Look for enhanced codes: in no line if *is_bare*, else in each.  Raises `Broken`."""
        for line in self.lines:
            match = _ENHANCED.match(line)
            if is_bare and match is not None:
                raise Broken(f"an enhanced code where none belongs: {self}")
            if not is_bare and (match is None or match[1] != str(self.code)[0].encode()):
                raise Broken(f"no enhanced code of its class: {self}")

    def __repr__(self) -> str:
        return f"{self.code} {b' / '.join(self.lines)!r}"


class Replies:
    """Makes replies out of what the server sends."""

    def __init__(self) -> None:
        self._buffer = b""
        self._lines: list[bytes] = []
        self._code = 0

    @property
    def is_between(self) -> bool:
        """Whether nothing of a further reply is here yet."""
        return not self._buffer and not self._lines

    @property
    def rest(self) -> bytes:
        """What is here of a further reply."""
        return self._buffer

    def feed(self, octets: bytes) -> None:
        """Take what came."""
        self._buffer += octets

    def next(self) -> Reply | None:
        """Return the next whole reply, if it is here.  Raises `Broken`."""
        while True:
            line, end, rest = self._buffer.partition(b"\n")
            if not end:
                return None
            line += end
            self._buffer = rest
            match = _LINE.fullmatch(line)
            if match is None:
                raise Broken(f"this is no line of a reply: {line[:600]!r}")
            code = int(line[:3])
            limit = _CHALLENGE_LIMIT if code == 334 else _LINE_LIMIT
            if len(line) > limit:
                raise Broken(f"a line of {len(line)} octets: {line[:100]!r}")
            if code == 334 and (match[4] == b"-" or _BASE64.fullmatch(match[5]) is None):
                raise Broken(f"a challenge that is no base64: {line!r}")
            if code != 334 and _INNARDS.search(line):
                raise Broken(f"a reply that tells of our innards: {line!r}")
            if self._lines and code != self._code:
                raise Broken(f"two codes in one reply: {self._code} and {line!r}")
            self._code = code
            self._lines.append(match[5])
            if match[4] == b" ":
                reply, self._lines = Reply(code, self._lines), []
                return reply
