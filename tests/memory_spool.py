"""A spool in memory that forgets everything at its end, and fails when told; it passes the contract of all spools."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from gatepost.errors import Misuse, SpoolFull, SpoolUnavailable
from gatepost.model.envelope import Envelope, MessageId, Receipt
from gatepost.model.priority import Priority
from gatepost.spool.lane import lane_of
from gatepost.spool.spool import Draft, Entry, Progress, Settlement, Status
from gatepost.spool.turns import Turns

__all__ = ["MemoryContent", "MemorySpool"]

Written = TypeVar("Written")


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
        is_full: whether there is no room for new mail.
        settlements: all that was ever written down.
        flying: what is being tried, once for each attempt.
    """

    def __init__(self, clock: Any) -> None:
        self.trouble: SpoolUnavailable | None = None
        self.unreadable: set[str] = set()
        self.contentless: set[str] = set()
        self.is_full = False
        self.settlements: list[tuple[MessageId, Settlement]] = []
        self.reads = 0
        self.priority: Callable[[Envelope], int] = lambda _: Priority.NORMAL
        self._clock = clock
        self.entries: dict[MessageId, Entry] = {}
        self.contents: dict[MessageId, bytes] = {}
        self._numbers = itertools.count(1)
        self.flying: list[MessageId] = []
        self._settling: set[MessageId] = set()
        self._turns = Turns()
        self._writing: set[asyncio.Task[Any]] = set()
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
            message_id,
            envelope,
            now,
            now if due is None else due,
            is_held=held,
            progress=progress,
            lane=lane_of(envelope.account, self.priority(envelope)),
        )
        self.contents[message_id] = octets

    def check_room(self, wanted_bytes: int) -> None:
        self.check()
        if self.is_full:
            raise SpoolFull("the spool is full")

    def begin(self) -> MemoryIncoming:
        self.check()
        return MemoryIncoming(self)

    async def put(self, draft: Draft) -> Receipt:
        self.check()
        name = self.name()
        self.keep(name, draft.envelope, draft.content)
        return Receipt(name, len(draft.content))

    def header(self, entry: Entry) -> bytes:
        if self._is_closed or entry.id in self.contentless or entry.id not in self.contents:
            raise SpoolUnavailable(f"the content of message {entry.id} cannot be read")
        return self.contents[entry.id][: entry.envelope.header_bytes]

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

    def lanes(self, before: float, limit: int, *, after: int, since: float) -> tuple[list[int], int | None]:
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")
        waiting = [each for each in self.entries.values() if not each.is_held and each.lane > after]
        looked_at = sorted({each.lane for each in waiting})[:limit]
        due = {each.lane for each in waiting if since <= each.due <= before}
        return [lane for lane in looked_at if lane in due], looked_at[-1] if len(looked_at) == limit else None

    def in_lane(self, lane: int, before: float, limit: int, *, start: tuple[float, str]) -> list[tuple[float, str]]:
        places = [place for place in self._waiting(None, frozenset()) if self.entries[place[1]].lane == lane]
        return [place for place in places if place >= start and place[0] <= before][:limit]

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
        try:
            return await self._in_turn(message_id, lambda: self._settle(message_id, settlement))
        finally:
            self._settling.discard(message_id)

    async def alter(self, message_id: MessageId, *, held: bool | None = None, due: float | None = None) -> bool:
        return await self._in_turn(message_id, lambda: self._alter(message_id, held, due))

    async def rewrite(self, message_id: MessageId, change: Callable[[Entry], Entry | None]) -> bool:
        return await self._in_turn(message_id, lambda: self._rewrite(message_id, change))

    async def remove(self, message_id: MessageId, bounces: tuple[Draft, ...] = ()) -> tuple[Receipt, ...] | None:
        return await self._in_turn(message_id, lambda: self._remove(message_id, bounces))

    async def _in_turn(self, message_id: MessageId, write: Callable[[], Written]) -> Written:
        await self._turns.wait(message_id)
        if self._is_closed:
            raise SpoolUnavailable("the spool is closed")
        self._turns.take(message_id)
        # It is written even when nobody waits for it any more.
        task = asyncio.ensure_future(self._write(message_id, write))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await asyncio.shield(task)

    async def _write(self, message_id: MessageId, write: Callable[[], Written]) -> Written:
        await asyncio.sleep(0)  # a real one waits for its disk
        self._turns.give([message_id])
        if self.trouble is not None:
            raise self.trouble
        return write()

    def _settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
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
                crashes=0,
            )
        else:
            del self.entries[message_id], self.contents[message_id]
        return self._keep_all(settlement.bounces)

    def _alter(self, message_id: MessageId, held: bool | None, due: float | None) -> bool:
        entry = self.entries.get(message_id)
        if entry is None:
            return False
        self.entries[message_id] = replace(
            entry,
            is_held=entry.is_held if held is None else held,
            due=entry.due if due is None else due,
            crashes=0 if held is False else entry.crashes,
        )
        return True

    def _rewrite(self, message_id: MessageId, change: Callable[[Entry], Entry | None]) -> bool:
        entry = self.entries.get(message_id)
        after = None if entry is None else change(entry)
        if entry is None or after is None:
            return False
        self.entries[message_id] = replace(
            entry, envelope=after.envelope, progress=after.progress, due=after.due, crashes=0
        )
        return True

    def _remove(self, message_id: MessageId, bounces: Sequence[Draft]) -> tuple[Receipt, ...] | None:
        if message_id not in self.entries:
            return None
        del self.entries[message_id], self.contents[message_id]
        return self._keep_all(bounces)

    def _keep_all(self, drafts: Sequence[Draft]) -> tuple[Receipt, ...]:
        receipts = []
        for draft in drafts:
            name = self.name()
            self.keep(name, draft.envelope, draft.content)
            receipts.append(Receipt(name, len(draft.content)))
        return tuple(receipts)

    def attempting(self, message_id: MessageId) -> None:
        self.flying.append(message_id)

    def attempted(self, message_id: MessageId) -> None:
        if message_id in self.flying:
            self.flying.remove(message_id)

    def count(self) -> int:
        return len(self.entries)

    async def close(self) -> None:
        self._is_closed = True
        await asyncio.gather(*self._writing, return_exceptions=True)
