"""What every spool must do when messages in it are held, released, dropped, or settled at the same moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from contracts.spool_contract import LARGE, PREFIX, Reopen, commit, envelope, find, octets, read, settled
from gatepost.errors import SpoolUnavailable
from gatepost.model.address import Mailbox
from gatepost.model.envelope import MessageId, Receipt, Recipient
from gatepost.spool.spool import Draft, Entry, Progress, Spool, Status

__all__ = ["SpoolChangesContract"]


class SpoolChangesContract:
    """The promises.  `reopen` closes the spool and opens it again."""

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_hold_and_release_outlive_a_restart(self, spool: Spool, reopen: Reopen, size: int) -> None:
        receipt = await commit(spool, octets(size))
        before = find(spool, receipt.id)
        assert await spool.alter(receipt.id, held=True)
        again = await reopen()
        assert find(again, receipt.id) == replace(before, is_held=True)
        assert again.due(float("inf"), 10) == []
        assert await again.alter(receipt.id, held=False)
        assert find(again, receipt.id) == before
        assert again.due(float("inf"), 10) == [receipt.id]
        assert await read(again, receipt.id) == PREFIX + octets(size)

    async def test_a_new_due_time_counts_at_once_and_later(self, spool: Spool, reopen: Reopen) -> None:
        receipt = await commit(spool)
        before = find(spool, receipt.id)
        assert await spool.alter(receipt.id, due=before.due + 60)
        assert spool.next_due() == before.due + 60
        assert await spool.alter(receipt.id, held=True, due=before.due - 60)
        again = await reopen()
        assert find(again, receipt.id) == replace(before, is_held=True, due=before.due - 60)
        assert await again.alter(receipt.id)
        assert find(again, receipt.id) == replace(before, is_held=True, due=before.due - 60)

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_an_envelope_written_anew_is_there_at_once_and_later_with_the_same_content(
        self, spool: Spool, reopen: Reopen, size: int
    ) -> None:
        receipt = await commit(spool, octets(size))
        before = find(spool, receipt.id)
        other = Recipient(Mailbox("new", "example.com"), orcpt="rfc822;old@example.net")
        wanted = replace(
            before,
            envelope=replace(before.envelope, recipients=(other,), route="spare"),
            progress=(Progress(other),),
            due=before.due - 5,
        )
        seen = []

        def change(entry: Entry) -> Entry:
            seen.append(entry)
            return wanted

        assert await spool.rewrite(receipt.id, change)
        assert seen == [before]
        for is_anew in (False, True):
            each = await reopen() if is_anew else spool
            assert find(each, receipt.id) == wanted
            assert each.due(float("inf"), 10) == [receipt.id]
            assert await read(each, receipt.id) == PREFIX + octets(size)

    async def test_an_envelope_that_is_left_alone_or_not_there_is_not_written(self, spool: Spool) -> None:
        receipt = await commit(spool)
        before = find(spool, receipt.id)
        assert not await spool.rewrite(receipt.id, lambda _: None)
        assert find(spool, receipt.id) == before
        await spool.remove(receipt.id)
        assert not await spool.rewrite(receipt.id, lambda entry: entry)

    async def test_an_envelope_is_written_anew_on_what_a_settlement_left(self, spool: Spool) -> None:
        receipt = await commit(spool)
        settlement = settled(find(spool, receipt.id), Status.PENDING, due=77.0)
        changes = [replace(settlement.progress[0], attempts=3, reply="451 later")]
        seen = []

        def change(entry: Entry) -> None:
            seen.append(entry.progress)

        settling = asyncio.ensure_future(spool.settle(receipt.id, replace(settlement, progress=tuple(changes))))
        await asyncio.sleep(0)
        assert not await spool.rewrite(receipt.id, change)
        await settling
        assert seen == [tuple(changes)]

    @pytest.mark.parametrize("size", [10, LARGE])
    async def test_what_is_removed_is_gone_and_its_bounces_are_there(
        self, spool: Spool, reopen: Reopen, size: int
    ) -> None:
        other = await commit(spool, octets(size, 2))
        receipt = await commit(spool, octets(size))
        bounces = await spool.remove(receipt.id, (Draft(envelope(sender=None), b"dropped"),))
        assert bounces is not None
        assert [each.size_bytes for each in bounces] == [7]
        for is_anew in (False, True):
            each = await reopen() if is_anew else spool
            assert each.entry(receipt.id) is None
            assert each.count() == 2
            assert [entry.id for entry in each.list()] == [other.id, bounces[0].id]
            assert await read(each, bounces[0].id) == b"dropped"
            assert await read(each, other.id) == PREFIX + octets(size, 2)

    async def test_what_is_not_there_cannot_be_altered_or_removed(self, spool: Spool) -> None:
        receipt = await commit(spool)
        assert await spool.remove(receipt.id) == ()
        for name in (receipt.id, MessageId("0" * 16)):
            assert await spool.alter(name, held=True) is False
            assert await spool.remove(name, (Draft(envelope(sender=None), b"dropped"),)) is None
        assert spool.count() == 0
        assert spool.list() == []

    async def test_a_message_that_is_settled_and_removed_at_once_has_one_end(
        self, spool: Spool, reopen: Reopen
    ) -> None:
        settled_first, removed_first = await commit(spool), await commit(spool)
        drafts = (Draft(envelope(sender=None), b"failed"),), (Draft(envelope(sender=None), b"dropped"),)
        ends: dict[MessageId, tuple[Receipt, ...]] = {}
        for receipt, is_settled_first in ((settled_first, True), (removed_first, False)):
            settlement = settled(find(spool, receipt.id), Status.FAILED, bounces=drafts[0])
            settle, remove = spool.settle(receipt.id, settlement), spool.remove(receipt.id, drafts[1])
            if is_settled_first:
                ends[receipt.id], removed = await asyncio.gather(settle, remove)
                assert removed is None
            else:
                removed, late = await asyncio.gather(remove, settle)
                assert removed is not None
                assert late == ()
                ends[receipt.id] = removed
        again = await reopen()
        assert [entry.id for entry in again.list()] == [each.id for end in ends.values() for each in end]
        assert [await read(again, entry.id) for entry in again.list()] == [b"failed", b"dropped"]
        assert again.count() == 2

    async def test_a_hold_and_an_attempt_at_once_are_both_written(self, spool: Spool, reopen: Reopen) -> None:
        receipts = [await commit(spool), await commit(spool)]
        for number, receipt in enumerate(receipts):
            settlement = settled(find(spool, receipt.id), Status.PENDING, due=50.0)
            settle, hold = spool.settle(receipt.id, settlement), spool.alter(receipt.id, held=True, due=70.0)
            await asyncio.gather(*((settle, hold) if number else (hold, settle)))
        again = await reopen()
        entries = [find(again, receipt.id) for receipt in receipts]
        assert [(entry.is_held, entry.due, entry.attempts) for entry in entries] == [(True, 50.0, 1), (True, 70.0, 1)]
        assert entries[0].progress[0].attempts == 1

    async def test_many_changes_of_one_message_at_once_do_not_cross(self, spool: Spool, reopen: Reopen) -> None:
        receipt = await commit(spool)
        alter = asyncio.ensure_future(spool.alter(receipt.id, due=1.0))
        await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(spool.alter(receipt.id, due=float(number))) for number in range(2, 9)]
        await asyncio.sleep(0)
        waiting[3].cancel()
        removes = [spool.remove(receipt.id, (Draft(envelope(sender=None), b"x"),)) for _ in range(3)]
        answers = await asyncio.gather(alter, *waiting, *removes, return_exceptions=True)
        assert answers[0] is True
        assert isinstance(answers[4], asyncio.CancelledError)
        assert {answer for number, answer in enumerate(answers[:8]) if number != 4} <= {True, False}
        assert sorted(answer is None for answer in answers[8:]) == [False, True, True]
        assert (await reopen()).count() == 1

    async def test_a_closed_spool_alters_and_removes_nothing(self, spool: Spool) -> None:
        receipt = await commit(spool)
        late = asyncio.ensure_future(spool.alter(receipt.id, held=True))
        await asyncio.sleep(0)
        waits = asyncio.ensure_future(spool.remove(receipt.id))
        await asyncio.sleep(0)
        await spool.close()
        assert await late
        for task in (waits, spool.alter(receipt.id, held=False), spool.remove(receipt.id)):
            with pytest.raises(SpoolUnavailable):
                await task

    async def test_attempts_that_land_leave_no_trace(self, spool: Spool, reopen: Reopen) -> None:
        receipt = await commit(spool)
        for _ in range(3):
            for name in (receipt.id, receipt.id, MessageId("0" * 16), MessageId("short"), MessageId("")):
                spool.attempting(name)
                spool.attempted(name)
            spool.attempted(receipt.id)
            spool.attempting(receipt.id)
        again = await reopen()
        entry = find(again, receipt.id)
        assert (entry.crashes, entry.is_held) == (0, False)
