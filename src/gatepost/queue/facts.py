"""The events of an attempt that was written down."""

from __future__ import annotations

from collections.abc import Iterator

from gatepost.message.dsn import Action
from gatepost.model.delivery import Cause, Deferred, Delivered, Discarded, Failed
from gatepost.model.envelope import Receipt
from gatepost.observe.events import (
    BounceDropped,
    BounceQueued,
    Event,
    MessageFinished,
    NoticeQueued,
    RecipientDeferred,
    RecipientDelivered,
    RecipientDiscarded,
    RecipientFailed,
    SignatureLost,
)
from gatepost.queue.attempt import Outcome
from gatepost.queue.grouping import Group
from gatepost.spool.spool import Entry, Status

__all__ = ["facts"]


def facts(
    entry: Entry, of: Group, outcome: Outcome, receipts: tuple[Receipt, ...], cause: Cause, ended: float
) -> Iterator[Event]:
    """Yield what is to be told.

    Args:
        entry: the message as it stands now.
        of: the recipients that were tried.
        outcome: what it came to.
        receipts: of the notification, if there is one.
        cause: whose trouble the deferrals are.
        ended: when the attempt ended.
    """
    name, route, age = str(entry.id), of.route.name, ended - entry.accepted_at
    for index, result in zip(of.indices, outcome.results, strict=True):
        recipient, reply = str(entry.envelope.recipients[index]), str(result.reply)
        match result:
            case Discarded():
                yield RecipientDiscarded(name, recipient, route)
            case Delivered():
                yield RecipientDelivered(name, recipient, route, result.next_hop, reply, entry.attempts, age)
            case Deferred():
                yield RecipientDeferred(
                    name,
                    recipient,
                    route,
                    result.next_hop,
                    reply,
                    entry.attempts,
                    entry.due,
                    cause.value,
                    result.reply.remedy,
                )
            case Failed():
                yield RecipientFailed(
                    name,
                    recipient,
                    route,
                    result.next_hop,
                    reply,
                    entry.attempts,
                    result.reply.enhanced,
                    result.reply.remedy,
                )
    for receipt in receipts:
        sender, actions = str(entry.envelope.reverse_path), {each.action for each in outcome.notices}
        if Action.FAILED in actions:
            yield BounceQueued(name, receipt.id, sender)
        else:
            yield NoticeQueued(name, receipt.id, sender, next(each.value for each in Action if each in actions))
    if outcome.is_signature_lost:
        yield SignatureLost(name, route)
    if outcome.undrafted:
        yield BounceDropped(name, outcome.undrafted)
    if all(each.status is not Status.PENDING for each in entry.progress):
        yield MessageFinished(name, age)
