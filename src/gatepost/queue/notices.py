"""Which results a sender is told of, and which not: what NOTIFY asked for (RFC 3461 §4.1, §5.2).

Without NOTIFY a sender hears of what failed, and of what takes long.  Nobody is told about a notification.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from gatepost.message.dsn import Action
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, Handover, RemoteReply, Result
from gatepost.model.envelope import Envelope, Notify, Recipient
from gatepost.model.value import value
from gatepost.queue.health import CLOSED

__all__ = ["Notice", "notices", "wants_delay"]

_NOTIFICATION = "the message was itself a notification"
_UNWANTED = "its sender asked not to be told"
_REACHED = {Handover.RELAYED: Action.RELAYED, Handover.DELIVERED: Action.DELIVERED}


@value(frozen=True, slots=True)
class Notice:
    """One thing that a sender is told.

    Args:
        index: place of the recipient in the envelope.
        action: what became of it.
        reply: what was said, or what we say in its place.
        next_hop: who said so; empty when nobody was reached.
        at: when it was last tried; None if it never was.
    """

    index: int
    action: Action
    reply: RemoteReply
    next_hop: str
    at: float | None


def notices(
    envelope: Envelope, indices: Iterable[int], results: Iterable[Result], late: Container[int], now: float
) -> tuple[list[Notice], str]:
    """Return what the sender is told after an attempt, and why nobody is told of a failure, if one is kept quiet.

    Args:
        envelope: of the message.
        indices: the recipients that were tried.
        results: what it came to for each.
        late: recipients of whose delay the sender is told, should they have to wait again.
        now: when the attempt ended.
    """
    found: list[Notice] = []
    # RFC 5321 §4.5.5, RFC 3461 §6.1: none is sent about what has the null reverse-path.
    has_sender, untold = envelope.reverse_path is not None, ""
    for index, result in zip(indices, results, strict=True):
        action = _action(envelope.recipients[index], result, is_late=index in late) if has_sender else None
        if action is not None:
            is_ours = isinstance(result, Deferred) and result.cause is Cause.ROUTE
            found.append(Notice(index, action, CLOSED if is_ours else result.reply, result.next_hop, now))
        elif isinstance(result, Failed):
            untold = _UNWANTED if has_sender else _NOTIFICATION
    return found, untold


def _action(recipient: Recipient, result: Result, *, is_late: bool) -> Action | None:
    if isinstance(result, Delivered):
        # RFC 3461 §4.1: of a success nobody hears who did not ask; §5.2.1: a next hop with DSN tells of it.
        wanted = recipient.notify is not None and Notify.SUCCESS in recipient.notify
        return _REACHED.get(result.handover) if wanted else None
    if isinstance(result, Failed):
        return Action.FAILED if _wants(recipient, Notify.FAILURE) else None
    return Action.DELAYED if is_late else None


def wants_delay(recipient: Recipient) -> bool:
    """Tell whether the sender may hear that *recipient* waits long."""
    return _wants(recipient, Notify.DELAY)


def _wants(recipient: Recipient, notify: Notify) -> bool:
    # RFC 3461 §4.1: NEVER stands alone; without NOTIFY failures are told, and delays may be.
    return recipient.notify is None or notify in recipient.notify
