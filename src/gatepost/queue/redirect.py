"""Send a message elsewhere than it was addressed or routed: what an operator may change of an envelope."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gatepost.errors import Malformed
from gatepost.model.address import Mailbox, parse_mailbox
from gatepost.model.envelope import Recipient
from gatepost.model.xtext import encode_xtext
from gatepost.spool.spool import Entry, Progress, Status

__all__ = ["Redirect", "redirect_of", "redirected"]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where a message is to go instead.

    Args:
        to: who gets it instead of those who still wait; None leaves recipients as they are.
        route: name of the route that it takes whatever it matches; empty leaves that as it is.
        recipient: the only one that *to* stands for; None for all who still wait.
    """

    to: Mailbox | None = None
    route: str = ""
    recipient: Mailbox | None = None


def redirect_of(order: Mapping[str, Any]) -> Redirect | None:
    """Make it of an order: ``to``, ``route`` and ``recipient``, as text; None if it orders nothing of the kind.

    Raises:
        Malformed: it is no such order.
    """
    to, route, recipient = (order.get(key, "") for key in ("to", "route", "recipient"))
    if not (isinstance(to, str) and isinstance(route, str) and isinstance(recipient, str)):
        raise Malformed("to, route and recipient of a redirect are text")
    if not to and not route:
        return None
    return Redirect(parse_mailbox(to) if to else None, route, parse_mailbox(recipient) if recipient else None)


def redirected(entry: Entry, redirect: Redirect, now: float) -> Entry | None:
    """Return *entry* as it goes elsewhere, due now; None if nobody who is meant still waits.

    Who got it already is not touched.  Who is named instead of several gets it once.
    """
    meant = [
        each.status is Status.PENDING and (redirect.recipient is None or _is_same(each.recipient, redirect.recipient))
        for each in entry.progress
    ]
    if True not in meant:
        return None
    to = redirect.to
    progress: list[Progress] = []
    # Who waits under that address anyway gets it once, too.
    has_it = to is not None and any(
        each.status is Status.PENDING and not is_meant and _is_same(each.recipient, to)
        for each, is_meant in zip(entry.progress, meant, strict=True)
    )
    for each, is_meant in zip(entry.progress, meant, strict=True):
        if not is_meant:
            progress.append(each)
        elif to is None:
            # Tried anew, as if it had just come: another way says nothing of the attempts before.
            progress.append(Progress(each.recipient, is_delay_told=each.is_delay_told))
        elif not has_it:
            progress.append(Progress(_instead(each.recipient, to), is_delay_told=each.is_delay_told))
            has_it = True
    envelope = replace(
        entry.envelope,
        recipients=tuple([each.recipient for each in progress]),
        smtputf8=entry.envelope.smtputf8 or (to is not None and not to.is_ascii),
        route=redirect.route or entry.envelope.route,
    )
    return replace(entry, envelope=envelope, progress=tuple(progress), due=now)


def _instead(recipient: Recipient, to: Mailbox) -> Recipient:
    # RFC 3461 §5.2.1: where the address is changed, ORCPT says for whom it was.
    orcpt = recipient.orcpt or _original(recipient.mailbox)
    return replace(recipient, mailbox=to, orcpt=orcpt)


def _original(mailbox: Mailbox) -> str:
    ascii_only = mailbox.in_ascii()
    return f"rfc822;{encode_xtext(str(ascii_only))}" if ascii_only.is_ascii else ""


def _is_same(recipient: Recipient, mailbox: Mailbox) -> bool:
    return (recipient.mailbox.local, recipient.mailbox.ascii_domain) == (mailbox.local, mailbox.ascii_domain)
