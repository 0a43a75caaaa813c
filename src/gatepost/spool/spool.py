"""The contract of a spool: what session and queue may ask of it, and what it promises.

The way of a message through it::

    incoming = spool.begin()            # raises SpoolFull, SpoolUnavailable
    incoming.write(data)                # as it arrives; never waits
    await incoming.drain()              # when `backlog_bytes` is high
    receipt = await incoming.commit(envelope, prefix)      # durable: it survives a power cut
    entry = spool.entry(receipt.id)     # what the queue reads
    async with spool.content(entry) as content: ...        # what the relay reads
    await spool.settle(entry.id, settlement)               # one transaction, bounce included

An operator's hand is `alter`, `rewrite` and `remove`; `attempting` and `attempted` tell the next start what a crash
cut off.

Promises: a `Receipt` exists only after the message and everything that names it is synced.  A commit is whole or did
not happen.  A `Settlement` and the bounces in it are one transaction.  The last recipient settled removes the message.
Changes of one message come one after the other, each on what the one before has left.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from gatepost.model.envelope import Envelope, MessageId, Receipt, Recipient
from gatepost.model.value import value
from gatepost.spool.lane import ORDINARY_LANE

__all__ = ["Content", "Draft", "Entry", "Incoming", "Progress", "Settlement", "Spool", "Status"]


class Status(enum.Enum):
    """Where a recipient stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@value(frozen=True, slots=True)
class Progress:
    """One recipient's state.

    Args:
        recipient: whom it is about.
        status: pending until settled.
        attempts: how often it was tried.
        reply: last reply as text, ours or a next hop's; empty before the first attempt.
        next_hop: who said so; empty when nobody was reached.
        at: when, seconds since the epoch; 0 before the first attempt.
        is_delay_told: whether its sender has heard that it takes long.
    """

    recipient: Recipient
    status: Status = Status.PENDING
    attempts: int = 0
    reply: str = ""
    next_hop: str = ""
    at: float = 0.0
    is_delay_told: bool = False


@value(frozen=True, slots=True)
class Entry:
    """A message in the spool, without its content.

    Args:
        id: its name.
        envelope: as accepted.
        accepted_at: seconds since the epoch.
        due: when it may be tried, seconds since the epoch.
        attempts: how often it was tried as a whole.
        stalled: seconds during which only trouble with a route kept it: not counted towards giving up.
        is_held: whether it waits for somebody to release it.
        progress: one per recipient, in the order of the envelope.
        crashes: how often we died while it was tried, since an attempt last came to its end.
        lane: whose turn it waits for (`gatepost.spool.lane`).
    """

    id: MessageId
    envelope: Envelope
    accepted_at: float
    due: float
    attempts: int = 0
    stalled: float = 0.0
    is_held: bool = False
    progress: tuple[Progress, ...] = ()
    crashes: int = 0
    lane: int = ORDINARY_LANE


@value(frozen=True, slots=True)
class Draft:
    """A small message of our own, such as a bounce: whole in memory, not yet kept."""

    envelope: Envelope
    content: bytes


@value(frozen=True, slots=True)
class Settlement:
    """What an attempt came to.

    Args:
        progress: every recipient's new state, in the order of the envelope.
        due: when to try those still pending; ignored when none is.
        stalled: new value of `Entry.stalled`.
        bounces: notifications to keep in the same transaction.
        is_attempt: whether something was tried, and `Entry.attempts` grows; otherwise only times are noted.
    """

    progress: tuple[Progress, ...]
    due: float
    stalled: float = 0.0
    bounces: tuple[Draft, ...] = ()
    is_attempt: bool = True


class Content(Protocol):
    """The octets of a message: header first, CRLF line endings, not dot-stuffed.

    Attributes:
        size_bytes: how many there are.
        inline: all of them, if the message is small and lies in memory anyway; otherwise None.
    """

    size_bytes: int
    inline: bytes | None

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content from its start; can be called again."""
        ...


class Incoming(Protocol):
    """A message on its way in.

    Attributes:
        id: the name it will have once it is kept.
    """

    id: MessageId

    @property
    def backlog_bytes(self) -> int:
        """Octets written that are still in memory beyond what is kept inline: slow down when it grows."""
        ...

    def write(self, data: bytes) -> None:
        """Take octets of the body.  Never waits, never raises: trouble shows at `drain` and `commit`."""
        ...

    async def drain(self) -> None:
        """Wait until `backlog_bytes` is small.

        Raises:
            SpoolUnavailable: it cannot be written.
        """
        ...

    async def commit(
        self, envelope: Envelope, prefix: bytes, *, due: float | None = None, held: bool = False
    ) -> Receipt:
        """Make *prefix* (the whole header section) and the body durable, as one message.

        Raises:
            SpoolUnavailable: it is not kept, and no trace of it is left.
        """
        ...

    def abort(self) -> None:
        """Forget it; leaves nothing behind.  Harmless after `commit` and a second time."""
        ...


class Spool(Protocol):
    """Where accepted messages lie."""

    def check_room(self, wanted_bytes: int) -> None:
        """See that a message of so many octets would be taken.

        Raises:
            SpoolFull: there is no such room beyond the reserve.
            SpoolUnavailable: it cannot be written.
        """
        ...

    def begin(self) -> Incoming:
        """Start to take a message.

        Raises:
            SpoolFull: there is no room beyond the reserve.
            SpoolUnavailable: it cannot be written.
        """
        ...

    async def put(self, draft: Draft) -> Receipt:
        """Keep a message of our own.

        Raises:
            SpoolUnavailable: it is not kept.
        """
        ...

    def entry(self, message_id: MessageId) -> Entry | None:
        """Read one entry; None if it is not there (any more)."""
        ...

    def due(
        self,
        before: float,
        limit: int,
        *,
        after: tuple[float, str] | None = None,
        skip: frozenset[MessageId] = frozenset(),
    ) -> list[MessageId]:
        """List messages not on hold that are due at or before that time, ordered by due time and id.

        Args:
            before: the time.
            limit: how many at most.
            after: a place (due time, id) in that order: only what comes behind it.
            skip: leave these out.
        """
        ...

    def next_due(
        self, *, after: tuple[float, str] | None = None, skip: frozenset[MessageId] = frozenset()
    ) -> float | None:
        """Return when the next message behind *after* and not in *skip* is due, or None if none waits."""
        ...

    def lanes(self, before: float, limit: int, *, after: int, since: float) -> tuple[list[int], int | None]:
        """List lanes that hold messages due between two times, without reading the messages.

        Args:
            before: the later time.
            limit: how many lanes are looked at, at most.
            after: only lanes behind this one; -1 for all.
            since: the earlier time.

        Returns:
            The lanes, and the last one that was looked at; None instead if there are no more.
        """
        ...

    def in_lane(self, lane: int, before: float, limit: int, *, start: tuple[float, str]) -> list[tuple[float, str]]:
        """List the places (due time, id) of a lane that are due, from *start* on, in their order."""
        ...

    def list(self, *, after: MessageId | None = None, limit: int = 100) -> Sequence[Entry]:
        """List entries in the order of acceptance, a page at a time, without those that are damaged."""
        ...

    def content(self, entry: Entry) -> AbstractAsyncContextManager[Content]:
        """Open the content of *entry* for reading.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        ...

    def header(self, entry: Entry) -> bytes:
        """Read the header section of *entry*; no more than a keyed look-up.

        Raises:
            SpoolUnavailable: it cannot be read.
        """
        ...

    async def settle(self, message_id: MessageId, settlement: Settlement) -> tuple[Receipt, ...]:
        """Write down what an attempt came to, and keep its bounces; return their receipts.

        A settlement counts as an attempt of the entry.  For a message that is not there (any more) nothing is
        written, and there are no receipts.

        Raises:
            SpoolUnavailable: nothing of it is written down; keep it and try again.
        """
        ...

    async def alter(self, message_id: MessageId, *, held: bool | None = None, due: float | None = None) -> bool:
        """Put a message on hold or release it, or change when it is due; what is None stays as it is.

        A settlement under way is written first.  Who is released is as one that no crash ever met.

        Returns:
            Whether it was done, durably; False: there is no such message (any more).

        Raises:
            SpoolUnavailable: it is not written down.
        """
        ...

    async def remove(self, message_id: MessageId, bounces: tuple[Draft, ...] = ()) -> tuple[Receipt, ...] | None:
        """Drop a message and keep *bounces*, which tell of it, in one transaction; return their receipts.

        A settlement under way is written first.

        Returns:
            The receipts; None: there is no such message (any more), and nothing is written.

        Raises:
            SpoolUnavailable: it is not dropped.
        """
        ...

    async def rewrite(self, message_id: MessageId, change: Callable[[Entry], Entry | None]) -> bool:
        """Write envelope, progress and due time of an entry anew, as *change* makes them of what stands there.

        A settlement under way is written first.  Id, content and lane stay as they are.

        Args:
            message_id: which one.
            change: makes the new entry; None to leave it as it is.

        Returns:
            Whether it was done, durably; False: there is no such message (any more), or nothing was to be changed.

        Raises:
            SpoolUnavailable: it is not written down.
        """
        ...

    def attempting(self, message_id: MessageId) -> None:
        """Note that an attempt of a message begins: should we die, a start finds out.  Never raises, never waits."""
        ...

    def attempted(self, message_id: MessageId) -> None:
        """Note that an attempt has landed; as often as `attempting` was called.  Never raises, never waits."""
        ...

    def count(self) -> int:
        """Return how many messages lie here."""
        ...

    async def close(self) -> None:
        """Write down what waits, and let go of the files."""
        ...
