"""What every spool must do, as one test class: give it `spool`, `reopen` and `clock`; it is held to its promises."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from gatepost.errors import Misuse, SpoolUnavailable
from gatepost.model.address import Mailbox, parse_mailbox
from gatepost.model.envelope import Body, Envelope, MessageId, Receipt, Recipient
from gatepost.spool.lane import lane_of
from gatepost.spool.spool import Draft, Entry, Progress, Settlement, Spool, Status

__all__ = [
    "LARGE",
    "PREFIX",
    "Reopen",
    "SpoolContract",
    "SteppedClock",
    "commit",
    "delivered",
    "envelope",
    "find",
    "octets",
    "read",
    "settled",
]

PREFIX = b"Received: by here\r\nSubject: hello\r\n\r\n"
LARGE = 300_000
Reopen = Callable[[], Awaitable[Spool]]


class SteppedClock:
    """A clock that stands still until somebody moves it."""

    def __init__(self, now: float = 1_700_000_000.25) -> None:
        self.time = now

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time - 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.time += seconds


def envelope(*recipients: str, sender: str | None = "tim@example.org") -> Envelope:
    """Make an envelope."""
    return Envelope(
        reverse_path=None if sender is None else parse_mailbox(sender),
        recipients=tuple(Recipient(parse_mailbox(each)) for each in recipients or ("ann@example.net",)),
        account="tim",
        credential="c1",
        header_bytes=len(PREFIX),
    )


def octets(size: int, seed: int = 1) -> bytes:
    """Make a body that is like no other."""
    return random.Random(seed).randbytes(size)


async def commit(spool: Spool, body: bytes = b"hello\r\n", *recipients: str) -> Receipt:
    """Take a message the way a session does."""
    incoming = spool.begin()
    for start in range(0, len(body), 50_000):
        incoming.write(body[start : start + 50_000])
        if incoming.backlog_bytes > 262_144:
            await incoming.drain()
    return await incoming.commit(envelope(*recipients), PREFIX)


async def read(spool: Spool, message_id: MessageId) -> bytes:
    """Read a content as a relay does."""
    entry = spool.entry(message_id)
    assert entry is not None
    async with spool.content(entry) as content:
        whole = b"".join([piece async for piece in content.chunks()])
        assert content.size_bytes == len(whole)
        assert content.inline is None or content.inline == whole
        return whole


def settled(entry: Entry, *states: Status, due: float = 0.0, bounces: tuple[Draft, ...] = ()) -> Settlement:
    """Make a settlement that gives each recipient of *entry* a state."""
    progress = [
        Progress(each.recipient, state, each.attempts + 1, f"250 2.0.0 {state.value}", "mx.example.net", 5.5)
        for each, state in zip(entry.progress, states, strict=True)
    ]
    return Settlement(tuple(progress), due, bounces=bounces)


def delivered(entry: Entry) -> Settlement:
    """Make a settlement that says that everybody got it."""
    return settled(entry, *[Status.DELIVERED] * len(entry.progress))


def find(spool: Spool, message_id: MessageId) -> Entry:
    """Return an entry that must be there."""
    entry = spool.entry(message_id)
    assert entry is not None
    return entry


class SpoolContract:
    """The promises.  `clock` is the spool's clock; `reopen` closes it and opens it again."""

    @pytest.mark.parametrize("size", [0, 1, 4_000, 65_535, 65_536, 65_537, LARGE])
    async def test_a_message_is_kept_as_it_came(self, spool: Spool, reopen: Reopen, size: int) -> None:
        receipt = await commit(spool, octets(size))
        assert receipt.size_bytes == len(PREFIX) + size
        assert await read(spool, receipt.id) == PREFIX + octets(size)
        again = await reopen()
        assert await read(again, receipt.id) == PREFIX + octets(size)
        assert again.count() == 1

    async def test_an_entry_says_what_was_accepted(self, spool: Spool, reopen: Reopen, clock: SteppedClock) -> None:
        given = Envelope(
            reverse_path=None,
            recipients=(Recipient(Mailbox('odd "@ one', "example.net")), Recipient(Mailbox("jörg", "bücher.example"))),
            body=Body.EIGHT_BIT,
            smtputf8=True,
            account="tim",
            credential="c1",
            label="the printer",
            header_bytes=12,
            size_bytes=34,
            sandbox=True,
        )
        incoming = spool.begin()
        clock.time += 1
        receipt = await incoming.commit(given, PREFIX)
        expected = Entry(
            receipt.id,
            given,
            clock.time,
            clock.time,
            progress=tuple(Progress(each) for each in given.recipients),
            lane=lane_of("tim"),
        )
        assert receipt.id == incoming.id
        assert spool.entry(receipt.id) == expected
        assert (await reopen()).entry(receipt.id) == expected

    @pytest.mark.parametrize("size", [0, 100, LARGE])
    async def test_the_header_alone_can_be_read(self, spool: Spool, reopen: Reopen, size: int) -> None:
        receipt = await commit(spool, octets(size))
        entry = spool.entry(receipt.id)
        assert entry is not None
        assert spool.header(entry) == PREFIX
        again = await reopen()
        assert again.header(entry) == PREFIX
        await again.remove(receipt.id)
        with pytest.raises(SpoolUnavailable):
            again.header(entry)

    async def test_names_are_letters_and_digits_in_the_order_of_their_making(self, spool: Spool) -> None:
        names = [spool.begin().id for _ in range(100)]
        assert names == sorted(set(names))
        assert all(name.isascii() and name.isalnum() for name in names)

    async def test_many_at_once_are_all_kept(self, spool: Spool, reopen: Reopen) -> None:
        bodies = [octets(700 * number, number) for number in range(130)]
        receipts = await asyncio.gather(*[commit(spool, body) for body in bodies])
        assert spool.count() == 130
        again = await reopen()
        for receipt, body in zip(receipts, bodies, strict=True):
            assert await read(again, receipt.id) == PREFIX + body

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_what_is_aborted_is_not_there(self, spool: Spool, reopen: Reopen, size: int) -> None:
        incoming = spool.begin()
        incoming.write(octets(size))
        incoming.abort()
        incoming.write(b"more")
        incoming.abort()
        with pytest.raises(Misuse):
            await incoming.commit(envelope(), PREFIX)
        assert spool.entry(incoming.id) is None
        assert spool.count() == 0
        assert (await reopen()).count() == 0

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_abort_after_commit_is_harmless_and_a_second_commit_is_not(self, spool: Spool, size: int) -> None:
        incoming = spool.begin()
        incoming.write(octets(size))
        await incoming.commit(envelope(), PREFIX)
        incoming.abort()
        with pytest.raises(Misuse):
            await incoming.commit(envelope(), PREFIX)
        assert await read(spool, incoming.id) == PREFIX + octets(size)

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_abort_during_commit_leaves_all_or_nothing(self, spool: Spool, size: int) -> None:
        incoming = spool.begin()
        incoming.write(octets(size))
        task = asyncio.ensure_future(incoming.commit(envelope(), PREFIX))
        await asyncio.sleep(0)
        incoming.abort()
        await asyncio.wait((task,))
        if task.exception() is None:
            assert await read(spool, incoming.id) == PREFIX + octets(size)
        else:
            assert isinstance(task.exception(), SpoolUnavailable)
            assert spool.entry(incoming.id) is None

    async def test_backlog_falls_when_it_is_drained(self, spool: Spool) -> None:
        incoming = spool.begin()
        assert incoming.backlog_bytes == 0
        incoming.write(octets(2_000_000))
        assert incoming.backlog_bytes > 1_000_000
        await incoming.drain()
        assert incoming.backlog_bytes <= 262_144
        incoming.abort()

    async def test_content_can_be_read_twice_and_small_content_in_one_piece(self, spool: Spool) -> None:
        for size in (100, LARGE):
            receipt = await commit(spool, octets(size))
            async with spool.content(find(spool, receipt.id)) as content:
                for _ in range(2):
                    pieces = [piece async for piece in content.chunks()]
                    assert b"".join(pieces) == PREFIX + octets(size)
                    assert max(map(len, pieces)) <= 262_144
                assert (content.inline is not None) == (size == 100)

    async def test_what_is_due_comes_by_due_time_and_in_portions(self, spool: Spool, clock: SteppedClock) -> None:
        names = []
        for due in (30.0, 10.0, 20.0, 20.0):
            incoming = spool.begin()
            names.append((await incoming.commit(envelope(), PREFIX, due=due)).id)
        await spool.begin().commit(envelope(), PREFIX, due=5.0, held=True)
        expected = [names[1], names[2], names[3], names[0]]
        assert spool.due(100.0, 10) == expected
        assert spool.due(100.0, 2) == expected[:2]
        assert spool.due(20.0, 10) == expected[:3]
        assert spool.due(9.9, 10) == []
        assert spool.due(100.0, 2, skip=frozenset(expected[:2])) == expected[2:]
        assert spool.due(100.0, 10, after=(20.0, names[2])) == [names[3], names[0]]
        assert spool.due(100.0, 10, after=(20.0, names[2]), skip=frozenset([names[3]])) == [names[0]]
        assert spool.next_due() == 10.0
        assert spool.next_due(skip=frozenset(expected[:3])) == 30.0
        assert spool.next_due(after=(20.0, names[3])) == 30.0
        assert spool.next_due(skip=frozenset(names)) is None

    async def test_lanes_are_found_without_their_messages_and_read_from_a_place_on(
        self, spool: Spool, clock: SteppedClock, reopen: Reopen
    ) -> None:
        places: dict[str, list[tuple[float, str]]] = {}
        for number, account in enumerate(("ann", "bob", "ann", "cid", "ann", "bob")):
            due = float(10 * number)
            receipt = await spool.begin().commit(replace(envelope(), account=account), PREFIX, due=due)
            places.setdefault(account, []).append((due, receipt.id))
        await spool.begin().commit(replace(envelope(), account="eve"), PREFIX, due=5.0, held=True)
        ann, bob, cid = map(lane_of, ("ann", "bob", "cid"))
        for is_again in (False, True):
            each = await reopen() if is_again else spool
            assert each.lanes(100.0, 10, after=-1, since=-1.0) == (sorted([ann, bob, cid]), None)
            assert each.lanes(25.0, 10, after=-1, since=-1.0)[0] == sorted([ann, bob])
            assert each.lanes(100.0, 10, after=-1, since=45.0)[0] == [bob]
            first, last = each.lanes(100.0, 2, after=-1, since=-1.0)
            assert (first, last) == (sorted([ann, bob, cid])[:2], sorted([ann, bob, cid])[1])
            assert each.lanes(100.0, 2, after=last or 0, since=-1.0) == (sorted([ann, bob, cid])[2:], None)
            assert each.in_lane(ann, 100.0, 10, start=(float("-inf"), "")) == places["ann"]
            assert each.in_lane(ann, 100.0, 10, start=places["ann"][1]) == places["ann"][1:]
            assert each.in_lane(ann, 100.0, 1, start=places["ann"][1]) == places["ann"][1:2]
            assert each.in_lane(ann, 25.0, 10, start=(0.0, "")) == places["ann"][:2]
            assert each.in_lane(lane_of("eve"), 100.0, 10, start=(0.0, "")) == []

    async def test_nothing_is_due_in_an_empty_spool(self, spool: Spool) -> None:
        assert spool.due(float("inf"), 10) == []
        assert spool.next_due() is None
        assert spool.list() == []
        assert spool.count() == 0
        assert spool.entry(MessageId("0" * 16)) is None

    async def test_the_list_comes_in_pages(self, spool: Spool) -> None:
        names = [(await commit(spool)).id for _ in range(7)]
        first = spool.list(limit=3)
        assert [entry.id for entry in first] == names[:3]
        assert [entry.id for entry in spool.list(after=first[-1].id, limit=3)] == names[3:6]
        assert [entry.id for entry in spool.list(after=names[5])] == names[6:]
        assert spool.list(after=names[6]) == []

    async def test_an_attempt_is_written_down(self, spool: Spool, reopen: Reopen, clock: SteppedClock) -> None:
        receipt = await commit(spool, octets(LARGE), "ann@example.net", "bob@example.net")
        entry = find(spool, receipt.id)
        settlement = settled(entry, Status.DELIVERED, Status.PENDING, due=clock.time + 60)
        assert await spool.settle(receipt.id, Settlement(settlement.progress, settlement.due, stalled=7.5)) == ()
        for is_anew in (False, True):
            each = await reopen() if is_anew else spool
            after = find(each, receipt.id)
            assert after.progress == settlement.progress
            assert (after.attempts, after.due, after.stalled) == (1, clock.time + 60, 7.5)
            assert (after.envelope, after.accepted_at) == (entry.envelope, entry.accepted_at)
            assert each.due(clock.time, 10) == []
            assert each.due(clock.time + 60, 10) == [receipt.id]
            assert await read(each, receipt.id) == PREFIX + octets(LARGE)

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_the_last_recipient_removes_the_message(self, spool: Spool, reopen: Reopen, size: int) -> None:
        other = await commit(spool, octets(size, 2))
        receipt = await commit(spool, octets(size), "ann@example.net", "bob@example.net")
        entry = find(spool, receipt.id)
        await spool.settle(receipt.id, settled(entry, Status.PENDING, Status.FAILED))
        await spool.settle(receipt.id, settled(find(spool, receipt.id), Status.DELIVERED, Status.FAILED))
        assert spool.entry(receipt.id) is None
        assert spool.count() == 1
        with pytest.raises(SpoolUnavailable):
            async with spool.content(entry):
                pass
        again = await reopen()
        assert [each.id for each in again.list()] == [other.id]
        assert await read(again, other.id) == PREFIX + octets(size, 2)

    async def test_a_message_on_hold_stays_so_after_an_attempt(self, spool: Spool) -> None:
        receipt = await spool.begin().commit(envelope(), PREFIX, held=True)
        assert find(spool, receipt.id).is_held
        await spool.settle(receipt.id, settled(find(spool, receipt.id), Status.PENDING))
        assert find(spool, receipt.id).is_held
        assert spool.due(float("inf"), 10) == []

    async def test_a_bounce_is_kept_with_the_failure(self, spool: Spool, reopen: Reopen) -> None:
        receipt = await commit(spool)
        drafts = tuple(
            Draft(envelope(f"to{number}@example.org", sender=None), b"Subject: no\r\n\r\n%d" % number)
            for number in range(2)
        )
        settlement = settled(find(spool, receipt.id), Status.FAILED, bounces=drafts)
        bounces = await spool.settle(receipt.id, settlement)
        for is_anew in (False, True):
            each = await reopen() if is_anew else spool
            assert [entry.id for entry in each.list()] == [bounce.id for bounce in bounces]
            for bounce, draft in zip(bounces, drafts, strict=True):
                assert find(each, bounce.id).envelope == draft.envelope
                assert bounce.size_bytes == len(draft.content)
                assert await read(each, bounce.id) == draft.content

    async def test_a_settlement_of_a_message_that_is_gone_writes_nothing(self, spool: Spool) -> None:
        receipt = await commit(spool)
        entry = find(spool, receipt.id)
        await spool.settle(receipt.id, delivered(entry))
        late = settled(entry, Status.FAILED, bounces=(Draft(envelope(sender=None), b"late"),))
        assert await spool.settle(receipt.id, late) == ()
        assert spool.count() == 0
        assert spool.list() == []

    async def test_a_settlement_must_name_the_recipients(self, spool: Spool) -> None:
        receipt = await commit(spool, b"", "ann@example.net", "bob@example.net")
        entry = find(spool, receipt.id)
        with pytest.raises(Misuse):
            await spool.settle(receipt.id, Settlement(entry.progress[:1], 0.0))
        with pytest.raises(Misuse):
            await spool.settle(receipt.id, Settlement(entry.progress[::-1], 0.0))
        assert spool.entry(receipt.id) == entry

    async def test_two_settlements_at_once_are_refused(self, spool: Spool) -> None:
        receipt = await commit(spool)
        settlement = settled(find(spool, receipt.id), Status.FAILED, bounces=(Draft(envelope(), b"no"),))
        results = await asyncio.gather(
            *[spool.settle(receipt.id, settlement) for _ in range(2)], return_exceptions=True
        )
        assert isinstance(results[1], Misuse)
        assert spool.count() == 1

    async def test_a_message_of_our_own_is_kept(self, spool: Spool, reopen: Reopen) -> None:
        draft = Draft(envelope(sender=None), b"Subject: report\r\n\r\n" + octets(100_000))
        receipt = await spool.put(draft)
        assert receipt.size_bytes == len(draft.content)
        again = await reopen()
        assert find(again, receipt.id).envelope == draft.envelope
        assert await read(again, receipt.id) == draft.content

    async def test_a_closed_spool_takes_nothing(self, spool: Spool) -> None:
        receipt = await commit(spool)
        entry = find(spool, receipt.id)
        small, large = spool.begin(), spool.begin()
        large.write(octets(LARGE))
        await spool.close()
        await spool.close()
        small.write(octets(LARGE))
        for incoming in (small, large):
            with pytest.raises(SpoolUnavailable):
                await incoming.commit(envelope(), PREFIX)
        with pytest.raises(SpoolUnavailable):
            spool.begin()
        with pytest.raises(SpoolUnavailable):
            await spool.put(Draft(envelope(), b""))
        with pytest.raises(SpoolUnavailable):
            await spool.settle(receipt.id, delivered(entry))
        for question in (lambda: spool.entry(receipt.id), spool.list, spool.next_due, lambda: spool.due(1.0, 1)):
            with pytest.raises(SpoolUnavailable):
                question()

    async def test_close_writes_what_waits(self, spool: Spool, reopen: Reopen) -> None:
        tasks = [asyncio.ensure_future(commit(spool, octets(10, number))) for number in range(20)]
        await asyncio.sleep(0)
        again = await reopen()
        receipts = await asyncio.gather(*tasks)
        assert again.count() == 20
        for number, receipt in enumerate(receipts):
            assert await read(again, receipt.id) == PREFIX + octets(10, number)

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_a_client_that_goes_away_during_commit_leaves_all_or_nothing(
        self, spool: Spool, reopen: Reopen, size: int
    ) -> None:
        bodies: dict[MessageId, bytes] = {}
        for turns in range(25):
            incoming = spool.begin()
            bodies[incoming.id] = octets(size, turns)
            incoming.write(bodies[incoming.id])
            task = asyncio.ensure_future(incoming.commit(envelope(), PREFIX))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait((task,))
            incoming.abort()
        again = await reopen()
        for entry in again.list():
            assert await read(again, entry.id) == PREFIX + bodies[entry.id]
        assert again.count() == len(again.list())

    async def test_a_settlement_is_written_even_if_nobody_waits_for_it(self, spool: Spool, reopen: Reopen) -> None:
        receipt = await commit(spool)
        task = asyncio.ensure_future(spool.settle(receipt.id, delivered(find(spool, receipt.id))))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait((task,))
        assert (await reopen()).count() == 0
