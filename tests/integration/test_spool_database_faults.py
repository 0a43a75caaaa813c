"""Every statement of the database fails once: a change is whole or not written, and the spool goes on by itself."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, commit, delivered, envelope, octets, read, settled
from failing_disk import Databases, body_files, reopened
from gatepost.errors import SpoolFull, SpoolUnavailable
from gatepost.observe.events import Event, SpoolTroubled
from gatepost.spool import writer
from gatepost.spool.change import Change, Fate
from gatepost.spool.spool import Draft, Status
from gatepost.spool.sqlite import SqliteSpool

LARGE = 1_000_000


@pytest.fixture
def databases() -> Databases:
    return Databases()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
async def spool(tmp_path: Path, databases: Databases, events: list[Event]) -> AsyncIterator[SqliteSpool]:
    spool = SqliteSpool(
        tmp_path / "spool", clock=SteppedClock(), reserve_bytes=0, connect=databases, emit=events.append
    )
    yield spool
    await spool.close()


@pytest.mark.parametrize("size", [10, LARGE])
@pytest.mark.parametrize("table", ["", "message", "content"])
async def test_a_message_whose_transaction_fails_is_not_there(
    spool: SqliteSpool, databases: Databases, events: list[Event], tmp_path: Path, table: str, size: int
) -> None:
    if table:  # in the midst of the statement
        databases.last.execute(
            f"CREATE TRIGGER poison BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
        )
    else:
        databases.last.failing, databases.last.times = "INSERT INTO batch", 1
    with pytest.raises(SpoolUnavailable):
        await commit(spool, octets(size))
    if table:
        databases.last.execute("DROP TRIGGER poison")
    assert spool.count() == 0
    assert spool.list() == []
    assert [type(event) for event in events] == [SpoolTroubled]
    receipt = await commit(spool, octets(size))
    assert len(events) == 1
    await spool.close()
    # A body whose commit failed is kept until a later commit has overwritten that one in the log.
    assert body_files(tmp_path) == ([receipt.id] if size == LARGE else [])
    again = reopened(tmp_path)
    assert [entry.id for entry in again.list()] == [receipt.id]
    assert await read(again, receipt.id) == PREFIX + octets(size)
    await again.close()


async def test_a_body_whose_commit_is_in_doubt_outlives_a_crash(
    spool: SqliteSpool, databases: Databases, tmp_path: Path
) -> None:
    # The log got the commit, and the sync of it failed: the next start finds the message, and it must be whole.
    databases.last.failing, databases.last.times, databases.last.after = "INSERT INTO batch", 1, True
    with pytest.raises(SpoolUnavailable):
        await commit(spool, octets(LARGE))
    await spool.close()
    again = reopened(tmp_path)
    (entry,) = again.list()
    assert await read(again, entry.id) == PREFIX + octets(LARGE)
    await again.close()


@pytest.mark.parametrize(
    ("statement", "fate"),
    [
        ("BEGIN", Fate.FAILED),
        ("UPDATE", Fate.FAILED),
        ("INSERT INTO batch", Fate.FAILED),
        ("COMMIT", Fate.DOUBTFUL),
    ],
)
async def test_of_a_transaction_of_several_statements_only_the_commit_is_in_doubt(
    spool: SqliteSpool, databases: Databases, statement: str, fate: Fate
) -> None:
    receipt = await commit(spool, b"", "ann@example.net", "bob@example.net")
    change = Change(
        asyncio.get_running_loop().create_future(),
        updates=((1.0, 0.0, 1, "", receipt.id),),
        removed=(receipt.id,),
        body=receipt.id,
    )
    databases.last.failing, databases.last.times = statement, 1
    spool._writer.submit([change])
    with pytest.raises(SpoolUnavailable):
        await change.future
    assert change.fate is fate
    assert spool.count() == len(spool.list()) == 1


@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE", "INSERT INTO batch", "COMMIT"])
async def test_a_settlement_that_fails_is_not_written_at_all_and_can_be_tried_again(
    spool: SqliteSpool, databases: Databases, statement: str
) -> None:
    receipt = await commit(spool, b"", "ann@example.net", "bob@example.net")
    entry = spool.entry(receipt.id)
    bounce = Draft(envelope(sender=None), b"Subject: no\r\n\r\n")
    settlement = settled(entry, Status.FAILED, Status.PENDING, bounces=(bounce,))
    databases.last.failing, databases.last.times = statement, 1
    with pytest.raises(SpoolUnavailable):
        await spool.settle(receipt.id, settlement)
    assert spool.list() == [entry]
    (bounced,) = await spool.settle(receipt.id, settlement)
    assert [each.id for each in spool.list()] == [receipt.id, bounced.id]
    assert spool.entry(receipt.id).attempts == 1


async def test_a_connection_that_cannot_roll_back_is_replaced(spool: SqliteSpool, databases: Databases) -> None:
    receipt = await commit(spool, b"", "ann@example.net", "bob@example.net")
    settlement = settled(spool.entry(receipt.id), Status.DELIVERED, Status.PENDING)
    broken = databases.last
    broken.failing, broken.times = "UPDATE", 1
    original = broken.execute

    def execute(sql: str, *arguments: Any) -> sqlite3.Cursor:
        if sql == "ROLLBACK":
            raise sqlite3.OperationalError("disk I/O error")
        return original(sql, *arguments)

    broken.execute = execute  # type: ignore[method-assign]
    with pytest.raises(SpoolUnavailable):
        await spool.settle(receipt.id, settlement)
    await spool.settle(receipt.id, settlement)
    assert len(databases.opened) == 2
    assert spool.entry(receipt.id).attempts == 1
    other = await commit(spool)
    assert [entry.id for entry in spool.list()] == [receipt.id, other.id]


async def test_a_connection_that_became_read_only_is_replaced(
    spool: SqliteSpool, databases: Databases, events: list[Event]
) -> None:
    receipt = await commit(spool)
    databases.last.execute("PRAGMA query_only = ON")
    with pytest.raises(SpoolUnavailable, match="readonly"):
        await spool.settle(receipt.id, delivered(spool.entry(receipt.id)))
    assert [type(event) for event in events] == [SpoolTroubled]
    await spool.settle(receipt.id, delivered(spool.entry(receipt.id)))
    assert len(databases.opened) == 2
    assert spool.count() == 0


async def test_one_change_that_cannot_be_written_does_not_fail_the_others(
    spool: SqliteSpool, databases: Databases
) -> None:
    databases.last.execute(
        "CREATE TRIGGER poison BEFORE INSERT ON message WHEN NEW.envelope LIKE '%poison%'"
        " BEGIN SELECT RAISE(ABORT, 'poisoned'); END"
    )
    receipt = await commit(spool)
    results = await asyncio.gather(
        *[commit(spool, octets(10), "poison@example.net" if number == 7 else "ann@example.net") for number in range(9)],
        spool.settle(receipt.id, delivered(spool.entry(receipt.id))),
        return_exceptions=True,
    )
    assert [type(result) for result in results if isinstance(result, BaseException)] == [SpoolUnavailable]
    assert isinstance(results[7], SpoolUnavailable)
    assert spool.count() == 8
    assert len(spool.list()) == 8


async def test_when_the_database_has_no_room_results_are_still_written_and_new_mail_is_not(
    spool: SqliteSpool, databases: Databases
) -> None:
    receipts = [await commit(spool, octets(10_000)) for _ in range(5)]
    (pages,) = databases.last.execute("PRAGMA page_count").fetchone()
    databases.last.execute(f"PRAGMA max_page_count = {pages}")
    entry = spool.entry(receipts[0].id)
    results = await asyncio.gather(
        *[commit(spool, octets(60_000)) for _ in range(3)],
        spool.settle(receipts[0].id, delivered(entry)),
        return_exceptions=True,
    )
    assert [type(result) for result in results[:3]] == [SpoolFull] * 3
    assert results[3] == ()
    assert [each.id for each in spool.list()] == [receipt.id for receipt in receipts[1:]]
    databases.last.execute("PRAGMA max_page_count = 1000000")
    await commit(spool, octets(60_000))
    assert spool.count() == 5


async def test_nothing_is_kept_while_the_disk_is_broken_and_everything_once_it_is_well(
    spool: SqliteSpool, databases: Databases, events: list[Event]
) -> None:
    first = await commit(spool)
    databases.last.failing, databases.last.times = "INSERT INTO batch", 1_000_000
    results = await asyncio.gather(*[commit(spool, octets(10)) for _ in range(20)], return_exceptions=True)
    assert {type(result) for result in results} == {SpoolUnavailable}
    assert len({id(result) for result in results}) == 20
    with pytest.raises(SpoolUnavailable):
        await spool.settle(first.id, delivered(spool.entry(first.id)))
    assert spool.count() == 1
    assert len(events) == 1
    databases.last.times = 0
    await asyncio.gather(*[commit(spool, octets(10)) for _ in range(20)])
    await spool.settle(first.id, delivered(spool.entry(first.id)))
    assert spool.count() == len(spool.list()) == 20


async def test_a_checkpoint_that_fails_loses_nothing_and_is_tried_again(
    spool: SqliteSpool, databases: Databases, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(writer, "_LOG_BYTES", 1)
    databases.last.failing, databases.last.times = "PRAGMA wal_checkpoint", 2
    receipts = [await commit(spool) for _ in range(4)]
    assert [entry.id for entry in spool.list()] == [receipt.id for receipt in receipts]
    await spool.close()
    assert databases.last.times == 0
    again = reopened(tmp_path)
    assert [entry.id for entry in again.list()] == [receipt.id for receipt in receipts]
    await again.close()


async def test_a_writer_that_ends_by_a_fault_of_ours_leaves_nobody_waiting(
    spool: SqliteSpool, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    caught = []
    monkeypatch.setattr("threading.excepthook", caught.append)
    await commit(spool)

    def execute(sql: str, *arguments: Any) -> sqlite3.Cursor:
        raise ZeroDivisionError

    databases.last.execute = execute  # type: ignore[method-assign]
    with pytest.raises(SpoolUnavailable, match="has ended"):
        await commit(spool)
    with pytest.raises(SpoolUnavailable, match="has ended"):
        await commit(spool)
    assert [hook.exc_type for hook in caught] == [ZeroDivisionError]
