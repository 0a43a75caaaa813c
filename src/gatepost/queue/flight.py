"""A message while attempts of it run: its state as last written down, and which of its recipients are on their way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from gatepost.model.delivery import Cause, Deferred, Delivered, Discarded, Failed, Result
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.queue.grouping import is_left_over
from gatepost.queue.health import Health
from gatepost.queue.notices import wants_delay
from gatepost.queue.retry import Schedule
from gatepost.spool.spool import Entry, Progress, Settlement, Status

__all__ = ["Flight"]

_STATUS = {Delivered: Status.DELIVERED, Discarded: Status.DELIVERED, Deferred: Status.PENDING, Failed: Status.FAILED}


class Flight:
    """One message in memory.

    Attributes:
        entry: as last written down.
        running: places of the recipients on their way.
        routes: names of the routes they are on; a route has a message once at a time.
        lock: held while its state is written down.
    """

    __slots__ = ("entry", "lock", "routes", "running")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.running: set[int] = set()
        self.routes: set[str] = set()
        self.lock = asyncio.Lock()

    @property
    def id(self) -> MessageId:
        """Name of the message."""
        return self.entry.id

    @property
    def is_pending(self) -> bool:
        """Whether a recipient is not settled yet."""
        return any(each.status is Status.PENDING for each in self.entry.progress)

    def stalled(self, health: Health, now: float) -> float:
        """Return for how many seconds routes have kept it until now, if its route has that health."""
        return self.entry.stalled + health.stalled(self.entry.due, now)

    def deadline(self, schedule: Schedule, health: Health, now: float) -> float:
        """Return when it is given up, if its route has that health."""
        return schedule.deadline(self.entry.accepted_at, self.stalled(health, now))

    def is_hopeless(self, schedule: Schedule, health: Health, now: float) -> bool:
        """Tell whether it has become too old behind a next hop that is away."""
        return not health.is_open and not health.is_paused and now >= self.deadline(schedule, health, now)

    def late(self, indices: Iterable[int], schedule: Schedule, now: float) -> list[int]:
        """Return the places among *indices* of recipients whose sender ought to hear that it takes long."""
        entry = self.entry
        # RFC 5321 §4.5.5, RFC 3461 §6.1: none is sent about what has the null reverse-path.
        if entry.envelope.reverse_path is None or now < schedule.notice_at(entry.accepted_at):
            return []
        progress = entry.progress
        return [
            index for index in indices if not progress[index].is_delay_told and wants_delay(progress[index].recipient)
        ]

    def ready(self, schedule_of: Callable[[Envelope, Recipient], Schedule], now: float) -> list[int]:
        """Return the places of recipients whose time has come.

        A message has one due time, each recipient its own wait.  If the message is due and nobody's wait is over,
        somebody has set that time by hand, and everybody is meant.

        Args:
            schedule_of: finds the schedule of a recipient.
            now: what time it is.
        """
        pending = [
            index
            for index, each in enumerate(self.entry.progress)
            if each.status is Status.PENDING and index not in self.running
        ]
        if len(pending) == 1 and not self.running:
            return pending
        entry, ready = self.entry, []
        for index in pending:
            each = entry.progress[index]
            schedule = schedule_of(entry.envelope, each.recipient)
            if schedule.next_try(entry.id, each.attempts, each.at) <= now:
                ready.append(index)
        return ready if ready or self.running else pending

    def progressed(
        self, indices: Sequence[int], results: Sequence[Result], cause: Cause, now: float
    ) -> tuple[Progress, ...]:
        """Return every recipient's state after an attempt.

        Args:
            indices: the recipients it was for.
            results: what it came to for each.
            cause: whose trouble it was.
            now: when it ended.
        """
        progress = list(self.entry.progress)
        for index, result in zip(indices, results, strict=True):
            before = progress[index]
            attempts, at = before.attempts + 1, now
            if (
                isinstance(result, Deferred)
                and not result.is_doubtful
                and (cause is not Cause.MESSAGE or is_left_over(result, results))
            ):
                # Nobody judged this recipient: its schedule does not move.
                attempts, at = before.attempts, before.at if before.attempts else now
            progress[index] = Progress(
                before.recipient,
                _STATUS[type(result)],
                attempts,
                str(result.reply),
                result.next_hop,
                at,
                before.is_delay_told,
            )
        return tuple(progress)

    def alter(self, held: bool | None, due: float | None) -> None:
        """Take note that somebody put it on hold, released it or changed when it is due; None is as before."""
        before = self.entry
        self.entry = replace(
            before,
            is_held=before.is_held if held is None else held,
            due=before.due if due is None else due,
        )

    def advance(self, settlement: Settlement) -> None:
        """Take note that *settlement* is written down."""
        before = self.entry
        self.entry = Entry(
            before.id,
            before.envelope,
            before.accepted_at,
            settlement.due,
            before.attempts + settlement.is_attempt,
            settlement.stalled,
            before.is_held,
            settlement.progress,
            lane=before.lane,
        )
