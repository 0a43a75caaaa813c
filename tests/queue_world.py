"""A world for the queue in which nothing takes time: a clock that jumps, a spool in memory, next hops that do as told.

The spool passes the contract of all spools (`unit/queue/test_memory_spool.py`), or it would prove nothing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from gatepost.errors import Misuse, SpoolUnavailable
from gatepost.model.address import parse_mailbox
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.model.envelope import Envelope, MessageId, Receipt, Recipient
from gatepost.observe.events import Event
from gatepost.queue.limits import Limits
from gatepost.queue.retry import Schedule
from gatepost.queue.scheduler import Scheduler
from gatepost.relay.transport import Delivery
from gatepost.spool.spool import Draft, Entry, Progress, Settlement, Status

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


class MemoryContent:
    """Octets in memory."""

    def __init__(self, octets: bytes) -> None:
        self.size_bytes = len(octets)
        self.inline: bytes | None = octets if len(octets) < 66_000 else None
        self._octets = octets

    async def chunks(self) -> AsyncIterator[bytes]:
        for start in range(0, self.size_bytes, 65_536):
            yield self._octets[start : start + 65_536]


class MemoryIncoming:
    """A message on its way into memory."""

    def __init__(self, spool: MemorySpool) -> None:
        self.id = spool.name()
        self.backlog_bytes = 0
        self._spool = spool
        self._pieces: list[bytes] = []
        self._is_over = False

    def write(self, data: bytes) -> None:
        self._pieces.append(bytes(data))
        self.backlog_bytes += len(data)

    async def drain(self) -> None:
        self._spool.check()
        self.backlog_bytes = 0

    async def commit(
        self, envelope: Envelope, prefix: bytes, *, due: float | None = None, held: bool = False
    ) -> Receipt:
        if self._is_over:
            raise Misuse("committed twice")
        self._spool.check()
        self._is_over = True
        octets = prefix + b"".join(self._pieces)
        self._spool.keep(self.id, replace(envelope, size_bytes=envelope.size_bytes), octets, due=due, held=held)
        return Receipt(self.id, len(octets))

    def abort(self) -> None:
        self._is_over = True


class MemorySpool:
    """A spool that forgets everything at its end, and fails when told.

    Attributes:
        trouble: what every write raises while it is set.
        unreadable: ids whose entry cannot be read.
        contentless: ids whose content cannot be read.
        settlements: all that was ever written down.
    """

    def __init__(self, clock: Any) -> None:
        self.trouble: SpoolUnavailable | None = None
        self.unreadable: set[str] = set()
        self.contentless: set[str] = set()
        self.settlements: list[tuple[MessageId, Settlement]] = []
        self.reads = 0
        self._clock = clock
        self.entries: dict[MessageId, Entry] = {}
        self.contents: dict[MessageId, bytes] = {}
        self._numbers = itertools.count(1)
        self._settling: set[MessageId] = set()
        self._is_closed = False

    def name(self) -> MessageId:
        return MessageId(f"m{next(self._numbers):015d}")

    def check(self) -> None:
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")
        if self.trouble is not None:
            raise self.trouble

    def keep(
        self,
        message_id: MessageId,
        envelope: Envelope,
        octets: bytes,
        *,
        due: float | None = None,
        held: bool = False,
    ) -> None:
        now = self._clock.now()
        progress = tuple(Progress(recipient) for recipient in envelope.recipients)
        self.entries[message_id] = Entry(
            message_id, envelope, now, now if due is None else due, is_held=held, progress=progress
        )
        self.contents[message_id] = octets

    def begin(self) -> MemoryIncoming:
        self.check()
        return MemoryIncoming(self)

    async def put(self, draft: Draft) -> Receipt:
        self.check()
        name = self.name()
        self.keep(name, draft.envelope, draft.content)
        return Receipt(name, len(draft.content))

    def entry(self, message_id: MessageId) -> Entry | None:
        self.reads += 1
        if self._is_closed or message_id in self.unreadable:
            raise SpoolUnavailable(f"the row of message {message_id} cannot be read")
        return self.entries.get(message_id)

    def _waiting(self, after: tuple[float, str] | None, skip: frozenset[MessageId]) -> list[tuple[float, MessageId]]:
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")
        return sorted(
            (each.due, name)
            for name, each in self.entries.items()
            if not each.is_held and name not in skip and (after is None or (each.due, name) > after)
        )

    def due(
        self,
        before: float,
        limit: int,
        *,
        after: tuple[float, str] | None = None,
        skip: frozenset[MessageId] = frozenset(),
    ) -> list[MessageId]:
        return [name for due, name in self._waiting(after, skip) if due <= before][:limit]

    def next_due(
        self, *, after: tuple[float, str] | None = None, skip: frozenset[MessageId] = frozenset()
    ) -> float | None:
        return next((due for due, _ in self._waiting(after, skip)), None)

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")
        return [self.entries[name] for name in sorted(self.entries) if name > (after or "")][:limit]

    @asynccontextmanager
    async def content(self, entry: Entry) -> AsyncIterator[MemoryContent]:
        if entry.id in self.contentless or entry.id not in self.contents:
            raise SpoolUnavailable(f"the content of message {entry.id} cannot be read")
        yield MemoryContent(self.contents[entry.id])

    async def settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        if message_id in self._settling:
            raise Misuse("settled twice at once")
        self._settling.add(message_id)
        # It is written even when nobody waits for it any more.
        return await asyncio.shield(asyncio.ensure_future(self._write(message_id, settlement)))

    async def _write(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        await asyncio.sleep(0)  # a real one waits for its disk
        self._settling.discard(message_id)
        self.check()
        entry = self.entries.get(message_id)
        if entry is None:
            return ()
        if [each.recipient for each in settlement.progress] != [each.recipient for each in entry.progress]:
            raise Misuse("a settlement names other recipients")
        self.settlements.append((message_id, settlement))
        if any(each.status is Status.PENDING for each in settlement.progress):
            self.entries[message_id] = replace(
                entry,
                progress=settlement.progress,
                due=settlement.due,
                stalled=settlement.stalled,
                attempts=entry.attempts + settlement.is_attempt,
            )
        else:
            del self.entries[message_id], self.contents[message_id]
        receipts = []
        for draft in settlement.bounces:
            name = self.name()
            self.keep(name, draft.envelope, draft.content)
            receipts.append(Receipt(name, len(draft.content)))
        return tuple(receipts)

    def count(self) -> int:
        return len(self.entries)

    async def close(self) -> None:
        self._is_closed = True


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


@dataclass
class ByDomain:
    """Routes by the recipient's domain; ``*`` is for all others."""

    ways: dict[str, Way] = field(default_factory=dict)

    def route_for(self, envelope: Envelope, recipient: Recipient) -> Way | None:
        return self.ways.get(recipient.mailbox.domain) or self.ways.get("*")


class World:
    """Scheduler, spool, clock, one next hop for all domains, and everything that was told."""

    def __init__(self, *, schedule: Schedule | None = None, limits: Limits | None = None) -> None:
        self.clock = JumpingClock()
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
    ) -> MessageId:
        """Let a message lie in the spool, without a word."""
        name = self.spool.name()
        envelope = Envelope(
            reverse_path=None if sender is None else parse_mailbox(sender),
            recipients=tuple(Recipient(parse_mailbox(each)) for each in recipients or ("ann@example.net",)),
            account="tim",
            credential="c1",
            header_bytes=content.find(b"\r\n\r\n") + 4,
            size_bytes=len(content),
        )
        self.spool.keep(name, envelope, content, due=due, held=held)
        return name

    async def accept(self, *recipients: str, **more: Any) -> MessageId:
        """Accept a message as a session does, and let happen what happens at once."""
        name = self.put(*recipients, **more)
        self.scheduler.wake(name)
        await self.clock.settle()
        return name

    def pour(self, number: int, *recipients: str) -> list[MessageId]:
        """Accept many messages."""
        names = [self.put(*recipients) for _ in range(number)]
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
