"""An entry as a row of the database, and back: the envelope and the progress of its recipients are compact JSON."""

from __future__ import annotations

import json
from typing import Any, Final

from gatepost.errors import SpoolUnavailable
from gatepost.model.address import Mailbox
from gatepost.model.envelope import Body, Envelope, MessageId, Notify, Recipient, Ret
from gatepost.spool.lane import ORDINARY_LANE
from gatepost.spool.spool import Entry, Progress, Status

__all__ = [
    "COLUMNS",
    "COLUMNS_BEFORE",
    "WRITTEN",
    "Row",
    "StoredRow",
    "encode_progress",
    "entry_of",
    "fresh_progress",
    "row_of",
]

WRITTEN: Final = "id, due, held, accepted_at, attempts, stalled, file_bytes, envelope, progress, lane"
COLUMNS: Final = f"{WRITTEN}, crashes"

_FIRST: Final = f"id, due, held, accepted_at, attempts, stalled, file_bytes, envelope, progress, {ORDINARY_LANE}"
COLUMNS_BEFORE: Final = {1: f"{_FIRST}, 0", 2: f"{_FIRST}, crashes"}
"""The same of older databases, by version."""

Row = tuple[MessageId, float, int, float, int, float, int | None, str, str, int]
"""What `WRITTEN` names, of a new message.

`file_bytes` is the length of a body that lies in a file, None when it lies in the database."""

StoredRow = tuple[MessageId, float, int, float, int, float, int | None, str, str, int, int]
"""What `COLUMNS` name."""

_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
_quoted: Final = json.encoder.encode_basestring_ascii


def fresh_progress(envelope: Envelope) -> tuple[Progress, ...]:
    """Return the progress of a message that was never tried."""
    return tuple([Progress(recipient) for recipient in envelope.recipients])


def row_of(entry: Entry, file_bytes: int | None) -> Row:
    """Write *entry* as a row."""
    return (
        entry.id,
        entry.due,
        int(entry.is_held),
        entry.accepted_at,
        entry.attempts,
        entry.stalled,
        file_bytes,
        _encode_envelope(entry.envelope),
        encode_progress(entry.progress),
        entry.lane,
    )


def entry_of(row: StoredRow) -> Entry:
    """Read an entry from its row.

    Raises:
        SpoolUnavailable: the row is not one that we wrote.
    """
    name, due, held, accepted_at, attempts, stalled, _, envelope_text, progress_text, lane, crashes = row
    try:
        envelope = _decode_envelope(envelope_text)
        progress = _decode_progress(progress_text, envelope.recipients) if progress_text else fresh_progress(envelope)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SpoolUnavailable(f"the row of message {name} cannot be read: {error!r}") from error
    return Entry(name, envelope, accepted_at, due, attempts, stalled, bool(held), progress, crashes, lane)


def _encode_envelope(envelope: Envelope) -> str:
    reverse_path = envelope.reverse_path
    # Only what is not the default: a usual envelope is 100 octets.
    sender = "null" if reverse_path is None else _quoted(f"{reverse_path.local}@{reverse_path.domain}")
    recipients = ",".join([_quoted(f"{each.mailbox.local}@{each.mailbox.domain}") for each in envelope.recipients])
    # What every envelope has is written by hand: that is done for each message.
    always = f'"from":{sender},"to":[{recipients}],"size":{envelope.size_bytes},"header":{envelope.header_bytes}'
    rest = ""
    if envelope.account:
        rest += f',"account":{_quoted(envelope.account)}'
    if envelope.credential:
        rest += f',"credential":{_quoted(envelope.credential)}'
    if envelope.label:
        rest += f',"label":{_quoted(envelope.label)}'
    if envelope.body is not Body.SEVEN_BIT:
        rest += f',"body":{_quoted(envelope.body.value)}'
    if envelope.smtputf8:
        rest += ',"smtputf8":true'
    if envelope.sandbox:
        rest += ',"sandbox":true'
    if envelope.route:
        rest += f',"route":{_quoted(envelope.route)}'
    if envelope.ret is not None:
        rest += f',"ret":{_quoted(envelope.ret.value)}'
    if envelope.envid:
        rest += f',"envid":{_quoted(envelope.envid)}'
    if envelope.signatures:
        rest += f',"signatures":{envelope.signatures}'
    if [True for each in envelope.recipients if each.notify is not None or each.orcpt]:
        # In the order of "to".
        asked = [[0 if each.notify is None else each.notify.value, each.orcpt] for each in envelope.recipients]
        rest += f',"dsn":{_encode(asked)}'
    return f"{{{always}{rest}}}"


def _decode_envelope(text: str) -> Envelope:
    fields = json.loads(text)
    reverse_path = fields["from"]
    return Envelope(
        reverse_path=None if reverse_path is None else _mailbox(reverse_path),
        recipients=_recipients(fields["to"], fields["dsn"])
        if "dsn" in fields
        else tuple([Recipient(_mailbox(each)) for each in fields["to"]]),
        body=Body(fields["body"]) if "body" in fields else Body.SEVEN_BIT,
        smtputf8=fields.get("smtputf8", False),
        account=fields.get("account", ""),
        credential=fields.get("credential", ""),
        header_bytes=fields["header"],
        size_bytes=fields["size"],
        sandbox=fields.get("sandbox", False),
        route=fields.get("route", ""),
        ret=Ret(fields["ret"]) if "ret" in fields else None,
        envid=fields.get("envid", ""),
        label=fields.get("label", ""),
        signatures=fields.get("signatures", 0),
    )


def _recipients(mailboxes: list[str], asked: list[list[Any]]) -> tuple[Recipient, ...]:
    return tuple(
        [
            Recipient(_mailbox(mailbox), Notify(notify) if notify else None, orcpt)
            for mailbox, (notify, orcpt) in zip(mailboxes, asked, strict=True)
        ]
    )


def _mailbox(text: str) -> Mailbox:
    # The local part stands here without quotes and may hold an @; a domain cannot.
    local, _, domain = text.rpartition("@")
    return Mailbox(local, domain)


def encode_progress(progress: tuple[Progress, ...]) -> str:
    """Write the recipients' states; those of a message that was never tried are the empty text."""
    if not [
        True
        for each in progress
        if each.attempts
        or each.status is not Status.PENDING
        or each.reply
        or each.next_hop
        or each.at
        or each.is_delay_told
    ]:
        return ""
    return _encode(
        [
            # The last stands there only where it is true.
            [each.status.value, each.attempts, each.reply, each.next_hop, each.at, *[True] * each.is_delay_told]
            for each in progress
        ]
    )


def _decode_progress(text: str, recipients: tuple[Recipient, ...]) -> tuple[Progress, ...]:
    return tuple(
        [
            Progress(recipient, Status(status), attempts, reply, next_hop, at, told == [True])
            for recipient, (status, attempts, reply, next_hop, at, *told) in zip(
                recipients, json.loads(text), strict=True
            )
        ]
    )
