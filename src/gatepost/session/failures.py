"""Our own trouble, and bad speech of a client, as replies: one table; and telling of trouble in a command."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gatepost.errors import Malformed, SpoolFull, SpoolUnavailable, StoreUnavailable, Unavailable
from gatepost.model import reply as replies
from gatepost.model.reply import Reply
from gatepost.observe.events import SessionFailed

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["reply_to", "tell_trouble"]

_log = logging.getLogger("gatepost.session")

_TABLE: tuple[tuple[type[Exception], Reply], ...] = (
    (StoreUnavailable, replies.AUTH_UNAVAILABLE),
    (SpoolFull, replies.SPOOL_FULL),
    (SpoolUnavailable, replies.SPOOL_UNAVAILABLE),
)


def reply_to(error: Exception) -> Reply:
    """Turn *error* into what the client hears: never its text, unless it was written for clients."""
    if isinstance(error, Malformed):
        return Reply.of(error.code, error.enhanced, error.text or "Syntax error")
    return next((reply for kind, reply in _TABLE if isinstance(error, kind)), replies.INTERNAL_ERROR)


async def tell_trouble(session: Conversation, command: str, error: Exception) -> None:
    """Answer a command that *error* ended, and tell of it."""
    answer = await session.hooks.exception(error) if session.hooks else None
    if answer is not None:
        session.send(answer)
        return
    reply = session.refuse(reply_to(error), "", "")
    session.service.emit(
        SessionFailed(
            session=session.id,
            peer=session.peer.address,
            command=command,
            reply=str(reply),
            reason=f"{type(error).__name__}: {error}"[:500],
        )
    )
    if not isinstance(error, Unavailable):
        _log.error("command failed", exc_info=error, extra={"session": session.id, "command": command})
