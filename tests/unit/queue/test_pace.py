"""Deliveries at the pace of a provider that enforces what it publishes: two workers, and not one violation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.observe.events import RecipientDeferred, RecipientDelivered, RecipientFailed, RoutePaused
from gatepost.queue.limits import Limits
from gatepost.relay.known_replies import KnownReplies
from gatepost.relay.transport import Delivery
from gatepost.state.pace import Pace, PaceLimits
from gatepost.state.pace_file import PaceFile
from queue_world import ByDomain, JumpingClock, Way, World

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
KNOWN = KnownReplies()


class Provider:
    """Enforces messages a minute and a day, and recipients of a message; each no is a violation."""

    name = "provider"

    def __init__(
        self, clock: JumpingClock, *, a_minute: int = 10**9, a_day: int = 10**9, recipients: int = 100
    ) -> None:
        self.clock = clock
        self.a_minute, self.a_day, self.recipients = a_minute, a_day, recipients
        self.seconds = 0.3
        self.taken = 0
        self.violations: list[str] = []
        self._minute: deque[float] = deque()
        self._day: deque[float] = deque()

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        await self.clock.sleep(self.seconds)
        reply = self._no(len(delivery.recipients))
        if reply is None:
            self.taken += 1
            return [Delivered(RemoteReply.parse(250, "2.0.0 taken"), "mx")] * len(delivery.recipients)
        self.violations.append(reply)
        remote = RemoteReply.parse(int(reply[:3]), reply[4:])
        result: Result = Failed(remote, "mx") if remote.code >= 500 else Deferred(remote, "mx")
        return [KNOWN.judge(result)] * len(delivery.recipients)

    def _no(self, recipients: int) -> str | None:
        now = self.clock.now()
        for window, seconds, limit, reply in (
            (self._minute, MINUTE, self.a_minute, "450 4.7.1 too many messages per minute"),
            (self._day, DAY, self.a_day, "550 5.7.1 enough for today"),
        ):
            while window and window[0] <= now - seconds:
                window.popleft()
            if len(window) >= limit:
                return reply
        if recipients > self.recipients:
            return "550 5.5.3 too many recipients"
        self._minute.append(now)
        self._day.append(now)
        return None

    async def close(self) -> None:
        """Nothing is open."""


class Workers:
    """Two schedulers with a clock and a provider in common, and slots that they share."""

    def __init__(self, provider: Provider, limits: PaceLimits, *, recipients: int = 100) -> None:
        self.clock = provider.clock
        file = PaceFile(Path("/nowhere"))
        self.worlds = [World(clock=self.clock, limits=Limits(recipients=recipients)) for _ in range(2)]
        for world in self.worlds:
            world.routes.ways["*"] = Way("main", provider, Pace(file, limits))

    async def __aenter__(self) -> Self:
        for world in self.worlds:
            await world.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for world in self.worlds:
            await world.stop()

    def pour(self, number: int, *recipients: str) -> None:
        for world in self.worlds:
            # Without a sender, so that nobody is told of delays.
            for name in [world.put(*recipients, sender=None) for _ in range(number)]:
                world.scheduler.wake(name)

    @property
    def left(self) -> int:
        return sum(world.spool.count() for world in self.worlds)


async def test_two_workers_stay_within_the_messages_a_minute_and_nearly_use_them() -> None:
    provider = Provider(JumpingClock(), a_minute=30)
    async with Workers(provider, PaceLimits("some", per_second=0.5, window=60.0)) as workers:
        workers.pour(100)
        await workers.clock.go_on(5 * MINUTE)
        assert 120 <= provider.taken <= 150
        await workers.clock.go_on(4 * MINUTE)
    assert provider.violations == []
    assert workers.left == 0
    assert not any(world.told(RecipientDeferred) for world in workers.worlds)


async def test_mail_that_trickles_in_waits_no_longer_than_it_must() -> None:
    provider = Provider(JumpingClock(), a_minute=30)
    async with Workers(provider, PaceLimits("some", per_second=0.5, window=60.0)) as workers:
        for _ in range(20):
            await workers.worlds[0].accept()
            await workers.clock.go_on(1.0)
            await workers.worlds[1].accept()
            await workers.clock.go_on(4.0)
    delays = [event.seconds for world in workers.worlds for event in world.told(RecipientDelivered)]
    assert len(delays) == 40
    assert max(delays) < 3.0
    assert provider.violations == []


async def test_a_day_goes_on_the_next_day_and_nothing_fails() -> None:
    provider = Provider(JumpingClock(), a_day=50)
    async with Workers(provider, PaceLimits("some", messages_per_day=50)) as workers:
        workers.pour(60)
        await workers.clock.go_on(HOUR)
        assert provider.taken == 50
        await workers.clock.go_on(DAY)
        assert provider.taken == 100
        await workers.clock.go_on(DAY + HOUR)
    assert provider.taken == 120
    assert provider.violations == []
    assert not any(world.told(RecipientFailed) for world in workers.worlds)


async def test_recipients_of_a_message_and_of_a_day_are_kept() -> None:
    provider = Provider(JumpingClock(), recipients=10)
    limits = PaceLimits("some", recipients_per_day=100, recipients_per_message=10)
    async with Workers(provider, limits, recipients=10) as workers:
        workers.pour(3, *[f"a{number}@example.net" for number in range(25)])
        await workers.clock.go_on(HOUR)
        assert provider.taken <= 12
        await workers.clock.go_on(2 * DAY)
    assert provider.violations == []
    assert workers.left == 0


async def test_who_is_told_too_fast_goes_slower_fails_nothing_and_comes_back() -> None:
    provider = Provider(JumpingClock(), a_minute=60)
    async with Workers(provider, PaceLimits("some")) as workers:
        workers.pour(300)
        await workers.clock.go_on(10 * MINUTE)
        assert provider.taken >= 200
        await workers.clock.go_on(HOUR)
        assert workers.left == 0
        deferred = [event for world in workers.worlds for event in world.told(RecipientDeferred)]
        assert len(provider.violations) == len(deferred) < 150
        assert {event.cause for event in deferred} == {Cause.PACE.value}
        assert all(event.attempts <= 1 and event.remedy for event in deferred)
        assert not any(world.told(RecipientFailed) or world.told(RoutePaused) for world in workers.worlds)
        # An hour later nobody remembers.
        await workers.clock.go_on(HOUR)
        before = workers.clock.now()
        await workers.worlds[0].accept()
        await workers.clock.go_on(1.0)
        assert provider.taken == 601
        assert workers.clock.now() - before == 1.0


async def test_a_probe_that_is_told_too_fast_finds_the_route_open() -> None:
    world = World()
    world.routes = ByDomain({"*": Way("main", world.hop, Pace(PaceFile(Path("/nowhere")), PaceLimits("some")))})
    world.scheduler = world.new_scheduler()
    world.hop.answer = Deferred(RemoteReply.parse(535, "5.7.8 no"), "mx", Cause.ROUTE)
    await world.start()
    await world.accept()
    gate = world.scheduler.gates["main"]
    assert gate.health.is_paused
    world.hop.answer = KNOWN.judge(Deferred(RemoteReply.parse(450, "4.7.1 throttled"), "mx"))
    await world.clock.go_on(MINUTE)
    assert gate.health.is_open
    assert gate.rests_until > world.clock.now() - 2
    world.hop.answer = Delivered(RemoteReply.parse(250, "2.0.0 ok"), "mx")
    await world.clock.go_on(10)
    assert world.spool.count() == 0
    await world.stop()


async def test_an_attempt_that_reaches_nobody_takes_nothing_of_the_day() -> None:
    world = World()
    pace = Pace(PaceFile(Path("/nowhere")), PaceLimits("some", messages_per_day=3))
    world.routes = ByDomain({"*": Way("main", world.hop, pace)})
    world.scheduler = world.new_scheduler()
    world.hop.answer = Deferred(RemoteReply.ours(451, "4.4.1", "refused"), cause=Cause.NEXT_HOP)
    await world.start()
    world.pour(3)
    await world.clock.go_on(HOUR)
    assert len(world.hop.times) > 5
    world.hop.answer = Delivered(RemoteReply.parse(250, "2.0.0 ok"), "mx")
    await world.clock.go_on(HOUR)
    assert world.spool.count() == 0
    await world.stop()
    await asyncio.sleep(0)
