"""What is due: claim it, try it, write down what happened, sleep until the next.

A new message is tried at once, by `wake`; everything else is found in the spool (`reading`).  Nothing is kept in memory
but what is under way, a few ids a route, and a place for each lane: whatever is due is under way, or waits at a gate
(`limits.Gate`), or was not read yet, or is found at the next sweep.

Promises: at least once, and once unless we die between a next hop's yes and the spool's commit.  A recipient ends
delivered, or failed, or stays pending; what its sender is told of that stands in the same transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from operator import attrgetter

from gatepost.ending import cancelled, ended_by
from gatepost.errors import SpoolUnavailable
from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.model.delivery import Cause
from gatepost.model.envelope import Envelope, MessageId, Recipient
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.queue.attempt import Attempt, Outcome, Unreached
from gatepost.queue.bounce import Bouncer
from gatepost.queue.facts import facts
from gatepost.queue.flight import Flight
from gatepost.queue.grouping import NO_ROUTE, Group, Routes, group
from gatepost.queue.health import Health
from gatepost.queue.known_fields import with_fields
from gatepost.queue.limits import Gate, Gates, Limits, Place
from gatepost.queue.reading import BATCH, SWEEP, Reading
from gatepost.queue.retry import Schedule, Schedules
from gatepost.queue.settlement import settle_up
from gatepost.relay.transport import Transport
from gatepost.spool.spool import Entry, Spool

__all__ = ["Scheduler"]

_log = logging.getLogger("gatepost.queue")

_IDLE_LIMIT = 300.0  # the time of day may be set while we sleep
_BREATH = 0.01  # between batches in which nothing could start
_TROUBLE_PAUSE, _TROUBLE_PAUSE_LIMIT = 1.0, 30.0


class Scheduler:
    """Drives deliveries.

    Args:
        spool: where messages lie.
        routes: who knows the way of each recipient.
        hostname: our own name, for bounces.
        clock: what time it is.
        emit: who hears of what happened.
        schedule: when to try again.
        limits: how much at once.
        signer: signs bounces, and anew what had to be converted; None where nobody signs.

    Attributes:
        gates: the ways into the routes.
        flights: messages under way.
        barred: messages that must not be tried now, for they are about to be dropped.
        stuck: attempts whose result cannot be written down.
    """

    def __init__(
        self,
        spool: Spool,
        routes: Routes,
        *,
        hostname: str,
        clock: Clock,
        emit: Callable[[Event], None],
        schedule: Schedules | None = None,
        limits: Limits | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._spool = spool
        self._routes = routes
        self._clock = clock
        self._emit = emit
        self._schedules: Schedules = schedule or Schedule()
        self._limits = limits or Limits()
        self._attempt = Attempt(spool, Bouncer(hostname, signer), clock, self._limits.seconds, signer)
        self.flights: dict[MessageId, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = 0
        self.gates = Gates(self._limits.per_route, emit)
        self._reading = Reading(spool, self._offer)
        self.barred: set[MessageId] = set()
        self.stuck = 0
        self._is_running = False
        self._is_full = False  # reading on waits for an attempt to end
        self._sleeps_until = 0.0
        self._poked = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many attempts are under way."""
        return len(self._tasks)

    def wake(self, message_id: MessageId) -> None:
        """Look at a message now: it is new, or its due time was changed."""
        if self._is_running:
            self._offer(message_id)

    def adapt(self, routes: Routes, schedule: Schedules, limits: Limits) -> None:
        """Use other routes, times and limits from now on, and look at everything that waits."""
        self._routes, self._schedules, self._limits = routes, schedule, limits
        self.gates.adapt(limits.per_route)
        self._attempt.seconds = limits.seconds
        self.gates.pop(NO_ROUTE.name, None)
        self._reading.sweep_at = 0.0
        self._poked.set()

    def look_again(self) -> None:
        """See what may start now: a gate was opened."""
        self._poked.set()

    async def run(self) -> None:
        """Deliver until `drain` is called or the task is cancelled; what is under way is then cancelled too."""
        self._is_running = True
        self._reading.sweep_at = 0.0
        await ended_by(self._rounds(), self._stop)

    async def _rounds(self) -> None:
        while self._is_running:
            self._poked.clear()
            try:
                wait = self._round()
            except SpoolUnavailable as error:
                self._emit(SpoolTroubled(str(error)))
                wait = _TROUBLE_PAUSE_LIMIT
            await self._sleep(wait)

    async def _stop(self) -> None:
        if self._is_running:
            self._is_running = False
            await self._cancel()

    async def drain(self, seconds: float) -> None:
        """Start nothing more, give attempts under way some time, then cancel them: what they were for stays queued."""
        self._is_running = False
        self._attempt.is_ending = True
        await ended_by(self._dwindle(seconds), self._cancel)

    async def _dwindle(self, seconds: float) -> None:
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            while self._tasks and not timer.done():
                await asyncio.wait({timer, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    async def _cancel(self) -> None:
        await cancelled(self._tasks)
        self._poked.set()

    # Looking for what is due.

    def _has_room(self) -> bool:
        return self._is_running and not self.stuck and len(self._tasks) < self._limits.attempts

    def _round(self) -> float:
        """Start what can be started, read a little further; return how long to sleep."""
        now = self._clock.now()
        if now >= self._reading.sweep_at:
            self._reading.sweep(now)
            for gate in self.gates.values():
                gate.forget()
        before, is_more = self._started, False
        for gate in list(self.gates.values()):
            is_more |= self._serve(gate)
        is_more |= self._reading.read(now, self._has_room)
        self._is_full = not self._has_room()
        if is_more:
            return 0.0 if self._started > before else _BREATH
        return _IDLE_LIMIT if self._is_full else self._idle_time()

    def _serve(self, gate: Gate) -> bool:
        """Start those who wait at a gate, in their turns; tell whether there may be more who can start."""
        now = self._clock.now()
        for _ in range(BATCH):
            if not (gate.lines and self._has_room() and gate.admits(now)):
                return False
            message_id = gate.take(self._in_lane)
            if message_id is not None:
                self._offer(message_id)
        return True

    def _in_lane(self, lane: int, start: Place, limit: int) -> list[Place]:
        return self._spool.in_lane(lane, self._clock.now(), limit, start=start)

    def _idle_time(self) -> float:
        now = self._clock.now()
        moments = [self._reading.sweep_at, now + _IDLE_LIMIT]
        moments += [gate.opens_at for gate in self.gates.values() if gate.lines]
        moments = [moment for moment in moments if moment > now]
        due = self._reading.next_due()
        if due is not None:
            moments.append(due)
        return max(min(moments) - now, _BREATH)

    async def _sleep(self, seconds: float) -> None:
        self._sleeps_until = self._clock.now() + seconds
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        poke = asyncio.ensure_future(self._poked.wait())
        try:
            await asyncio.wait({timer, poke}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            poke.cancel()
            self._sleeps_until = 0.0

    # Starting.

    def _offer(self, message_id: MessageId) -> Place | None:
        """Start what can be started of a message, leave the rest at its gates; return its place in the spool."""
        flight = self.flights.get(message_id)
        try:
            entry = self._spool.entry(message_id) if flight is None else flight.entry
            if entry is None:
                return None
            entry = self.informed(entry)
        except SpoolUnavailable as error:
            self._reading.skip(message_id)
            self._emit(SpoolTroubled(str(error)))
            return None
        flight = flight or Flight(entry)
        flight.entry = entry
        if entry.is_held or message_id in self.barred:
            return None
        place = (entry.due, message_id)
        now = self._clock.now()
        if entry.due > now:
            self._expect(entry.due)
            return place
        for each in group(entry.envelope, flight.ready(self._schedule_of, now), self._routes, self._limits.recipients):
            if each.route.name in flight.routes:
                continue  # when what is on its way there is settled, these are due at once
            gate = self.gates[each.route.name]
            if not self._has_room():
                self._hold(gate, entry, place)
            elif gate.let_in(each, now):
                self._start(flight, each, self._try(flight, each, each.route.transport, gate))
            elif flight.is_hopeless(schedule := self._schedules.of(entry.envelope, each.route.name), gate.health, now):
                self._start(flight, each, self._try(flight, each, Unreached(gate.health.reason), gate))
            elif (late := flight.late(each.indices, schedule, now)) or (gate.health.stalled(entry.due, now) > SWEEP):
                self._start(flight, each, self._note(flight, each, late, gate))
            else:
                self._hold(gate, entry, place)
                if gate.rests_until > now:
                    self._expect(gate.rests_until)
        return place

    def _hold(self, gate: Gate, entry: Entry, place: Place) -> None:
        if not gate.hold(entry.id, entry.lane, place):
            self._reading.sweep_soon(self._clock.now())

    def _expect(self, due: float) -> None:
        """Make sure that the loop is awake by then."""
        if due < self._sleeps_until:
            self._poked.set()

    def _start(self, flight: Flight, of: Group, work: Coroutine[None, None, None]) -> None:
        flight.running.update(of.indices)
        flight.routes.add(of.route.name)
        self.flights[flight.id] = flight
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self._started += 1
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("what came of an attempt was not written down", exc_info=error)
        waiting = [gate for gate in self.gates.values() if gate.lines]
        try:
            is_more = self._is_full and self._has_room()
            for gate in sorted(waiting, key=attrgetter("running")) if len(waiting) > 1 else waiting:
                is_more |= self._serve(gate)
        except SpoolUnavailable:
            is_more = True  # the next round tells of it
        if is_more:
            self._poked.set()

    # Trying.

    async def _try(self, flight: Flight, of: Group, transport: Transport, gate: Gate) -> None:
        began, routes = self._clock.now(), self._routes
        is_written = False

        def is_last() -> bool:
            # After a reload its way may be another one, on which it was never tried.
            return began >= deadline and self._is_way(flight, of, routes)

        self._spool.attempting(flight.id)
        try:
            schedule = self._schedules.of(flight.entry.envelope, of.route.name)
            deadline = flight.deadline(schedule, gate.health, began)
            late = flight.late(of.indices, schedule, began)
            outcome = await self._attempt(flight.entry, of.indices, transport, is_last, late, deadline)
            if outcome.spool_trouble:
                self._emit(SpoolTroubled(outcome.spool_trouble))
            cause = Cause.MESSAGE
            if outcome.given and transport is of.route.transport:
                is_way = self._is_way(flight, of, routes)
                cause = gate.learn(flight.id, of, outcome.given, began, self._clock.now(), is_way=is_way)
            await self._write_down(flight, of, outcome, cause, gate)
            is_written = True
        finally:
            self._spool.attempted(flight.id)
            if transport is of.route.transport:
                gate.leave(began)
            self._land(flight, of, is_written=is_written)

    def _is_way(self, flight: Flight, of: Group, routes: Routes) -> bool:
        """Tell whether what began under *routes* would go the same way now."""
        if self._routes is routes:
            return True
        try:
            envelope = self.informed(flight.entry).envelope
        except SpoolUnavailable:
            return True
        ways = [self._routes.route_for(envelope, envelope.recipients[index]) or NO_ROUTE for index in of.indices]
        return all(way.transport is of.route.transport for way in ways)

    async def _note(self, flight: Flight, of: Group, late: list[int], gate: Gate) -> None:
        """Write down that a message waits at a gate: since when its route is paused, and whose delay is told."""
        is_written = False
        try:
            outcome = Outcome(())
            if late:
                schedule = self._schedules.of(flight.entry.envelope, of.route.name)
                deadline = flight.deadline(schedule, gate.health, self._clock.now())
                outcome = await self._attempt.remind(flight.entry, late, gate.health.reason, deadline)
            await self._write_down(flight, Group(of.route, ()), outcome, Cause.ROUTE, gate)
            is_written = True
        finally:
            self._land(flight, of, is_written=is_written)

    def _land(self, flight: Flight, of: Group, *, is_written: bool) -> None:
        flight.running.difference_update(of.indices)
        flight.routes.discard(of.route.name)
        if not flight.running:
            del self.flights[flight.id]
        if not is_written:
            self._reading.sweep_soon(self._clock.now())
            self._expect(self._reading.sweep_at)

    async def _write_down(self, flight: Flight, of: Group, outcome: Outcome, cause: Cause, gate: Gate) -> None:
        """Put what an attempt came to into the spool; keep it and try again as long as the spool is in trouble."""
        ended, pause = self._clock.now(), 0.0
        async with flight.lock:
            try:
                while True:
                    now = self._clock.now()
                    settlement = settle_up(
                        flight, of, outcome, cause, gate.health, ended, now, self._schedule_of, self.health
                    )
                    try:
                        receipts = await self._spool.settle(flight.id, settlement)
                        break
                    except SpoolUnavailable as error:
                        if not pause:
                            self.stuck += 1
                            if self.stuck == 1:
                                self._emit(SpoolTroubled(str(error)))
                    pause = min(2 * pause or _TROUBLE_PAUSE, _TROUBLE_PAUSE_LIMIT)
                    await self._clock.sleep(pause)
            finally:
                if pause:
                    self.stuck -= 1
                    self._poked.set()
            flight.advance(settlement)
        for fact in facts(flight.entry, of, outcome, receipts, cause, ended):
            self._emit(fact)
        for receipt in receipts:
            self.wake(receipt.id)
        if flight.is_pending:
            self._reading.due_again(settlement.due)
            self._expect(settlement.due)

    def informed(self, entry: Entry) -> Entry:
        """Return *entry* with what the routes ask of its header.

        Raises:
            SpoolUnavailable: its header cannot be read.
        """
        return with_fields(entry, self._routes.fields, self._spool) if self._routes.fields else entry

    def health(self, envelope: Envelope, recipient: Recipient) -> Health:
        """Return how the route is on which a recipient would go now."""
        return self.gates[(self._routes.route_for(envelope, recipient) or NO_ROUTE).name].health

    def _schedule_of(self, envelope: Envelope, recipient: Recipient) -> Schedule:
        return self._schedules.of(envelope, (self._routes.route_for(envelope, recipient) or NO_ROUTE).name)
