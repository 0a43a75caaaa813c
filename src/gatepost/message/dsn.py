"""Compose a delivery status notification: a bounce, and its milder relatives (RFC 3464, RFC 6522, RFC 6533).

What a next hop said is a stranger's text: it is cleaned and cut before it stands in the report.  The result is ASCII
unless an address or the header of the message is UTF-8; then it is 8-bit, and wants SMTPUTF8 only where its own
recipient does.
"""

from __future__ import annotations

import enum
import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

from gatepost.errors import Malformed
from gatepost.message.convert import to_seven_bit
from gatepost.message.date import format_date
from gatepost.message.remedy import remedy
from gatepost.model.address import Mailbox

__all__ = ["CONTENT_LIMIT", "Action", "RecipientReport", "Report", "compose"]

CONTENT_LIMIT = 50 * 1024
"""Longest message in octets that is returned whole; of longer ones only the header."""

_HEADER_LIMIT = 32 * 1024
_TEXT_LIMIT = 900
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_MESSAGE_ID = re.compile(
    rb"^message-id[ \t]*:(?:\r\n)?[ \t]*(<[!-;=?A-~]{1,200}@[!-;=?A-~]{1,200}>)[ \t]*\r\n(?![ \t])",
    re.IGNORECASE | re.MULTILINE,
)
_BLOTTED = bytes(range(128)) + b"?" * 128
# RFC 5322 §2.1.1: a line has at most 998 octets.
_LONG_LINE = re.compile(rb"[^\r\n]{999,}")
# RFC 2045 §2.7, §2.8: nor is there a NUL in 7-bit and 8-bit data.
_UNSENDABLE = re.compile(rb"[^\r\n]{999,}|\x00")


class Action(enum.Enum):
    """What became of a recipient (RFC 3464 §2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What is told about one recipient.

    Args:
        final_recipient: whom it was for.
        action: what became of it.
        status: enhanced code (RFC 3463); one that is none is replaced by the plainest that fits the action.
        diagnostic: reply of the next hop, or our words; cleaned here.
        is_remote: whether a next hop said so.
        remote_mta: name of that next hop; empty if none was reached.
        last_attempt: when it was last tried, seconds since the epoch.
        will_retry_until: when we give up, for a delay.
        original_recipient: type and address from ORCPT (RFC 3461 §4.2), such as ``rfc822;tim@example.org``.
    """

    final_recipient: Mailbox
    action: Action
    status: str
    diagnostic: str = ""
    is_remote: bool = True
    remote_mta: str = ""
    last_attempt: float | None = None
    will_retry_until: float | None = None
    original_recipient: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What is told about one message.

    Args:
        reporting_mta: our own name.
        reverse_path: who gets the report.
        arrival: when we took the message, seconds since the epoch.
        now: the time of the report.
        unique: text for Message-ID and boundary: letters, digits, dots and hyphens, never the same twice.
        recipients: whom it is about, one at least.
        envelope_id: from ENVID (RFC 3461 §4.4), decoded.
    """

    reporting_mta: str
    reverse_path: Mailbox
    arrival: float
    now: float
    unique: str
    recipients: tuple[RecipientReport, ...]
    envelope_id: str = ""


_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.DELIVERED: "Your message was delivered",
    Action.RELAYED: "Your message was passed on",
    Action.EXPANDED: "Your message was delivered to a list",
}
_INTRODUCTIONS = {
    Action.FAILED: "Your message could not be delivered to these recipients, and will not be tried again:",
    Action.DELAYED: "Your message has not been delivered to these recipients yet.  There is nothing you need to do:"
    " it will be tried again{until}, and you will hear of it if it fails.",
    Action.DELIVERED: "Your message was delivered to these recipients:",
    Action.RELAYED: "Your message was passed on, for these recipients, to a server that sends no such reports."
    "  Nobody will tell you that it arrived; that server may still send it back.",
    Action.EXPANDED: "Your message was delivered to these lists, which pass it on:",
}


def compose(report: Report, header: bytes, content: bytes | None = None) -> bytes:
    """Write the notification.

    Args:
        report: what is told.
        header: header section of the message it is about.
        content: that whole message, header included, if it may be returned; used if it is short enough, and if a next
            hop that takes 7-bit only can be given the notification all the same.
    """
    is_global = not all(
        each.final_recipient.is_ascii and each.original_recipient.isascii() for each in report.recipients
    )
    parts = [
        _part("text/plain; charset=utf-8" if is_global else "text/plain; charset=us-ascii", _words(report)),
        # RFC 6533 §3: addresses in UTF-8 need the global form of the status.
        _part(f"message/{'global-' if is_global else ''}delivery-status", _status(report)),
        _returned(header, content),
    ]
    boundary = f"=_{report.unique}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    is_eight_bit = not all(part.isascii() for part in parts)
    lines = [
        f"From: Mail Delivery System <MAILER-DAEMON@{report.reporting_mta}>",
        f"To: <{report.reverse_path.in_ascii()}>",
        f"Subject: {next(text for action, text in _SUBJECTS.items() if action in _actions(report))}",
        f"Date: {format_date(report.now)}",
        f"Message-ID: <{report.unique}@{report.reporting_mta}>",
        *_threading(header),
        # RFC 3834 §5: nobody answers an answer.
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="{boundary}"',
        f"Content-Transfer-Encoding: {'8bit' if is_eight_bit else '7bit'}",
    ]
    pieces = [_lines(lines), b"\r\n", b"This is a delivery status notification in MIME format.\r\n"]
    for part in parts:
        pieces += [b"\r\n--", boundary.encode(), b"\r\n", part]
    pieces += [b"\r\n--", boundary.encode(), b"--\r\n"]
    return b"".join(pieces)


def _actions(report: Report) -> set[Action]:
    return {each.action for each in report.recipients}


def _words(report: Report) -> bytes:
    """Say what happened, for people."""
    about = f"This is the mail server {report.reporting_mta}, about your message of {format_date(report.arrival)}."
    paragraphs = [textwrap.fill(about, 72, break_long_words=False, break_on_hyphens=False)]
    for action in Action:
        concerned = [each for each in report.recipients if each.action is action]
        if not concerned:
            continue
        ends = [each.will_retry_until for each in concerned if each.will_retry_until is not None]
        until = f" until {format_date(max(ends))}" if ends else ""
        paragraphs.append(textwrap.fill(_INTRODUCTIONS[action].format(until=until), 72))
        for each in concerned:
            said = _clean(each.diagnostic)
            if said and each.is_remote and each.remote_mta:
                said = f"{_clean(each.remote_mta)} said: {said}"
            indented = _indented(said)
            if action is Action.FAILED:
                indented += _indented(remedy(_status_code(each)))
            paragraphs.append("\n".join([f"<{each.final_recipient}>", *indented]))
    paragraphs.append("The details for mail programs and postmasters, and what you sent, are attached.")
    return "\n\n".join([*paragraphs, ""])[:-1].replace("\n", "\r\n").encode()


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, 72, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)


def _status(report: Report) -> bytes:
    """Say it for programs (RFC 3464 §2)."""
    groups = [
        _lines(
            [
                *_unfolded("Original-Envelope-Id", report.envelope_id.encode("ascii", "replace").decode()),
                f"Reporting-MTA: dns; {report.reporting_mta}",
                f"Arrival-Date: {format_date(report.arrival)}",
            ]
        )
    ]
    groups += [_lines(_recipient_fields(each)) for each in report.recipients]
    return b"\r\n".join(groups)


def _recipient_fields(each: RecipientReport) -> list[str]:
    # RFC 6533 §3: the type of an address in UTF-8.
    kind = "rfc822" if each.final_recipient.is_ascii else "utf-8"
    fields = [
        *_unfolded("Original-Recipient", each.original_recipient),
        f"Final-Recipient: {kind}; {each.final_recipient}",
        f"Action: {each.action.value}",
        f"Status: {_status_code(each)}",
        *_field("Remote-MTA", _clean(each.remote_mta), "dns; "),
        # RFC 3464 §2.3.6: "smtp" is for what an SMTP server said; our own words get a type of ours.
        *_field("Diagnostic-Code", _clean(each.diagnostic), "smtp; " if each.is_remote else "x-gatepost; "),
    ]
    if each.last_attempt is not None:
        fields.append(f"Last-Attempt-Date: {format_date(each.last_attempt)}")
    # RFC 3464 §2.3.8: only for a delay.
    if each.will_retry_until is not None and each.action is Action.DELAYED:
        fields.append(f"Will-Retry-Until: {format_date(each.will_retry_until)}")
    return fields


def _status_code(each: RecipientReport) -> str:
    # RFC 3464 §2.3.4: the class of the status fits the action; what is given up after a time was no more than delayed.
    classes = {Action.FAILED: "54", Action.DELAYED: "4"}.get(each.action, "2")
    if _STATUS.fullmatch(each.status) is None:
        return f"{classes[0]}.0.0"
    return each.status if each.status[0] in classes else classes[0] + each.status[1:]


def _field(name: str, value: str, kind: str = "") -> list[str]:
    """Write a field, folded; nothing if it has no value."""
    if not value:
        return []
    text = f"{name}: {kind}{value}"
    # Folded at spaces only: a fold within a word would add a space to it.
    return textwrap.wrap(text, 76, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False)


def _unfolded(name: str, value: str) -> list[str]:
    """Write a field of what the sender gave, in one line; nothing if there is none."""
    # RFC 3461 §6.3: it comes back as it was given, to the last space; what ends a line was never given.
    value = "".join([character for character in value if character.isprintable()])
    value = value.encode()[:_TEXT_LIMIT].decode(errors="ignore")
    return [f"{name}: {value}"] if value else []


def _clean(text: str) -> str:
    """Make a stranger's text harmless: printable ASCII in one line, not too long."""
    text = " ".join(text[: 4 * _TEXT_LIMIT].split())
    text = "".join([character if " " <= character <= "~" else "?" for character in text])
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]} [...]"


def _threading(header: bytes) -> list[str]:
    # RFC 3834 §3.1.5: name the message this is about, so that it is shown beside it.
    match = _MESSAGE_ID.search(header)
    if match is None:
        return []
    message_id = match[1].decode("ascii")
    return [f"In-Reply-To: {message_id}", f"References: {message_id}"]


def _returned(header: bytes, content: bytes | None) -> bytes:
    """Return the message or its header (RFC 6522 §3)."""
    try:
        is_utf8 = bool(header.decode()) and not header.isascii()
    except UnicodeDecodeError:
        # Neither ASCII nor UTF-8: no type fits it, so what is beyond ASCII is blotted out.
        header, content, is_utf8 = header.translate(_BLOTTED), None, False
    # RFC 6533 §4: a header in UTF-8 needs the global types.
    if content is not None and len(content) <= CONTENT_LIMIT and not _UNSENDABLE.search(content):
        part = _part("message/global" if is_utf8 else "message/rfc822", content)
        if _is_convertible(part):
            return part
    return _part("message/global-headers" if is_utf8 else "text/rfc822-headers", _harmless(header))


def _is_convertible(part: bytes) -> bool:
    """Tell whether *part* can go where 8BITMIME is not offered: what failed for that must not take its report along."""
    try:
        to_seven_bit(part)
    except Malformed:
        return False
    return True


def _harmless(header: bytes) -> bytes:
    """Cut a header section after some lines, and fold lines that are too long to be sent."""
    if len(header) > _HEADER_LIMIT:
        header = header[: header.rfind(b"\n", 0, _HEADER_LIMIT) + 1]
    return _LONG_LINE.sub(_fold, header).rstrip(b"\r\n") + b"\r\n"


def _fold(match: re.Match[bytes]) -> bytes:
    text = match[0].decode(errors="replace")
    # A character has at most four octets.
    return b"\r\n ".join([text[start : start + 240].encode() for start in range(0, len(text), 240)])


def _part(content_type: str, body: bytes) -> bytes:
    """Write a body part."""
    fields = [
        f"Content-Type: {content_type}",
        f"Content-Transfer-Encoding: {'7bit' if body.isascii() else '8bit'}",
    ]
    return _lines([*fields, ""]) + body


def _lines(lines: Iterable[str]) -> bytes:
    return "".join([f"{line}\r\n" for line in lines]).encode()
