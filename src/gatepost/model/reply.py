"""What we say to a client: a reply is a value that checks itself when it is made (RFC 5321 §4.2, RFC 2034).

Read the constants at the end and you know what gatepost can say.  `queued` is the one way to say that a
message was accepted, and it wants the spool's receipt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import lru_cache

from gatepost.model.envelope import Receipt

__all__ = ["Reply", "queued"]

_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}")
_TEXT = re.compile(r"[\t\x20-\x7e]*")

# RFC 2034 §4: no enhanced code in the greeting, in EHLO and HELO replies, and in 3yz replies.
_BARE = frozenset({220, 250, 334, 354})


@lru_cache(maxsize=256)
def _starts(code: int, enhanced: str | None) -> tuple[str, str]:
    """Return how the lines of a reply start, and how the last one does; raise ValueError if the codes disagree."""
    if not 200 <= code <= 599:
        raise ValueError(f"basic code {code}")
    mark = ""
    if enhanced is None:
        if code not in _BARE:
            raise ValueError(f"{code} needs an enhanced code")
    else:
        match = _ENHANCED.fullmatch(enhanced)
        # RFC 2034 §4: the class digit of the enhanced code matches the first digit of the basic code.
        if match is None or match[1] != str(code)[0]:
            raise ValueError(f"enhanced code {enhanced} with {code}")
        # RFC 2034 §4: the enhanced code stands on each line.
        mark = f"{enhanced} "
    # RFC 5321 §4.2.1: hyphen after the code on all lines but the last.
    return f"{code}-{mark}", f"{code} {mark}"


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply: basic code, enhanced code and one text per line.

    Args:
        code: basic code, 200 to 599 (RFC 5321 §4.2.1).
        enhanced: enhanced code such as ``5.7.1``, or None where RFC 2034 §4 wants none.
        lines: text of each line, printable ASCII.

    Attributes:
        wire: all of it, as octets.

    Raises:
        ValueError: the codes disagree, or a text holds control or non-ASCII characters.
    """

    code: int
    enhanced: str | None
    lines: tuple[str, ...]
    wire: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.lines or None in [_TEXT.fullmatch(line) for line in self.lines]:
            raise ValueError("text must be printable ASCII, one line at least")
        more, last = _starts(self.code, self.enhanced)
        wire = "".join([f"{more}{line}\r\n" for line in self.lines[:-1]]) + f"{last}{self.lines[-1]}\r\n"
        object.__setattr__(self, "wire", wire.encode("ascii"))

    @classmethod
    def of(cls, code: int, enhanced: str | None, *lines: str) -> Reply:
        """Make a reply of one or more lines."""
        return cls(code, enhanced, lines)

    def with_support_id(self, support_id: str) -> Reply:
        """Add ``[support_id]`` to the last line, so that the log's line can be found by it."""
        return replace(self, lines=(*self.lines[:-1], f"{self.lines[-1]} [{support_id}]"))

    @property
    def is_positive(self) -> bool:
        """Whether this is a 2yz or 3yz reply."""
        return self.code < 400

    @property
    def closes(self) -> bool:
        """Whether the connection ends after it (RFC 5321 §3.8)."""
        return self.code in (221, 421)

    def __bytes__(self) -> bytes:
        return self.wire

    def __str__(self) -> str:
        return " ".join(filter(None, (str(self.code), self.enhanced, " ".join(self.lines))))


def queued(receipt: Receipt) -> bytes:
    """Say that the message of *receipt* is ours now: the only way to a 250 after the content."""
    return b"250 2.0.0 queued as %b\r\n" % receipt.id.encode("ascii")


# The list: named after what happened.
BYE = Reply.of(221, "2.0.0", "Bye")
AUTHENTICATED = Reply.of(235, "2.7.0", "Authentication successful")
OK = Reply.of(250, "2.0.0", "OK")
SENDER_OK = Reply.of(250, "2.1.0", "OK")
RECIPIENT_OK = Reply.of(250, "2.1.5", "OK")
CHUNK_OK = Reply.of(250, "2.0.0", "OK, more of the message may come")
START_TLS = Reply.of(220, "2.0.0", "Ready to start TLS")
SEND_DATA = Reply.of(354, None, "End data with <CR><LF>.<CR><LF>")
HELP = Reply.of(214, "2.0.0", "AUTH BDAT DATA EHLO EXPN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY")
VRFY = Reply.of(252, "2.1.5", "Cannot verify, but will take mail and try to deliver it")

SHUTTING_DOWN = Reply.of(421, "4.3.2", "Service shutting down, try again later")
TOO_MANY_CONNECTIONS = Reply.of(421, "4.7.0", "Too many connections")
TOO_MANY_FAILURES = Reply.of(421, "4.7.0", "Too many failed logins")
TOO_MANY_COMMANDS = Reply.of(421, "4.7.0", "Too many commands without a login")
TOO_MANY_ERRORS = Reply.of(421, "4.7.0", "Too many unknown commands")
TOO_MANY_REFUSALS = Reply.of(421, "4.7.0", "Too many refused commands")
LOGIN_REVOKED = Reply.of(421, "4.7.0", "This login is no longer valid")
TIMED_OUT = Reply.of(421, "4.4.2", "Timed out waiting for you")
NO_LOGIN_IN_TIME = Reply.of(421, "4.4.2", "Timed out waiting for a login")
SESSION_TOO_LONG = Reply.of(421, "4.4.2", "Session has lasted too long, connect again")
PLAINTEXT_AFTER_STARTTLS = Reply.of(421, "4.7.0", "Data sent before the TLS handshake")
LOST_TRACK = Reply.of(421, "4.5.4", "Cannot tell where your next command begins")
INTERNAL_ERROR = Reply.of(451, "4.3.0", "Internal error, try again later")
SPOOL_UNAVAILABLE = Reply.of(451, "4.3.0", "Cannot keep mail now, try again later")
SPOOL_FULL = Reply.of(452, "4.3.1", "No room for mail now, try again later")
TOO_MANY_RECIPIENTS = Reply.of(452, "4.5.3", "Too many recipients, send the rest in another transaction")
TLS_UNAVAILABLE = Reply.of(454, "4.7.0", "TLS not available now")
AUTH_UNAVAILABLE = Reply.of(454, "4.7.0", "Temporary authentication failure, try again later")

UNKNOWN_COMMAND = Reply.of(500, "5.5.1", "Unknown command")
BAD_SYNTAX = Reply.of(501, "5.5.4", "Syntax error in parameters")
BAD_SENDER_SYNTAX = Reply.of(501, "5.1.7", "Syntax error in sender address")
BAD_RECIPIENT_SYNTAX = Reply.of(501, "5.1.3", "Syntax error in recipient address")
NOT_IMPLEMENTED = Reply.of(502, "5.5.1", "Command not implemented")
BAD_SEQUENCE = Reply.of(503, "5.5.1", "Command not allowed now")
SAY_EHLO_FIRST = Reply.of(503, "5.5.1", "Send EHLO first")
NESTED_MAIL = Reply.of(503, "5.5.1", "Nested MAIL command")
NEED_MAIL = Reply.of(503, "5.5.1", "Need MAIL first")
ALREADY_TLS = Reply.of(503, "5.5.1", "TLS already active")
ALREADY_AUTHENTICATED = Reply.of(503, "5.5.1", "Already authenticated")
UNKNOWN_MECHANISM = Reply.of(504, "5.5.4", "Unrecognized authentication mechanism")
AUTH_REQUIRED = Reply.of(530, "5.7.0", "Authentication required")
TLS_REQUIRED = Reply.of(530, "5.7.0", "Must issue a STARTTLS command first")
AUTH_FAILED = Reply.of(535, "5.7.8", "Authentication credentials invalid")
AUTH_NEEDS_TLS = Reply.of(538, "5.7.11", "Encryption required for requested authentication mechanism")
NOT_YOUR_ADDRESS = Reply.of(550, "5.7.1", "Sender address not allowed for this login")
NOT_YOUR_FROM = Reply.of(550, "5.7.1", "Address in the From field not allowed for this login")
NOT_YOUR_RECIPIENT = Reply.of(550, "5.7.1", "Recipient not allowed for this login")
NULL_SENDER_REFUSED = Reply.of(550, "5.7.1", "Null sender not allowed for this login")
SMTPUTF8_NEEDED = Reply.of(550, "5.6.7", "Address needs the SMTPUTF8 parameter")
MESSAGE_TOO_BIG = Reply.of(552, "5.3.4", "Message too big")
NO_VALID_RECIPIENTS = Reply.of(554, "5.5.1", "No valid recipients")
DOMAIN_NOT_QUALIFIED = Reply.of(554, "5.1.2", "Domain of the recipient is not fully qualified")
SENDER_DOMAIN_NOT_QUALIFIED = Reply.of(554, "5.1.8", "Domain of the sender is not fully qualified")
BARE_LINE_ENDING = Reply.of(554, "5.6.0", "Bare CR or LF in the message, lines must end with CRLF")
NUL_IN_MESSAGE = Reply.of(554, "5.6.0", "NUL in the message")
LINE_TOO_LONG = Reply.of(554, "5.6.0", "A line of the message is too long")
HEADER_TOO_BIG = Reply.of(554, "5.6.0", "Header section of the message is too big")
NO_SERVICE = Reply.of(554, "5.7.1", "No service here for your address")
UNKNOWN_PARAMETER = Reply.of(555, "5.5.4", "Unknown parameter")
