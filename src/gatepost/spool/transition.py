"""What may happen to a message in the spool, each as one change for the writer: kept, settled, altered, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gatepost.model.envelope import Envelope, MessageId, Receipt
from gatepost.spool.change import Change
from gatepost.spool.lane import ORDINARY_LANE
from gatepost.spool.row import encode_progress, fresh_progress, row_of
from gatepost.spool.spool import Draft, Entry, Settlement, Status

__all__ = ["altered", "kept", "new_entry", "receipts", "removed", "rewritten", "settled"]

Written = asyncio.Future[None]


def new_entry(
    message_id: MessageId, envelope: Envelope, now: float, due: float, held: bool = False, *, lane: int = ORDINARY_LANE
) -> Entry:
    """Make the entry of a message that was never tried."""
    return Entry(message_id, envelope, now, due, is_held=held, progress=fresh_progress(envelope), lane=lane)


def kept(future: Written, entry: Entry, octets: bytes | bytearray, file_bytes: int | None) -> Change:
    """Return the change that keeps a new message: a body in a file is durable by now."""
    return Change(
        future,
        entries=((entry, file_bytes),),
        messages=(row_of(entry, file_bytes),),
        contents=((entry.id, octets),),
        body=None if file_bytes is None else entry.id,
        can_drop=True,
    )


def settled(
    future: Written,
    entry: Entry,
    file_bytes: int | None,
    settlement: Settlement,
    bounces: Sequence[tuple[Entry, Draft]],
) -> Change:
    """Return the change that writes down what an attempt came to: the last recipient takes the message with it."""
    change = Change(future, changed=(entry.id,))
    if Status.PENDING in [each.status for each in settlement.progress]:
        progress = encode_progress(settlement.progress)
        attempts = entry.attempts + settlement.is_attempt
        change.updates = ((settlement.due, settlement.stalled, attempts, progress, entry.id),)
    else:
        _remove(change, entry.id, file_bytes)
    return _with(change, bounces)


def altered(future: Written, message_id: MessageId, held: bool | None, due: float | None) -> Change:
    """Return the change that an operator asked for: what is None stays as it is."""
    return Change(future, alterations=((held, due, held, message_id),), changed=(message_id,))


def rewritten(future: Written, entry: Entry) -> Change:
    """Return the change that gives a message the envelope, progress and due time of *entry*."""
    row = row_of(entry, None)
    return Change(future, rewrites=((row[1], row[7], row[8], entry.id),), changed=(entry.id,))


def removed(
    future: Written, message_id: MessageId, file_bytes: int | None, bounces: Sequence[tuple[Entry, Draft]]
) -> Change:
    """Return the change that drops a message and tells of it."""
    change = Change(future, changed=(message_id,))
    _remove(change, message_id, file_bytes)
    return _with(change, bounces)


def receipts(change: Change) -> tuple[Receipt, ...]:
    """Return the receipts of the new messages, once the change is written."""
    return tuple([Receipt(name, len(octets)) for name, octets in change.contents])


def _remove(change: Change, message_id: MessageId, file_bytes: int | None) -> None:
    change.removed = (message_id,)
    change.finished_body = None if file_bytes is None else message_id


def _with(change: Change, bounces: Sequence[tuple[Entry, Draft]]) -> Change:
    if bounces:
        change.entries = tuple([(entry, None) for entry, _ in bounces])
        change.messages = tuple([row_of(entry, None) for entry, _ in bounces])
        change.contents = tuple([(entry.id, draft.content) for entry, draft in bounces])
    return change
