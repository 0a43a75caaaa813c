"""Examine the header of a submitted message, and mend what RFC 6409 §8 lets us mend.

`examine` reads and refuses; policy then judges what it found; `prepare` writes the header section that goes out.
The client's fields stay byte for byte as sent, in their order: our Received goes on top; Bcc, Return-Path and a bad
Date or Message-ID are left out; a Date or Message-ID of ours goes to the end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gatepost.errors import Malformed
from gatepost.message.comments import without_comments
from gatepost.message.date import format_date, is_date
from gatepost.message.headers import Field, Header, bad_header, parse_header
from gatepost.message.originator import parse_originator
from gatepost.message.trace import Stamp, received
from gatepost.model.address import Mailbox, is_qualified
from gatepost.model.value import value

__all__ = ["RECEIVED_LIMIT", "Examined", "Prepared", "examine", "prepare"]

# RFC 5321 §6.3: a loop is assumed at a large number of Received fields, normally at least 100.
RECEIVED_LIMIT = 100

# RFC 5322 §3.6: at most one of each.  Of two, one reader would take the first, another the last.
_SINGLE = frozenset((b"from", b"sender", b"date", b"message-id"))

# Bcc names recipients nobody else may see (RFC 5322 §3.6.3); Return-Path is for the final server to write
# (RFC 5321 §4.4).
_REMOVED = frozenset((b"bcc", b"resent-bcc", b"return-path"))

# RFC 5322 §3.6.4: "<" left "@" right ">".  Which characters stand in it we do not judge, as long as nobody can read it
# otherwise: the client's own copy carries the same one, and replies refer to it.
_MESSAGE_ID = re.compile(
    r'[ \t]*(<(?:"(?:[^"\\]++|\\.)*+"|[^\s<>@"\x00-\x1f\x7f-\x9f]++)@[^\s<>@\x00-\x1f\x7f-\x9f]++>)[ \t]*'
)
# RFC 5322 §2.1.1: a line has at most 998 octets, and a msg-id cannot be folded.
_MESSAGE_ID_LIMIT = 996


@value(frozen=True, slots=True)
class Examined:
    """What the client's header says.

    Args:
        header: its fields, as sent.
        from_addresses: the addresses of From, one at least.
        sender: the address of Sender, if there is one.
        message_id: the Message-ID with its angle brackets; None if it is missing or no such thing.
        has_date: whether there is a Date that is one.
        has_utf8: whether there is any octet beyond ASCII.
        received_count: how many Received fields there are.
    """

    header: Header
    from_addresses: tuple[Mailbox, ...]
    sender: Mailbox | None
    message_id: str | None
    has_date: bool
    has_utf8: bool
    received_count: int


@value(frozen=True, slots=True)
class Prepared:
    """A header section ready for the spool.

    Args:
        header: its fields.
        prefix: the whole of it, with its empty line.
        message_id: the Message-ID in it, with its angle brackets.
    """

    header: Header
    prefix: bytes
    message_id: str


def examine(section: bytes) -> Examined:
    """Read a header section as the client sent it, with or without its empty line.

    Raises:
        Malformed: it must be refused, 554 5.6.0 (a loop: 5.4.6); its text is for the client.
    """
    header = parse_header(section)
    fields = header.fields
    single = {field.name: field for field in fields}
    received_count = int(b"received" in single)
    if len(single) < len(fields):  # a name stands there twice
        received_count = _count_received(fields)
    if received_count >= RECEIVED_LIMIT:
        text = "Too many Received fields, is this a loop?"
        raise Malformed("too many Received fields", code=554, enhanced="5.4.6", text=text)
    from_addresses, sender = _originators(single)
    return Examined(
        header,
        from_addresses,
        sender,
        _message_id(single.get(b"message-id")),
        b"date" in single and is_date(single[b"date"].value.decode("latin-1")),
        not section.isascii(),
        received_count,
    )


def _count_received(fields: Sequence[Field]) -> int:
    """Count them; refuse fields that may stand there once only."""
    seen, count = set(), 0
    for name in [field.name for field in fields]:
        if name == b"received":
            count += 1
        elif name in seen:
            shown = _shown(name)
            raise bad_header(f"several {shown} fields", f"More than one {shown} field")
        elif name in _SINGLE:
            seen.add(name)
    return count


def _originators(single: dict[bytes, Field]) -> tuple[tuple[Mailbox, ...], Mailbox | None]:
    if b"from" not in single:
        raise bad_header("no From field", "No From field")
    from_addresses = parse_originator(single[b"from"])
    if not from_addresses:
        raise bad_header("From without an address", "No address in the From field")
    if b"sender" not in single:
        # RFC 5322 §3.6.2: who really sent it must be told when several wrote it.
        if len(from_addresses) > 1:
            raise bad_header("several From addresses, no Sender", "Several addresses in From need a Sender field")
        return from_addresses, None
    senders = parse_originator(single[b"sender"])
    # RFC 5322 §3.6.2: Sender holds one mailbox.
    if len(senders) != 1:
        raise bad_header("Sender is not one address", "The Sender field must hold one address")
    return from_addresses, senders[0]


def _message_id(field: Field | None) -> str | None:
    if field is None:
        return None
    try:
        text = field.value.decode()
    except UnicodeDecodeError:
        return None
    match = _MESSAGE_ID.fullmatch(text)
    if match is None and "(" in text:
        bare = without_comments(text)
        match = None if bare is None else _MESSAGE_ID.fullmatch(bare)
    return match[1] if match is not None and len(match[1].encode()) <= _MESSAGE_ID_LIMIT else None


def _shown(name: bytes) -> str:
    return "Message-ID" if name == b"message-id" else name.decode("ascii").capitalize()


def prepare(examined: Examined, stamp: Stamp) -> Prepared:
    """Write the header section that goes out."""
    message_id = examined.message_id
    removed = _REMOVED
    added: list[Field] = []
    # RFC 6409 §8.2: a Date that is missing or no date is set to now.
    if not examined.has_date:
        removed |= {b"date"}
        added.append(Field(b"date", f"Date: {format_date(stamp.now)}\r\n".encode()))
    # RFC 6409 §8.3: the same for Message-ID.  Its domain is the author's, or ours where that names no domain.
    if message_id is None:
        removed |= {b"message-id"}
        domain = examined.from_addresses[0].ascii_domain
        if not is_qualified(domain) or domain.startswith("["):
            domain = stamp.hostname
        message_id = f"<{stamp.unique}@{domain}>"
        added.append(Field(b"message-id", f"Message-ID: {message_id}\r\n".encode()))
    kept = [field for field in examined.header.fields if field.name not in removed]
    header = Header((Field(b"received", received(stamp)), *kept, *added))
    return Prepared(header, bytes(header), message_id)
