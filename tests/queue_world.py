"""A world for the queue in which nothing takes time: a clock that jumps, a spool in memory, next hops that do as told.

The spool passes the contract of all spools (`unit/queue/test_memory_spool.py`), or it would prove nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.model.envelope import Envelope, MessageId, Notify, Recipient
from gatepost.observe.events import Event
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedules
from gatepost.queue.scheduler import Scheduler
from gatepost.relay.transport import Delivery
from memory_spool import MemorySpool

START = 1_700_000_000.0
HEADER = b"Message-ID: <m1@example.org>\r\nSubject: hello\r\n\r\n"
CONTENT = HEADER + b"hello\r\n"
AnyEvent = TypeVar("AnyEvent", bound=Event)

OK = Delivered(RemoteReply.parse(250, "2.0.0 taken"), "mx.example.net")
LATER = Deferred(RemoteReply.parse(451, "4.2.0 greylisted"), "mx.example.net")
NEVER = Failed(RemoteReply.parse(550, "5.1.1 no such user"), "mx.example.net")
DOWN = Deferred(RemoteReply.ours(451, "4.4.1", "connection refused"), cause=Cause.NEXT_HOP)
REFUSED = Deferred(RemoteReply.parse(535, "5.7.8 bad login"), "mx.example.net", Cause.ROUTE)


class JumpingClock:
    """Time that stands still until a test lets it go on; whoever sleeps then wakes in order."""

    def __init__(self) -> None:
        self.time = START
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - START

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._numbers), future))
        await future

    async def settle(self) -> None:
        """Let everything run that can run without time going on."""
        loop: Any = asyncio.get_running_loop()
        await asyncio.sleep(0)
        while loop._ready:
            await asyncio.sleep(0)

    async def go_on(self, seconds: float) -> None:
        """Let that much time pass."""
        end = self.time + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, future = heapq.heappop(self._sleepers)
            if future.done():
                continue
            self.time = max(self.time, moment)
            future.set_result(None)
            await self.settle()
        self.time = end
        await self.settle()


Answer = Callable[[Delivery], "Sequence[Result] | Awaitable[Sequence[Result]]"]


class Hop:
    """A transport that answers as it is told.

    Attributes:
        answer: a result for everybody, or a function of the delivery.
        deliveries: what it was given: time, message and recipients.
        most_at_once: how many deliveries it had at the same time.
    """

    def __init__(self, clock: JumpingClock, name: str = "hop", answer: Result | Answer = OK) -> None:
        self.name = name
        self.answer = answer
        self.seconds = 0.0
        self.deliveries: list[tuple[float, MessageId, tuple[str, ...]]] = []
        self.at_once = self.most_at_once = 0
        self._clock = clock

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        recipients = tuple(str(each) for each in delivery.recipients)
        self.deliveries.append((self._clock.now(), delivery.message_id, recipients))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.seconds:
                await self._clock.sleep(self.seconds)
            if not callable(self.answer):
                return [self.answer] * len(delivery.recipients)
            given = self.answer(delivery)
            return await given if isinstance(given, Awaitable) else given
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        pass

    @property
    def times(self) -> list[float]:
        """When it was tried, in seconds from the start."""
        return [round(time - START, 3) for time, _, _ in self.deliveries]

    @property
    def recipients(self) -> list[str]:
        """Whom it was asked to deliver to, in order."""
        return [each for _, _, recipients in self.deliveries for each in recipients]


@dataclass(frozen=True)
class Way:
    """A route."""

    name: str
    transport: Any
    pace: Any = None


@dataclass
class ByDomain:
    """Routes by the recipient's domain; ``*`` is for all others."""

    ways: dict[str, Way] = field(default_factory=dict)
    fields: frozenset[str] = frozenset()

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Way | None:
        return self.ways.get(recipient.mailbox.domain) or self.ways.get("*")


class World:
    """Scheduler, spool, clock, one next hop for all domains, and everything that was told."""

    def __init__(
        self,
        *,
        schedule: Schedules | None = None,
        limits: Limits | None = None,
        clock: JumpingClock | None = None,
    ) -> None:
        self.clock = clock or JumpingClock()
        self.spool = MemorySpool(self.clock)
        self.hop = Hop(self.clock)
        self.routes = ByDomain({"*": Way("main", self.hop)})
        self.events: list[Event] = []
        self.schedule, self.limits = schedule, limits
        self.scheduler = self.new_scheduler()
        self._run: asyncio.Task[None] | None = None

    def new_scheduler(self) -> Scheduler:
        return Scheduler(
            self.spool,
            self.routes,
            hostname="mail.example.org",
            clock=self.clock,
            emit=self.events.append,
            schedule=self.schedule,
            limits=self.limits,
        )

    async def start(self) -> None:
        # Its debug mode takes a stack for each handle, and days have many.
        asyncio.get_running_loop().set_debug(False)
        self._run = asyncio.create_task(self.scheduler.run())
        await self.clock.settle()

    async def restart(self) -> None:
        """Die and come back."""
        await self.stop()
        self.scheduler = self.new_scheduler()
        await self.start()

    async def stop(self) -> None:
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    def route(self, domain: str, answer: Result | Answer = OK) -> Hop:
        """Give a domain a route of its own."""
        hop = Hop(self.clock, domain, answer)
        self.routes.ways[domain] = Way(domain, hop)
        return hop

    def put(
        self,
        *recipients: str,
        sender: str | None = "tim@example.org",
        content: bytes = CONTENT,
        due: float | None = None,
        held: bool = False,
        account: str = "tim",
        credential: str = "c1",
        notify: Notify | None = None,
        **wishes: Any,
    ) -> MessageId:
        """Let a message lie in the spool, without a word."""
        name = self.spool.name()
        envelope = Envelope(
            reverse_path=None if sender is None else parse_mailbox(sender),
            recipients=tuple(Recipient(parse_mailbox(each), notify) for each in recipients or ("ann@example.net",)),
            account=account,
            credential=credential,
            header_bytes=content.find(b"\r\n\r\n") + 4,
            size_bytes=len(content),
            **wishes,
        )
        self.spool.keep(name, envelope, content, due=due, held=held)
        return name

    async def accept(self, *recipients: str, **more: Any) -> MessageId:
        """Accept a message as a session does, and let happen what happens at once."""
        name = self.put(*recipients, **more)
        self.scheduler.wake(name)
        await self.clock.settle()
        return name

    def pour(self, number: int, *recipients: str, **more: Any) -> list[MessageId]:
        """Accept many messages."""
        names = [self.put(*recipients, **more) for _ in range(number)]
        for name in names:
            self.scheduler.wake(name)
        return names

    def told(self, kind: type[AnyEvent]) -> list[AnyEvent]:
        """Return the events of a kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def bounces(self) -> Iterator[tuple[Envelope, bytes]]:
        """Go through the notifications that lie in the spool or were written down."""
        for _, settlement in self.spool.settlements:
            for draft in settlement.bounces:
                yield draft.envelope, draft.content
