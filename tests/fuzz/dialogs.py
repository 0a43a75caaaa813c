"""Dialogs as clients write them, and what chance makes of them; all of it comes from a number."""

from __future__ import annotations

import base64
import itertools
import random
from dataclasses import dataclass, replace

__all__ = ["LOGIN", "SECRET", "STATES", "Dialog", "dialog", "pieces"]

LOGIN = "tim@example.org"
SECRET = "secret-pass-1"
_TOKEN = base64.b64encode(f"\0{LOGIN}\0{SECRET}".encode())
_EHLO = b"EHLO client.example\r\n"
_AUTH = b"AUTH PLAIN " + _TOKEN + b"\r\n"
_MAIL = b"MAIL FROM:<tim@example.org>\r\n"
_RCPT = b"RCPT TO:<bob@example.net>\r\n"
_DATA = b"DATA\r\n"

# What was said before the octets that chance has changed; the server understands it, or the run is worth nothing.
_BEFORE: dict[str, tuple[bytes, ...]] = {
    "clear": (),
    "login": (_EHLO,),
    "exchange": (_EHLO, b"AUTH LOGIN\r\n"),
    "session": (_EHLO, _AUTH),
    "transaction": (_EHLO, _AUTH, _MAIL, _RCPT),
    "data": (_EHLO, _AUTH, _MAIL, _RCPT, _DATA),
}
STATES = tuple(_BEFORE)

_HEADER = b"From: <tim@example.org>\r\nSubject: x\r\n"
_BODIES = (
    b"\r\nhello\r\n",
    b"\r\n..dot\r\n...\r\n.x\r\n",
    b"",
    b"Bcc: <eve@example.org>\r\nDate: now\r\nMessage-ID: <a@b>\r\n folded\r\n\r\n" + b"x" * 70 + b"\r\n",
    b"\r\n\xc3\xa9\xff\x80\r\n",
    b"\r\n" + b"long " * 250 + b"\r\n",
    b"\r\n\r\n\r\n",
    b"\r\nMAIL FROM:<tim@example.org>\r\nRCPT TO:<bob@example.net>\r\nDATA\r\n",
)
_COMMANDS = (
    b"EHLO client.example", b"HELO x", b"ehlo [127.0.0.1]", b"NOOP", b"NOOP x", b"RSET", b"VRFY tim", b"EXPN all",
    b"HELP", b"STARTTLS", b"AUTH PLAIN " + _TOKEN, b"AUTH LOGIN", b"AUTH PLAIN", b"AUTH PLAIN =", b"AUTH EXTERNAL =",
    b"AUTH SCRAM-SHA-256", b"AUTH SCRAM-SHA-256 biwsbj10aW1AZXhhbXBsZS5vcmcscj1hYmM=",
    b"AUTH PLAIN AHRpbUBleGFtcGxlLm9yZwB3cm9uZw==", b"AUTH", b"*", _TOKEN, b"MAIL FROM:<tim@example.org>",
    b"MAIL FROM:<>", b"MAIL FROM: tim@example.org SIZE=100 BODY=8BITMIME", b"MAIL FROM:<tim@example.org> SMTPUTF8",
    b"MAIL FROM:<tim@example.org> SIZE=99999999999", b"mail from:<tim@x> FOO=bar",
    b"MAIL FROM:<tim@example.org> RET=HDRS ENVID=a+2Bb", b"MAIL FROM:<tim@example.org> BODY=BINARYMIME",
    b"RCPT TO:<bob@example.net>", b"RCPT TO:<@a,@b:bob@example.net>", b'RCPT TO:<"b ob"@example.net>',
    b"RCPT TO:<b@[1.2.3.4]>", b"RCPT TO:<bob@example.net> NOTIFY=NEVER ORCPT=rfc822;Bob@example.net", b"RCPT TO:<>",
    b"RCPT TO:<postmaster>", "RCPT TO:<bøb@exåmple.net>".encode(), b"DATA", b"DATA x", b"BDAT 0 LAST", b"BDAT 5",
    b"BDAT 99999", b"BDAT -1", b"BDAT x", b"BDAT", b"bdat 007 last", b"BDAT 18446744073709551617 LAST", b"QUIT",
    b"QUIT x", b"", b" ", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2", b"GET / HTTP/1.1",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"XCLIENT ADDR=1.2.3.4", b"ETRN x", b"BURL x",
)  # fmt: skip
_TOKENS = (
    b"\r", b"\n", b"\r\n", b"\0", b".", b"\r\n.\r\n", b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r",
    b"\r.\r\n", b"\r\n\0.\r\n", b"\r\r\n.\r\r\n", b"\xff", b"\x80", b" ", b"\t", b"<", b">", b'"', b"\\", b"@", b"=",
    b"+", b"*", b":", b"x" * 600, b"x" * 1100, b"y" * 17_000, b"z" * 70_000, b"RSET\r\n", b"DATA\r\n",
    b"BDAT 3 LAST\r\nabc", b"\xe2\x80\xa8", b"%n%s",
)  # fmt: skip


@dataclass(frozen=True)
class Dialog:
    """What a client says.

    Args:
        state: where the session stands when the hostile part begins.
        hostile: that part.
        inside: what is said after a handshake, if the hostile part led to one.
        cuts: where it is cut into pieces.
        by_socket: whether it goes through a real socket.
    """

    state: str
    hostile: bytes
    inside: bytes = b""
    cuts: tuple[int, ...] = ()
    by_socket: bool = True

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS is there from the start."""
        return self.state != "clear"

    @property
    def before(self) -> tuple[bytes, ...]:
        """What is said before, each when the one before was answered."""
        return _BEFORE[self.state]

    def with_hostile(self, hostile: bytes) -> Dialog:
        """Return the same with another hostile part; its cuts stay as far as they fit."""
        return replace(self, hostile=hostile, cuts=tuple(cut for cut in self.cuts if cut < len(hostile)))

    def __str__(self) -> str:
        way = "a socket" if self.by_socket else "memory"
        said = "\n".join(f"    {line!r}" for line in self.hostile.splitlines(keepends=True))
        inside = f"\n  in TLS then:\n    {self.inside!r}" if self.inside else ""
        return f"state {self.state}, by {way}, cut at {self.cuts}:\n{said}{inside}"


def pieces(octets: bytes, cuts: tuple[int, ...]) -> list[bytes]:
    """Cut *octets* into pieces, none of them empty."""
    places = [0, *sorted({cut for cut in cuts if 0 < cut < len(octets)}), len(octets)]
    return [octets[start:end] for start, end in itertools.pairwise(places) if end > start]


def dialog(seed: int, number: int) -> Dialog:
    """Make dialog *number* of a run."""
    chance = random.Random(f"{seed}:{number}")
    state = STATES[number % len(STATES)]
    hostile = _mutated(chance, _plausible(chance, state))
    inside = _mutated(chance, b"".join(_lines(chance, 3))) if state == "clear" else b""
    cuts: tuple[int, ...] = ()
    if chance.random() < 0.5:
        cuts = tuple(chance.randrange(len(hostile) + 1) for _ in range(chance.choice((1, 2, 3, 8))))
    return Dialog(state, hostile, inside, cuts)


def _lines(chance: random.Random, most: int) -> list[bytes]:
    return [chance.choice(_COMMANDS) + b"\r\n" for _ in range(chance.randint(0, most))]


def _message(chance: random.Random) -> bytes:
    return (_HEADER if chance.random() < 0.9 else b"") + chance.choice(_BODIES) + b".\r\n"


def _chunks(chance: random.Random) -> bytes:
    content = _HEADER + chance.choice(_BODIES)
    place = chance.randint(0, len(content))
    one, other = content[:place], content[place:]
    last = chance.choice((b" LAST", b" LAST", b""))
    return b"BDAT %d\r\n%bBDAT %d%b\r\n%b" % (len(one), one, len(other), last, other)


def _plausible(chance: random.Random, state: str) -> bytes:
    """What a client might say there, some of it out of order."""
    said = _lines(chance, 3)
    match state:
        case "clear" if chance.random() < 0.6:
            said = [_EHLO, *said, b"STARTTLS\r\n"]
        case "login":
            said += chance.choice(([_AUTH, _MAIL, _RCPT, _DATA], [b"AUTH LOGIN\r\n"], [_MAIL, _RCPT, _DATA], []))
        case "exchange":
            said = [*chance.choice(([base64.b64encode(LOGIN.encode()) + b"\r\n"], [])), *said]
        case "session":
            said += chance.choice(([_MAIL, _RCPT, _chunks(chance)], [_MAIL, _RCPT, _DATA], [_MAIL, _DATA]))
        case "transaction":
            said += chance.choice(([_DATA + _message(chance)], [_chunks(chance)], [_RCPT, _DATA]))
        case "data":
            said = [_message(chance), *chance.choice(([], [_MAIL, _RCPT, _DATA, _message(chance)]))]
    return b"".join((*said, *_lines(chance, 4)))


def _mutated(chance: random.Random, octets: bytes) -> bytes:
    said = bytearray(octets)
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        place = chance.randint(0, len(said))
        match chance.randrange(8):
            case 0 | 1 | 2:
                said[place:place] = chance.choice(_TOKENS)
            case 3 if place < len(said):
                said[place] ^= 1 << chance.randrange(8)
            case 4:
                del said[place : place + chance.choice((1, 1, 2, 5, 40))]
            case 5:
                lines = bytes(said).splitlines(keepends=True)
                chance.shuffle(lines)
                said[:] = b"".join(lines)
            case 6:
                said[place:place] = said[max(place - 40, 0) : place] * chance.choice((1, 2, 12))
            case _:
                said = bytearray(said.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n\r\n", b"\r\r\n")), 1))
    return bytes(said)
