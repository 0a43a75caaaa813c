"""Try a route again at once: whatever kept it closed may be over, and what was tried meanwhile need not sleep on."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from gatepost.errors import SpoolUnavailable
from gatepost.model.envelope import MessageId
from gatepost.queue.health import Health
from gatepost.queue.mail_queue import MailQueue
from gatepost.spool.spool import Status

__all__ = ["try_again"]

# So many were tried in vain while it was closed, at most: each pause lets one attempt through.
_LIMIT: Final = 100


async def try_again(queues: Iterable[MailQueue], route: str, now: float) -> None:
    """Let what waits for *route* see at once whether it is still in trouble."""
    for queue in queues:
        if route in queue.scheduler.gates:
            health = queue.scheduler.gates[route].health
            until = health.until
            health.probe(now)
            queue.scheduler.look_again()
            with suppress(SpoolUnavailable):  # then they come when they are due
                await _wake(queue, health, now, until)


async def _wake(queue: MailQueue, health: Health, now: float, until: float) -> None:
    """Make due what sleeps until the route would have been tried again."""
    spool, scheduler = queue.spool, queue.scheduler
    for name in spool.due(until, _LIMIT, after=(now, "")) if until > now else ():
        message_id = MessageId(name)
        entry = spool.entry(message_id)
        if entry is None:
            continue
        envelope = scheduler.informed(entry).envelope
        if not any(
            each.status is Status.PENDING and scheduler.health(envelope, each.recipient) is health
            for each in entry.progress
        ):
            continue
        if await spool.alter(message_id, due=now):
            flight = scheduler.flights.get(message_id)
            if flight is not None:
                flight.alter(None, now)
            scheduler.wake(message_id)
