"""Our own trouble, and bad speech of a client, as replies: one table."""

from __future__ import annotations

from gatepost.errors import (
    Malformed,
    SpoolFull,
    SpoolUnavailable,
    StoreUnavailable,
)
from gatepost.model import reply as replies
from gatepost.model.reply import Reply

__all__ = ["reply_to"]

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
