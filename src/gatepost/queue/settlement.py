"""What is to be written down after an attempt: the new states, when to go on, and how long a route was to blame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from gatepost.message.dsn import Action
from gatepost.model.delivery import Cause
from gatepost.model.envelope import Envelope, Recipient
from gatepost.queue.attempt import Outcome
from gatepost.queue.flight import Flight
from gatepost.queue.grouping import Group
from gatepost.queue.health import Health
from gatepost.queue.notices import Notice, wants_delay
from gatepost.queue.retry import Schedule
from gatepost.spool.spool import Progress, Settlement, Status

__all__ = ["settle_up"]


def settle_up(
    flight: Flight,
    of: Group,
    outcome: Outcome,
    cause: Cause,
    health: Health,
    ended: float,
    now: float,
    schedule_of: Callable[[Envelope, Recipient], Schedule],
    health_of: Callable[[Envelope, Recipient], Health],
) -> Settlement:
    """Make the settlement of an attempt.

    Args:
        flight: the message.
        of: the recipients that were tried; none, if only time is to be noted.
        outcome: what it came to.
        cause: whose trouble it was.
        health: that of the route it took.
        ended: when the attempt ended.
        now: the time of writing.
        schedule_of: finds the schedule of the route that a recipient would take now.
        health_of: finds the health of the route that a recipient would take now.
    """
    progress = _noted(flight.progressed(of.indices, outcome.results, cause, ended), outcome.notices)
    bounces = () if outcome.bounce is None else (outcome.bounce,)
    envelope, is_attempt = flight.entry.envelope, bool(of.indices)
    stalled = flight.stalled(health, now)
    waits, deadlines, is_paused = [], [], False
    for index, each in enumerate(progress):
        if each.status is not Status.PENDING:
            continue
        is_tried = index in of.indices
        if index in flight.running and not is_tried:
            waits.append(now)  # on its way: after a crash it is tried again at once
            continue
        its_health, schedule = health_of(envelope, each.recipient), schedule_of(envelope, each.recipient)
        until = 0.0 if its_health.keeps_due else its_health.until
        due = max(now, schedule.next_try(flight.id, each.attempts, each.at), until)
        if is_tried and cause is Cause.NEXT_HOP:
            due = max(due, now + its_health.back_off)
        waits.append(due)
        notice_at = schedule.notice_at(flight.entry.accepted_at)
        if now < notice_at and envelope.reverse_path is not None and _waits_for_notice(each):
            waits.append(notice_at)
        deadline = schedule.deadline(flight.entry.accepted_at, stalled)
        if deadline > now:
            deadlines.append(deadline)
        is_paused = is_paused or its_health.is_paused
    if not waits:
        return Settlement(progress, now, stalled, bounces, is_attempt)
    due = min(waits)
    if is_paused:
        # Until then it waits for a route, and grows no older.
        stalled += due - now
    else:
        due = min(due, *deadlines) if deadlines else due
    return Settlement(progress, due, stalled, bounces, is_attempt)


def _noted(progress: tuple[Progress, ...], notices: Sequence[Notice]) -> tuple[Progress, ...]:
    """Take note of those whose delay is told."""
    told = {each.index for each in notices if each.action is Action.DELAYED}
    if not told:
        return progress
    return tuple([replace(each, is_delay_told=True) if index in told else each for index, each in enumerate(progress)])


def _waits_for_notice(each: Progress) -> bool:
    return each.status is Status.PENDING and not each.is_delay_told and wants_delay(each.recipient)
