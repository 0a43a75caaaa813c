"""The end of all sessions of a worker: who is in a transaction may finish, the others hear that we stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from gatepost.listener.listener import Listener
from gatepost.model import reply as replies
from gatepost.model.clock import Clock
from gatepost.session.wire import LINGER

__all__ = ["end_sessions"]

_TURN: Final = 0.02  # how often is looked whether those who are waited for have ended
_LATE, _RECOVERY = 0.2, 1.0  # a turn that took so long was not of our making; so long others may feel it


async def end_sessions(listeners: Sequence[Listener], grace: float, clock: Clock, *, leaves_sockets: bool) -> None:
    """Let the sessions of *listeners*, which share them, come to their end for *grace* seconds; then end them.

    New and idle clients hear 421 meanwhile, or wait in the backlog for who accepts next (*leaves_sockets*).
    """
    if not listeners:
        return
    deadline = clock.monotonic() + grace
    for listener in listeners:
        listener.service.is_draining = True
        listener.service.turns_away = not leaves_sockets
    sessions, held_up = listeners[0].service.sessions, float("-inf")
    while True:
        began = clock.monotonic()
        await asyncio.sleep(_TURN)
        now = clock.monotonic()
        # Held up ourselves, we have yet to read what came meanwhile, and clients have to say it: nobody is idle.
        held_up = now if now - began > _LATE else held_up
        for session in list(sessions):
            session.service.is_draining = True
            if now - held_up >= _RECOVERY:
                session.dismiss()
        is_quiet = all(session.is_leaving for session in sessions)
        if leaves_sockets:
            # Nobody else knows of these: they are served as if they had come a moment before.
            is_quiet = is_quiet and not any(listener.is_opening for listener in listeners)
        if is_quiet or clock.monotonic() >= deadline:
            break
    for listener in listeners:
        await listener.stop()
        await listener.end_handshakes()
    for session in list(sessions):
        # RFC 5321 §3.8: 421 before we close, also in the middle of a message.
        session.cut_off(replies.SHUTTING_DOWN, "shutting down")
    # What was said last must reach its client.
    deadline = clock.monotonic() + min(grace, LINGER)
    while True:
        await asyncio.sleep(_TURN)
        if not sessions or clock.monotonic() >= deadline:
            break
    for session in list(sessions):
        session.abort()
