"""Change the queue by hand: hold, release, retry, redirect and drop messages.

That is for whoever owns the spool: a worker, with the scheduler that delivers from it, or the command line, which has
locked the spool and has no scheduler.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

from gatepost.errors import SpoolUnavailable
from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.model.delivery import Failed, RemoteReply
from gatepost.model.envelope import MessageId
from gatepost.observe.events import Event, MessageChanged, MessageDropped, MessageRedirected
from gatepost.queue.bounce import Bouncer
from gatepost.queue.notices import notices
from gatepost.queue.redirect import Redirect, redirected
from gatepost.queue.scheduler import Scheduler
from gatepost.spool.spool import Draft, Entry, Progress, Spool, Status

__all__ = ["Change", "Outcome", "QueueControl"]

# RFC 3463 §3.8: X.7.0, a matter of policy that has no word of its own.
_DROPPED = RemoteReply.ours(550, "5.7.0", "The message was removed from the queue by the operator of this server")


class Change(enum.Enum):
    """What can be done to a message by hand."""

    HOLD = "hold"
    RELEASE = "release"
    RETRY = "retry"
    REDIRECT = "redirect"
    DROP = "drop"


class Outcome(enum.Enum):
    """What came of it."""

    DONE = "done"
    UNKNOWN = "unknown"  # no such message, or not any more
    HELD = "held"  # it is on hold: already, or so that it cannot be tried
    NOT_HELD = "not held"  # there is nothing to release
    IN_FLIGHT = "in flight"  # it is being delivered right now
    UNCHANGED = "unchanged"  # no recipient that is meant still waits
    SANDBOX = "sandbox"  # it must not leave the sandbox
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
        signer: signs bounces; None where nobody does.
    """

    def __init__(
        self,
        spool: Spool,
        scheduler: Scheduler | None,
        *,
        hostname: str,
        clock: Clock,
        emit: Callable[[Event], None],
        signer: Signer | None = None,
    ) -> None:
        self._spool = spool
        self._scheduler = scheduler
        self._bouncer = Bouncer(hostname, signer)
        self._clock = clock
        self._emit = emit

    async def apply(
        self, change: Change, message_id: MessageId, *, silent: bool = False, redirect: Redirect | None = None
    ) -> Outcome:
        """Do it to one message.

        Args:
            change: what.
            message_id: to which.
            silent: drop it without telling its sender.
            redirect: where it is to go instead, if that is the change.
        """
        try:
            match change:
                case Change.HOLD:
                    return await self._hold(message_id)
                case Change.RELEASE:
                    return await self._release(message_id)
                case Change.RETRY:
                    return await self._retry(message_id)
                case Change.REDIRECT:
                    return await self._apart(message_id, lambda: self._redirect(message_id, redirect or Redirect()))
                case Change.DROP:
                    return await self._apart(message_id, lambda: self._remove(message_id, silent=silent))
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
            now, envelope = self._clock.now(), scheduler.informed(entry).envelope
            for each in _waiting(entry):
                scheduler.health(envelope, each.recipient).probe(now)
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

    async def _apart(self, message_id: MessageId, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do something to a message while nothing of it begins; never while an attempt may still deliver it."""
        scheduler = self._scheduler
        if scheduler is None:
            return await work()
        if message_id in scheduler.flights or message_id in scheduler.barred:
            return Outcome.IN_FLIGHT
        scheduler.barred.add(message_id)
        try:
            return await work()
        finally:
            scheduler.barred.discard(message_id)
            scheduler.wake(message_id)

    async def _redirect(self, message_id: MessageId, redirect: Redirect) -> Outcome:
        entry = self._spool.entry(message_id)
        if entry is None:
            return Outcome.UNKNOWN
        if entry.envelope.sandbox and redirect.route:
            return Outcome.SANDBOX
        now = self._clock.now()
        if not await self._spool.rewrite(message_id, lambda entry: redirected(entry, redirect, now)):
            return Outcome.UNCHANGED
        self._emit(MessageRedirected(message_id, str(redirect.to or ""), redirect.route, str(redirect.recipient or "")))
        return Outcome.DONE

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
