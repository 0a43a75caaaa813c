"""One attempt: open the content, hand it to a transport, make a result of whatever happens, write what is told of it.

What a transport or the composing of a notification raises ends here: a bug of ours must neither lose mail nor send it
twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from gatepost.errors import Misuse, SpoolFull, SpoolUnavailable
from gatepost.message.dsn import Action
from gatepost.message.signer import Signer
from gatepost.model.clock import Clock
from gatepost.model.delivery import Cause, Deferred, Delivered, Failed, RemoteReply, Result
from gatepost.model.envelope import Body
from gatepost.model.value import value
from gatepost.queue.bounce import Bouncer
from gatepost.queue.grouping import is_left_over
from gatepost.queue.notices import Notice, notices
from gatepost.queue.overdue import Overdue
from gatepost.relay.conversion import Signed
from gatepost.relay.transport import Content, Delivery, Transport
from gatepost.spool.spool import Draft, Entry, Spool

__all__ = ["Attempt", "Outcome", "Unreached"]

_log = logging.getLogger("gatepost.queue")

_UNREADABLE = RemoteReply.ours(451, "4.3.0", "The message cannot be read from the spool now")
_TOO_SLOW = RemoteReply.ours(451, "4.4.2", "The attempt took too long and was given up")
_OUR_BUG = RemoteReply.ours(451, "4.3.0", "Internal error while delivering")

_NO_ROOM = "there is no room for the notice of a delay"

# RFC 3463 §3.5: X.4.7 is a message that got too old; the class stays 4, for another attempt could have worked.
_TOO_OLD = "4.4.7"


@value(frozen=True, slots=True)
class Outcome:
    """What an attempt came to.

    Args:
        results: one per recipient.
        bounce: what its sender will be told; None if there is nothing to tell, or nobody to hear it.
        undrafted: why nobody is told of a failure; empty if nothing failed, or somebody is.
        notices: what stands in *bounce*, or has to do without one.
        is_signature_lost: whether it went out without the signature of ours that it had.
        spool_trouble: why the spool could not be read; empty if it could.
        given: what the transport gave, before time was up for anybody; nothing if it gave no results.
    """

    results: tuple[Result, ...]
    bounce: Draft | None = None
    undrafted: str = ""
    spool_trouble: str = ""
    given: tuple[Result, ...] = ()
    notices: Sequence[Notice] = ()
    is_signature_lost: bool = False


class Unreached:
    """Stands for a next hop that is not asked any more: says again what was said last."""

    name = "(given up)"

    def __init__(self, reply: RemoteReply) -> None:
        self._reply = reply

    async def deliver(self, delivery: Delivery) -> Sequence[Result]:
        """Defer each recipient with the reply."""
        return [Deferred(self._reply) for _ in delivery.recipients]

    async def close(self) -> None:
        """Nothing is open."""


class Attempt:
    """Makes attempts.

    Args:
        spool: where the content lies.
        bouncer: who writes notifications.
        clock: what time it is.
        signer: signs anew what had to be converted; None where nobody signs.

    Attributes:
        seconds: how long a transport may take, whatever it waits for.
        is_ending: whether those under way should come to their end soon.
    """

    def __init__(
        self, spool: Spool, bouncer: Bouncer, clock: Clock, seconds: float, signer: Signer | None = None
    ) -> None:
        self.seconds = seconds
        self.is_ending = False
        self._spool = spool
        self._bouncer = bouncer
        self._clock = clock
        self._signer = signer
        self._overdue = Overdue()

    async def __call__(
        self,
        entry: Entry,
        indices: Sequence[int],
        transport: Transport,
        is_last: Callable[[], bool],
        late: Container[int],
        retry_until: float,
        reminders: Sequence[Notice] = (),
    ) -> Outcome:
        """Try once, and write what is told of it.

        Args:
            entry: the message.
            indices: places of the recipients to try.
            transport: where.
            is_last: asked when it is over: whoever is deferred has failed then, unless only the route is in trouble.
            late: places of recipients whose delay is told, if they are deferred.
            retry_until: when they are given up.
            reminders: what is told where nobody is tried.
        """
        if late and not self._has_room():
            late = ()  # after the next attempt, perhaps
        envelope = entry.envelope
        recipients = tuple([envelope.recipients[index] for index in indices])
        results: tuple[Result, ...] = ()
        given: tuple[Result, ...] = ()
        told: Sequence[Notice] = reminders
        bounce: Draft | None = None
        sent: Content | None = None
        undrafted = spool_trouble = ""
        is_unreadable = False
        try:
            try:
                async with self._spool.content(entry) as content:
                    if recipients:
                        sent = self._kept_signed(entry, content)
                        answer = await self._deliver(
                            transport, Delivery(entry.id, envelope, recipients, sent, self._goes_on)
                        )
                        if len(answer) != len(recipients):
                            raise Misuse(
                                f"{transport.name} gave {len(answer)} results for {len(recipients)} recipients"
                            )
                        given = answer
                        results = _judged(given) if is_last() else given
                        told, undrafted = notices(envelope, indices, results, late, self._clock.now())
                    if told:
                        bounce = await self._bouncer.draft(
                            entry, told, content, self._clock.now(), retry_until=retry_until
                        )
            except SpoolUnavailable as error:
                is_unreadable, spool_trouble = True, str(error)
            if is_unreadable:
                # The content cannot be read, but its sender can still be told.
                now = self._clock.now()
                if recipients:
                    results = results or _deferred(len(recipients), _UNREADABLE, is_last=is_last())
                    told, undrafted = notices(envelope, indices, results, late, now)
                bounce = await self._bouncer.draft(entry, told, None, now, retry_until=retry_until)
        except Exception as error:  # noqa: BLE001 - one of the three places: our bug must not lose mail
            _log.error("a delivery attempt failed", exc_info=error, extra={"queue_id": entry.id})
            # Not even the last attempt gives up for it: what is wrong is not the message.
            results = results or _deferred(len(recipients), _OUR_BUG, is_last=False)
            if bounce is None:
                # What cannot be written now could not be in a minute; a delay that an attempt shows is come back to.
                undrafted, told = repr(error) if reminders or _has_failed(results) else "", reminders
        is_signature_lost = isinstance(sent, Signed) and sent.is_lost and _has_gone_out(results)
        return Outcome(results, bounce, undrafted, spool_trouble, given, told, is_signature_lost)

    async def remind(self, entry: Entry, late: Sequence[int], reply: RemoteReply, retry_until: float) -> Outcome:
        """Try nothing; tell of a delay, with *reply* as its reason."""
        progress = entry.progress
        told = [
            Notice(index, Action.DELAYED, reply, "", progress[index].at if progress[index].attempts else None)
            for index in late
        ]
        if not self._has_room():
            # Results need the rest of it more than this does; it is not come back to, or each sweep would write again.
            return Outcome((), undrafted=_NO_ROOM, notices=told)
        return await self(entry, (), Unreached(reply), _never, (), retry_until, told)

    def _goes_on(self) -> bool:
        return not self.is_ending

    def _has_room(self) -> bool:
        """Tell whether the spool would take new mail: a million notices must not fill what is left for results."""
        try:
            self._spool.check_room(0)
        except SpoolFull:
            return False
        except SpoolUnavailable:
            return True  # that shows where it matters
        return True

    async def _deliver(self, transport: Transport, delivery: Delivery) -> tuple[Result, ...]:
        task = self._overdue.watch(self.seconds)
        try:
            return tuple(await transport.deliver(delivery))
        except asyncio.CancelledError:
            if not self._overdue.has_ended(task):
                raise
            # It may have been taken: nobody knows how far it came.
            return (Deferred(_TOO_SLOW, "", Cause.NEXT_HOP, is_doubtful=True),) * len(delivery.recipients)
        finally:
            self._overdue.forget(task)

    def _kept_signed(self, entry: Entry, content: Content) -> Content:
        """Return what to hand over: content that may be converted brings along who signs it anew."""
        envelope = entry.envelope
        if not envelope.signatures or envelope.body is not Body.EIGHT_BIT:
            return content
        return Signed(content, envelope.signatures, self._signer)


def _never() -> bool:
    return False


def _has_gone_out(results: tuple[Result, ...]) -> bool:
    return any(isinstance(each, Delivered) for each in results)


def _has_failed(results: tuple[Result, ...]) -> bool:
    return any(isinstance(each, Failed) for each in results)


def _judged(results: tuple[Result, ...]) -> tuple[Result, ...]:
    """Turn deferrals into failures, but not those that say nothing about the recipient."""
    return tuple(
        [
            Failed(replace(result.reply, enhanced=_TOO_OLD), result.next_hop)
            if isinstance(result, Deferred) and result.cause is not Cause.ROUTE and not is_left_over(result, results)
            else result
            for result in results
        ]
    )


def _deferred(number: int, reply: RemoteReply, *, is_last: bool) -> tuple[Result, ...]:
    results: tuple[Result, ...] = tuple([Deferred(reply)] * number)
    return _judged(results) if is_last else results
