"""End the sessions whose logins do not count any more: revoked, expired, disabled, or no longer allowed from there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Protocol

from gatepost.errors import StoreUnavailable
from gatepost.model.identity import Identity
from gatepost.model.peer import Peer

if TYPE_CHECKING:
    from gatepost.session.conversation import Conversation

__all__ = ["Judge", "end_revoked"]

# So long may the looking-up take before others have their turn, in seconds.
_TURN: Final = 0.002


class Judge(Protocol):
    """Who knows whether a login still counts."""

    async def judge(self, identity: Identity, peer: Peer, mechanism: str) -> tuple[Identity, str]:
        """Return who somebody is now, and why they may not be here; empty if they may.  Raises `StoreUnavailable`."""
        ...


async def end_revoked(sessions: Iterable[Conversation], judge: Judge) -> bool:
    """Look up everybody who is logged in, and end the sessions of those who may not be here; some at a time.

    The others are from now on what they are now: their limits, and whom they may write as.  Whoever is just logging in
    is looked up once more.

    Args:
        sessions: those that are open.
        judge: who knows.

    Returns:
        Whether all could be looked up; those of a store that is away go on.
    """
    loop = asyncio.get_running_loop()
    pause = loop.time() + _TURN
    has_seen_all = True
    for session in tuple(sessions):
        if session.identity is None:
            # Perhaps a login is under way there, whose account was looked up before it changed.
            session.is_outdated = True
            continue
        if session.is_leaving:
            continue
        try:
            identity, reason = await judge.judge(session.identity, session.peer, session.mechanism)
        except StoreUnavailable:
            has_seen_all = False
        else:
            if reason:
                session.revoke(reason)
            else:
                session.identity = identity
        if loop.time() >= pause:
            await asyncio.sleep(0)
            pause = loop.time() + _TURN
    return has_seen_all
