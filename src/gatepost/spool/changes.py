"""Changes of messages that are there, one at a time each: settled after an attempt, altered or removed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from gatepost.errors import Misuse
from gatepost.model.clock import Clock
from gatepost.model.envelope import MessageId, Receipt
from gatepost.spool import transition
from gatepost.spool.change import Change
from gatepost.spool.message_id import MessageIds
from gatepost.spool.recent import Found
from gatepost.spool.row import StoredRow, entry_of
from gatepost.spool.spool import Draft, Entry, Settlement
from gatepost.spool.turns import Turns

__all__ = ["Changes"]


class Changes:
    """Makes them in their turn.

    Args:
        find: reads a message and the length of its body's file.
        row: reads a message as it lies there.
        submit: hands a change to the writer.
        ids: names for bounces.
        clock: what time it is.
    """

    def __init__(
        self,
        find: Callable[[MessageId], Found | None],
        row: Callable[[MessageId], StoredRow | None],
        submit: Callable[..., asyncio.Future[None]],
        ids: MessageIds,
        clock: Clock,
    ) -> None:
        self._find = find
        self._row = row
        self._submit = submit
        self._ids = ids
        self._clock = clock
        self._settling: set[MessageId] = set()
        self.turns = Turns()

    async def settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        """Write down what an attempt came to.

        One that comes while an operator changes the message waits for that; a caller that goes away meanwhile takes
        its settlement with it.  From then on it is written, whoever waits.
        """
        found = self._find(message_id)
        if found is None:
            return ()
        if message_id in self._settling:
            raise Misuse(f"message {message_id} is settled twice at once")
        self._settling.add(message_id)
        try:
            if self.turns.is_busy(message_id):
                await self.turns.wait(message_id)
                found = self._find(message_id)
                if found is None:
                    return ()
            entry, file_bytes = found
            if [each.recipient for each in settlement.progress] != [each.recipient for each in entry.progress]:
                raise Misuse(f"a settlement of message {message_id} names other recipients")
            bounces = self._named(settlement.bounces)
            change = transition.settled(_future(), entry, file_bytes, settlement, bounces)
            await self._make(message_id, change, can_wait=True)
            return transition.receipts(change)
        finally:
            self._settling.discard(message_id)

    async def alter(self, message_id: MessageId, held: bool | None, due: float | None) -> bool:
        """Hold, release, or change when it is due."""
        await self.turns.wait(message_id)
        if self._row(message_id) is None:
            return False
        await self._make(message_id, transition.altered(_future(), message_id, held, due))
        return True

    async def rewrite(self, message_id: MessageId, change: Callable[[Entry], Entry | None]) -> bool:
        """Give it another envelope and progress, made of those that stand when its turn has come."""
        await self.turns.wait(message_id)
        row = self._row(message_id)
        entry = None if row is None else change(entry_of(row))
        if entry is None:
            return False
        await self._make(message_id, transition.rewritten(_future(), entry))
        return True

    async def remove(self, message_id: MessageId, bounces: Sequence[Draft]) -> tuple[Receipt, ...] | None:
        """Drop a message and tell of it; also one that cannot be understood."""
        await self.turns.wait(message_id)
        row = self._row(message_id)
        if row is None:
            return None
        change = transition.removed(_future(), message_id, row[6], self._named(bounces))
        await self._make(message_id, change)
        return transition.receipts(change)

    def _make(self, message_id: MessageId, change: Change, *, can_wait: bool = False) -> asyncio.Future[None]:
        written = self._submit(change, can_wait=can_wait)
        self.turns.take(message_id)
        return written

    def _named(self, drafts: Sequence[Draft]) -> list[tuple[Entry, Draft]]:
        now = self._clock.now()
        return [(transition.new_entry(self._ids.make(), draft.envelope, now, now), draft) for draft in drafts]


def _future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()
