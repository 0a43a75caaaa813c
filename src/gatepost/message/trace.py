"""The Received field that we put on top of each message (RFC 5321 §4.4), without the client's name and address."""

from __future__ import annotations

from functools import lru_cache

from gatepost.message.date import format_date
from gatepost.model.address import Mailbox
from gatepost.model.value import value

__all__ = ["Stamp", "protocol_word", "received"]

_COLUMNS = 78


@value(frozen=True, slots=True)
class Stamp:
    """What we know about a message when it is prepared.

    Args:
        hostname: our own name.
        id: name of the message in the spool.
        now: seconds since the epoch.
        protocol: from `protocol_word`.
        unique: text for a Message-ID, should it need one: letters, digits, dots and hyphens, never the same twice.
        tls: version and cipher, such as ``TLSv1.3 TLS_AES_256_GCM_SHA384``; empty without TLS.
        recipient: the only recipient; None when there are several, for each would see the others.
    """

    hostname: str
    id: str
    now: float
    protocol: str
    unique: str
    tls: str = ""
    recipient: Mailbox | None = None


def protocol_word(*, tls: bool, authenticated: bool, smtputf8: bool) -> str:
    """Name the protocol for a Received field (RFC 3848; RFC 6531 §4.3), such as ``ESMTPSA``."""
    return f"{'UTF8SMTP' if smtputf8 else 'ESMTP'}{'S' if tls else ''}{'A' if authenticated else ''}"


def received(stamp: Stamp) -> bytes:
    """Write the Received field, folded, with its last CRLF."""
    recipient = stamp.recipient
    before, after, column = _start(
        stamp.hostname, stamp.protocol, len(stamp.id), stamp.tls, ";" if recipient is None else ""
    )
    if recipient is not None:
        clause = f"for <{recipient.in_ascii()}>;"
        if column + 1 + len(clause) > _COLUMNS:
            after, column = f"{after}\r\n\t{clause}", len(clause) + 1
        else:
            after, column = f"{after} {clause}", column + 1 + len(clause)
    date = format_date(stamp.now)
    space = " " if column + 1 + len(date) <= _COLUMNS else "\r\n\t"
    return f"{before}{stamp.id}{after}{space}{date}\r\n".encode()


@lru_cache(maxsize=64)
def _start(hostname: str, protocol: str, id_length: int, tls: str, end: str) -> tuple[str, str, int]:
    """Return what stands before and behind an id of that length, without recipient and date, and the last column."""
    # RFC 5321 §4.4 wants the client's name and address after "from".  We break that: where somebody writes from is
    # nobody's business but ours, and our log has it under the same id.  A domain of one label keeps the grammar.
    clauses = ["Received: from authenticated-user", f"by {hostname}", f"with {protocol}", "id " + "\0" * id_length]
    if tls:
        clauses.append(f"({tls})")
    clauses[-1] += end
    lines, line = [], ""
    for clause in clauses:
        if line and len(line) + 1 + len(clause) > _COLUMNS:
            lines.append(line)
            line = f"\t{clause}"
        else:
            line = f"{line} {clause}" if line else clause
    lines.append(line)
    before, after = "\r\n".join(lines).split("\0" * id_length)
    return before, after, len(line)
