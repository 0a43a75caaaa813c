"""Look at the queue and change it by hand: which messages wait; hold, release, retry and drop them.

Looking needs no running server, only a spool to read.  Changing goes to whoever owns the spool: a worker, with the
scheduler that delivers from it, or the command line, which has locked the spool and has no scheduler.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gatepost.errors import SpoolUnavailable
from gatepost.model.clock import Clock
from gatepost.model.delivery import Failed, RemoteReply
from gatepost.model.envelope import MessageId
from gatepost.model.identity import SenderPattern
from gatepost.observe.events import Event, MessageChanged, MessageDropped
from gatepost.queue.bounce import Bouncer
from gatepost.queue.notices import notices
from gatepost.queue.scheduler import Scheduler
from gatepost.spool.spool import Draft, Entry, Progress, Spool, Status

__all__ = ["Change", "Listing", "Outcome", "QueueControl", "Selection", "find"]

_PAGE = 500
# RFC 3463 §3.8: X.7.0, a matter of policy that has no word of its own.
_DROPPED = RemoteReply.ours(550, "5.7.0", "The message was removed from the queue by the operator of this server")


class Listing(Protocol):
    """A spool to look at."""

    def entry(self, message_id: MessageId) -> Entry | None:
        """Read one entry; None if it is not there (any more)."""
        ...

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which messages are meant; every condition that is given must hold.

    Args:
        sender: a pattern of the reverse-path.
        is_null_sender: only those with the null reverse-path.
        domain: domain in A-labels of a recipient that still waits.
        account: login of who submitted it.
        held: only those on hold, or only those that are not.
        ids: only these; all, if there are none.
    """

    sender: SenderPattern | None = None
    is_null_sender: bool = False
    domain: str | None = None
    account: str | None = None
    held: bool | None = None
    ids: tuple[MessageId, ...] = ()

    def matches(self, entry: Entry) -> bool:
        """Tell whether *entry* is meant."""
        envelope = entry.envelope
        sender = envelope.reverse_path
        if self.is_null_sender and sender is not None:
            return False
        if self.sender is not None and (sender is None or not self.sender.matches(sender)):
            return False
        if self.account is not None and self.account != envelope.account:
            return False
        if self.held is not None and self.held != entry.is_held:
            return False
        if self.ids and entry.id not in self.ids:
            return False
        return self.domain is None or any(
            each.status is Status.PENDING and each.recipient.mailbox.ascii_domain == self.domain
            for each in entry.progress
        )


def find(reader: Listing, selection: Selection | None = None) -> Iterator[Entry]:
    """Go through the messages that are meant, the oldest first.

    It reads short pages: a long read would hold up the server's housekeeping.
    """
    if selection is not None and selection.ids:
        for message_id in sorted(set(selection.ids)):
            one = reader.entry(message_id)
            if one is not None and selection.matches(one):
                yield one
        return
    after: MessageId | None = None
    while page := reader.list(after=after, limit=_PAGE):
        for entry in page:
            if selection is None or selection.matches(entry):
                yield entry
        after = page[-1].id


class Change(enum.Enum):
    """What can be done to a message by hand."""

    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    DROP = "drop"


class Outcome(enum.Enum):
    """What came of it."""

    DONE = "done"
    UNKNOWN = "unknown"  # no such message, or not any more
    HELD = "held"  # it is on hold: already, or so that it cannot be tried
    NOT_HELD = "not held"  # there is nothing to release
    IN_FLIGHT = "in flight"  # it is being delivered right now
    UNREADABLE = "unreadable"  # what lies in the spool cannot be understood
    FAILED = "failed"  # the spool cannot be written or read


class QueueControl:
    """Changes the messages of one spool.

    Args:
        spool: where they lie; nobody else works on it.
        scheduler: what delivers them; None if nothing does.
        hostname: our own name, for bounces.
        clock: what time it is.
        emit: hears of what was done.
    """

    def __init__(
        self, spool: Spool, scheduler: Scheduler | None, *, hostname: str, clock: Clock, emit: Callable[[Event], None]
    ) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._bouncer = Bouncer(hostname)
        self._clock = clock
        self._emit = emit

    async def apply(self, change: Change, message_id: MessageId, *, silent: bool = False) -> Outcome:
        """Do it to one message.

        Args:
            change: what.
            message_id: to which.
            silent: drop it without telling its sender.
        """
        try:
            match change:
                case Change.HOLD:
                    return await self._hold(message_id)
                case Change.RELEASE:
                    return await self._release(message_id)
                case Change.RETRY:
                    return await self._retry(message_id)
                case Change.DROP:
                    return await self._drop(message_id, silent=silent)
        except SpoolUnavailable:
            return Outcome.FAILED

    async def _hold(self, message_id: MessageId) -> Outcome:
        """Let nothing of it begin from now on; what is on its way is not called back."""
        entry = self._spool.entry(message_id)
        if entry is not None and entry.is_held:
            return Outcome.HELD
        if entry is None or not await self._alter(message_id, held=True):
            return Outcome.UNKNOWN
        self._emit(MessageChanged(message_id, "held"))
        return Outcome.DONE

    async def _release(self, message_id: MessageId) -> Outcome:
        entry = self._spool.entry(message_id)
        if entry is not None and not entry.is_held:
            return Outcome.NOT_HELD
        if entry is None or not await self._alter(message_id, held=False, due=self._clock.now()):
            return Outcome.UNKNOWN
        self._emit(MessageChanged(message_id, "released"))
        return Outcome.DONE

    async def _retry(self, message_id: MessageId) -> Outcome:
        """Make it due now, and let it try its routes, also those that are left alone for a while."""
        entry = self._spool.entry(message_id)
        if entry is None:
            return Outcome.UNKNOWN
        if entry.is_held:
            return Outcome.HELD
        scheduler = self._scheduler
        if scheduler is not None:
            now = self._clock.now()
            for each in entry.progress:
                if each.status is Status.PENDING:
                    scheduler.health(entry.envelope, each.recipient).probe(now)
        if not await self._alter(message_id, due=self._clock.now()):
            return Outcome.UNKNOWN
        self._emit(MessageChanged(message_id, "retried"))
        return Outcome.DONE

    async def _alter(self, message_id: MessageId, *, held: bool | None = None, due: float | None = None) -> bool:
        is_there = await self._spool.alter(message_id, held=held, due=due)
        if is_there and self._scheduler is not None:
            flight = self._scheduler.flights.get(message_id)
            if flight is not None:
                flight.alter(held, due)
            self._scheduler.wake(message_id)
        return is_there

    async def _drop(self, message_id: MessageId, *, silent: bool) -> Outcome:
        """Remove it, and tell its sender of every recipient that waits; never while an attempt may still deliver it."""
        scheduler = self._scheduler
        if scheduler is None:
            return await self._remove(message_id, silent=silent)
        if message_id in scheduler.flights or message_id in scheduler.barred:
            return Outcome.IN_FLIGHT
        scheduler.barred.add(message_id)
        try:
            return await self._remove(message_id, silent=silent)
        finally:
            scheduler.barred.discard(message_id)
            scheduler.wake(message_id)

    async def _remove(self, message_id: MessageId, *, silent: bool) -> Outcome:
        try:
            entry = self._spool.entry(message_id)
        except SpoolUnavailable:
            if not silent:
                return Outcome.UNREADABLE
            entry = None
        else:
            if entry is None:
                return Outcome.UNKNOWN
        draft = None if entry is None or silent else await self._bounce(entry)
        receipts = await self._spool.remove(message_id, () if draft is None else (draft,))
        if receipts is None:
            return Outcome.UNKNOWN
        bounce = receipts[0].id if receipts else ""
        sender = "" if entry is None else str(entry.envelope.reverse_path or "<>")
        recipients = () if entry is None else tuple([str(each.recipient) for each in _waiting(entry)])
        self._emit(MessageDropped(message_id, sender, recipients, bounce))
        if self._scheduler is not None:
            for receipt in receipts:
                self._scheduler.wake(receipt.id)
        return Outcome.DONE

    async def _bounce(self, entry: Entry) -> Draft | None:
        now = self._clock.now()
        waiting = [index for index, each in enumerate(entry.progress) if each.status is Status.PENDING]
        failures, _ = notices(entry.envelope, waiting, [Failed(_DROPPED)] * len(waiting), (), now)
        try:
            async with self._spool.content(entry) as content:
                return await self._bouncer.draft(entry, failures, content, now)
        except SpoolUnavailable:
            # Its sender can be told without its content, too.
            return await self._bouncer.draft(entry, failures, None, now)


def _waiting(entry: Entry) -> list[Progress]:
    return [each for each in entry.progress if each.status is Status.PENDING]
