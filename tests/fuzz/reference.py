"""Another reader of the dialog: what must be a command, a message or a response, told from octets and replies alone.

It shares no code with the server and is written to be obviously right, not fast: whole lines, whole messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fuzz.replies import Broken, Reply

__all__ = ["Kept", "Reference", "differences"]

_BDAT = re.compile(rb"BDAT\t* [ \t]*([0-9]{1,20})([ \t]+LAST)?[ \t]*", re.IGNORECASE)
_QUEUED = re.compile(rb"2\.0\.0 queued as ([A-Za-z0-9_-]+)")
_ENDING = frozenset({221, 421})
# What each of these can answer.
_ANSWERED_WITH = {
    220: ("greeting", "command"),
    334: ("command", "response"),
    354: ("command",),
    235: ("command", "response"),
}


@dataclass(frozen=True)
class Kept:
    """A message that got its 250.

    Attributes:
        id: its name in the spool.
        content: what the client sent, without the dots that it added.
        sender: argument of the MAIL that was accepted.
        recipients: arguments of each RCPT that was accepted.
    """

    id: str
    content: bytes
    sender: bytes
    recipients: tuple[bytes, ...]


class Reference:
    """Reads along.

    Args:
        has_chunking: whether the server knows BDAT at all.
        is_encrypted: whether TLS was there from the start.

    Attributes:
        is_over: whether the server said that it hangs up.
        wants_tls: whether the next octets belong to a handshake.
        kept: the messages that got their 250.
    """

    def __init__(self, *, has_chunking: bool, is_encrypted: bool) -> None:
        self.has_chunking = has_chunking
        self.is_encrypted = is_encrypted
        self.is_over = False
        self.wants_tls = False
        self.kept: list[Kept] = []
        self._sent = b""
        self._pending: bytes | None = b"greeting"
        self._line = b""
        self._awaits = "greeting"
        self._mode = "command"
        self._is_known = False
        self._missing = 0
        self._forget()

    def _forget(self) -> None:
        self._sender: bytes | None = None
        self._recipients: list[bytes] = []
        self._chunks = b""
        self._content = b""

    # What is sent, and what is due for it

    def sent(self, octets: bytes) -> None:
        """Take what the client sent."""
        self._sent += octets

    @property
    def needs(self) -> bytes | None:
        """What would complete what was begun; empty if nothing was, None if it is far."""
        if self._mode == "data":
            return b"\r\n.\r\n"
        if self._mode == "chunk":
            missing = self._missing - len(self._sent)
            return None if missing > 200_000 else b"x" * missing
        if self._mode == "response":
            return b"*\r\n" if not self._sent else b"\r\n"
        return b"\r\n" if self._sent else b""

    def is_reply_due(self) -> bool:
        """Tell whether the server owes a reply to what was sent so far."""
        if self._pending is None and not self.is_over and not self.wants_tls:
            self._take_unit()
        return self._pending is not None and not self.is_over

    def _take_unit(self) -> None:
        if self._mode == "data":
            # RFC 5321 §4.1.1.4: a line is what ends with CRLF, and the line that is a dot alone is the end.
            lines = self._sent.split(b"\r\n")
            whole, rest = lines[:-1], lines[-1]
            if b"." not in whole:
                return
            end = whole.index(b".")
            self._content = b"".join(line.removeprefix(b".") + b"\r\n" for line in whole[:end])
            self._sent = b"".join(line + b"\r\n" for line in whole[end + 1 :]) + rest
            self._pending, self._awaits, self._mode = b".", "message", "command"
            return
        if self._mode == "chunk":
            if len(self._sent) < self._missing:
                return
            self._chunks += self._sent[: self._missing]
            self._sent = self._sent[self._missing :]
            self._pending, self._mode = self._line, "command"
            return
        line, end, rest = self._sent.partition(b"\n")
        if not end:
            return
        self._sent = rest
        line = line.removesuffix(b"\r")
        match = _BDAT.fullmatch(line) if self._mode == "command" and self.has_chunking else None
        if match is not None:
            self._line, self._missing = line, int(match[1])
            self._mode, self._awaits = "chunk", "last" if match[2] else "chunk"
            self._take_unit()
            return
        self._pending, self._awaits = line, self._mode

    # What the server says

    def took(self, reply: Reply) -> None:
        """Take a reply.  Raises `Broken` if it answers nothing, or what was not said."""
        if self.is_over:
            raise Broken(f"a reply after the last one: {reply}")
        # 421 may come at any time (RFC 5321 §3.8); all else answers something.
        if not self.is_reply_due() and reply.code != 421:
            raise Broken(f"a reply to nothing: {reply}")
        line, awaits = self._pending or b"", self._awaits
        self._pending, self._awaits = None, ""
        verb = line[:4].upper()
        is_hello = awaits == "command" and verb in (b"EHLO", b"HELO") and reply.code == 250
        reply.judge_codes(is_bare=is_hello or reply.code in (334, 354) or (awaits == "greeting" and reply.code == 220))
        if reply.code in _ENDING:
            if reply.code == 221 and verb != b"QUIT":
                raise Broken(f"goodbye to {line!r}")
            if reply.code == 421 and not reply.lines[0].startswith((b"4.7.0 ", b"4.5.4 ")):
                raise Broken(f"it ends for no fault of the client: {reply}")
            self.is_over = True
            return
        if awaits not in _ANSWERED_WITH.get(reply.code, (awaits,)):
            raise Broken(f"{reply} to {awaits} {line!r}")
        self._mode = "command"
        if awaits in ("message", "last"):
            self._took_message(reply)
        elif awaits == "chunk" and reply.code != 250:
            self._lost_content()
        elif awaits != "greeting":
            self._took_command(awaits, verb, line, reply)

    def _took_command(self, awaits: str, verb: bytes, line: bytes, reply: Reply) -> None:
        match reply.code:
            case 334:
                if awaits == "command" and verb != b"AUTH":
                    raise Broken(f"a challenge to {line!r}")
                self._mode = "response"
            case 354:
                self._began_data(line)
            case 235:
                if not self.is_encrypted:
                    raise Broken("a login in clear")
                self._is_known = True
            case 220:
                if line.strip().upper() != b"STARTTLS" or self.is_encrypted:
                    raise Broken(f"220 to {line!r}")
                self.wants_tls = True
            case 250:
                self._did_command(verb, line)

    def _began_data(self, line: bytes) -> None:
        if line.strip().upper() != b"DATA":
            raise Broken(f"354 to {line!r}")
        if not self._recipients:
            raise Broken("354 without a recipient")
        self._mode = "data"

    def in_tls(self) -> None:
        """Go on in TLS; what was said in clear does not count any more (RFC 3207 §4.2)."""
        self.wants_tls = False
        self.is_encrypted = True
        self._forget()

    @property
    def has_rest(self) -> bool:
        """Whether octets were sent that nothing was read from."""
        return bool(self._sent)

    def _did_command(self, verb: bytes, line: bytes) -> None:
        match verb:
            case b"EHLO" | b"HELO" | b"RSET":
                self._forget()
            case b"MAIL":
                if not self._is_known:
                    raise Broken("MAIL is taken from a stranger")
                if self._sender is not None:
                    raise Broken("MAIL in a transaction")
                self._sender = line
            case b"RCPT":
                if self._sender is None:
                    raise Broken("RCPT without MAIL")
                self._recipients.append(line)
            case b"NOOP" | b"BDAT":
                pass
            case _:
                raise Broken(f"250 to {line!r}")

    def _lost_content(self) -> None:
        # RFC 3030 §2: with one chunk the message has failed.  Without a recipient there was none.
        self._chunks = b""
        if self._recipients:
            self._forget()

    def _took_message(self, reply: Reply) -> None:
        if reply.code != 250:
            self._lost_content()
            return
        match = _QUEUED.match(reply.lines[0])
        content = self._content or self._chunks
        if not content.endswith(b"\r\n"):
            content += b"\r\n"  # a last chunk may leave that out
        if match is None:
            raise Broken(f"a message that has no name: {reply}")
        if self._sender is None or not self._recipients or not self._is_known:
            raise Broken("a message without a transaction")
        rest = content.replace(b"\r\n", b"")
        if b"\r" in rest or b"\n" in rest:
            raise Broken("a message with a bare CR or LF was taken")
        if b"\0" in rest:
            raise Broken("a message with NUL was taken")
        self.kept.append(Kept(match[1].decode(), content, self._sender, tuple(self._recipients)))
        self._forget()


_REMOVED = (b"bcc", b"resent-bcc", b"return-path")
_MENDED = (b"date", b"message-id")


def differences(kept: Kept, stored: bytes) -> str:
    """Say in what *stored* differs from what was sent and what a submission server may change; empty if in nothing.

    It may add a Received on top, leave out Bcc and Return-Path, and write Date and Message-ID at the end.
    """
    sent_fields, sent_body = _halves(kept.content)
    stored_fields, stored_body = _halves(stored)
    if sent_body != stored_body:
        return f"its body: {_first_difference(sent_body, stored_body)}"
    if not stored_fields or _name(stored_fields[0]) != b"received":
        return "no Received on top"
    stored_fields = stored_fields[1:]
    for name in _MENDED:
        found = [field for field in stored_fields if _name(field) == name]
        if len(found) != 1:
            return f"{len(found)} fields called {name!r}"
        if found[0] not in sent_fields and found[0] not in stored_fields[-2:]:
            return f"a {name!r} of ours that is not at the end"
    left_out = _REMOVED + _MENDED
    sent_fields = [field for field in sent_fields if _name(field) not in left_out]
    stored_fields = [field for field in stored_fields if _name(field) not in left_out]
    return "" if sent_fields == stored_fields else f"its header: {sent_fields!r} became {stored_fields!r}"


def _halves(message: bytes) -> tuple[list[bytes], bytes]:
    """Split into fields and body."""
    lines = message.split(b"\r\n")
    end = lines.index(b"") if b"" in lines else len(lines)
    fields: list[bytes] = []
    for line in lines[:end]:
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    return fields, b"\r\n".join(lines[end + 1 :])


def _name(field: bytes) -> bytes:
    return field.partition(b":")[0].rstrip(b" \t").lower()


def _first_difference(one: bytes, other: bytes) -> str:
    place = next((place for place, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return f"{len(one)} octets became {len(other)}"
    return f"at {place}, {one[place : place + 40]!r} became {other[place : place + 40]!r}"
