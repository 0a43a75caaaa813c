"""Which mechanisms can work on a connection, and which of them EHLO shows (RFC 4954 §3)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatepost.channel_binding import bindings
from gatepost.sasl.mechanism import Mechanism, Needs
from gatepost.session.auth import Authority

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["offered", "shown", "workable"]


def offered(session: Conversation, authority: Authority) -> tuple[Mechanism, ...]:
    """Return the mechanisms of the session's listener that can work on its connection."""
    return workable(authority.offered(session.peer.listener), session.transport)


def shown(session: Conversation) -> tuple[str, ...]:
    """Return the names that EHLO shows now.

    What lives by a certificate is shown to whoever brought one.  Tried without, it ends in the no that everybody gets.
    """
    authority = session.service.authority
    peer = session.peer
    # RFC 4954 §3, RFC 8314 §3: AUTH is offered where it would work: not in clear, not twice.
    if authority is None or session.identity is not None or (session.service.require_tls and peer.tls is None):
        return ()
    has_certificate = peer.certificate is not None
    return tuple(
        [each.name for each in offered(session, authority) if has_certificate or each.needs is not Needs.CERTIFICATE]
    )


def workable(mechanisms: Sequence[Mechanism], transport: asyncio.BaseTransport | None) -> tuple[Mechanism, ...]:
    """Leave out the mechanisms that bind to the connection where there is nothing to bind to.

    Args:
        mechanisms: what the listener offers.
        transport: of the connection.
    """
    for each in mechanisms:
        if each.binds:
            break
    else:
        return tuple(mechanisms)
    can_bind = bool(bindings(transport))
    return tuple(each for each in mechanisms if can_bind or not each.binds)
