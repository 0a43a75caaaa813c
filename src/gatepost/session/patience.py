"""How long a session may last as it stands, and what is said of one that took too long; no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatepost.model import reply as replies
from gatepost.model.reply import Reply

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["closing_words", "longest"]


def longest(session: Conversation) -> float:
    """Return how many seconds after it began *session* ends; a transaction gets time to come to its end."""
    limits = session.service.limits
    if session.identity is None and session.service.authority is not None:
        return limits.login_time
    return limits.session_time if session.transaction is None else 2 * limits.session_time


def closing_words(session: Conversation) -> tuple[Reply, str]:
    """Return what the client of *session* hears, who took too long, and the reason for the log."""
    if session.loop.time() < session.closes_at:
        return replies.TIMED_OUT, "timed out"
    if session.identity is None and session.service.authority is not None:
        return replies.NO_LOGIN_IN_TIME, "no login in time"
    return replies.SESSION_TOO_LONG, "session too long"
