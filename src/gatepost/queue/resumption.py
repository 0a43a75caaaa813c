"""Try a route again at once: whatever kept it closed may be over, and what was tried meanwhile need not sleep on."""

from __future__ import annotations

import asyncio
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
            health.probe(now)
            queue.scheduler.look_again()
            with suppress(SpoolUnavailable):  # then they come when they are due
                await _wake(queue, route, health, now)


async def _wake(queue: MailQueue, route: str, health: Health, now: float) -> None:
    """Make due what sleeps until the route would have been tried again, or is about to be put to sleep."""
    spool, scheduler = queue.spool, queue.scheduler
    # What one of these came to may be on its way into the spool, with the time at which it was to be tried again.
    names = [name for name, flight in scheduler.flights.items() if route in flight.routes]
    until = health.sleeps_until
    for each in spool.due(until, _LIMIT, after=(now, "")) if until > now else ():
        message_id = MessageId(each)
        entry = spool.entry(message_id)
        if entry is None:
            continue
        envelope = scheduler.informed(entry).envelope
        if any(
            each.status is Status.PENDING and scheduler.health(envelope, each.recipient) is health
            for each in entry.progress
        ):
            names.append(message_id)
    await asyncio.gather(*[_make_due(queue, name, now) for name in dict.fromkeys(names)])


async def _make_due(queue: MailQueue, message_id: MessageId, now: float) -> None:
    if await queue.spool.alter(message_id, due=now):
        flight = queue.scheduler.flights.get(message_id)
        if flight is not None:
            flight.alter(None, now)
        queue.scheduler.wake(message_id)
