"""The STARTTLS command (RFC 3207)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gatepost.model import reply as replies
from gatepost.observe.events import HandshakeFailed
from gatepost.session.tls_transport import TlsTransport

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["start_tls"]


async def start_tls(session: Conversation, argument: str) -> None:
    """Answer STARTTLS, and go on in TLS."""
    context = session.service.tls_context
    transport = session.transport
    if argument:
        # RFC 3207 §4: the command has no parameters.
        session.refuse(replies.BAD_SYNTAX, "STARTTLS", "STARTTLS with an argument")
        return
    if session.peer.tls is not None:
        session.refuse(replies.ALREADY_TLS, "STARTTLS", "TLS is active")
        return
    if session.identity is not None:
        session.refuse(replies.BAD_SEQUENCE, "STARTTLS", "after login")
        return
    if context is None or transport is None:
        session.refuse(replies.TLS_UNAVAILABLE, "STARTTLS", "no certificate")
        return
    # RFC 3207 §6: what came after the command in clear is an injection.  From here to `set_protocol` nothing else runs,
    # so that no octet can slip between.
    transport.pause_reading()
    if session.has_input:
        session.refuse(replies.PLAINTEXT_AFTER_STARTTLS, "STARTTLS", "octets in clear after STARTTLS")
        session.hang_up("octets in clear after STARTTLS")
        return
    session.reply(replies.START_TLS)
    session.flush()
    established = session.loop.create_future()

    def done(reason: OSError | None) -> None:
        if established.done():
            return  # the session has ended meanwhile
        if reason is None:
            established.set_result(None)
        else:
            established.set_exception(reason)

    # From here on nothing is said in clear.
    tls = TlsTransport(context, session, session.service.limits.handshake_patience, done)
    session.transport = tls.as_transport
    tls.connection_made(transport)
    transport.set_protocol(tls.as_protocol)
    transport.resume_reading()
    try:
        await established
    except OSError as error:
        _fail(session, str(error) or type(error).__name__)
        return
    except asyncio.CancelledError:
        tls.abort()
        raise
    # RFC 3207 §4.2: all that was learned in clear is forgotten, the name of the client, too.
    session.forget_everything()


def _fail(session: Conversation, reason: str) -> None:
    # RFC 3207 §4.1: nothing more is said in clear.
    session.service.emit(
        HandshakeFailed(
            session=session.id, listener=session.service.listener, peer=session.peer.address, reason=reason[:200]
        )
    )
    session.hang_up("tls handshake failed")
    session.transport = None
    session.end()
