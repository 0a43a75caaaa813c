"""Group commit, memory, and room given back."""

from __future__ import annotations

import asyncio
import gc
import itertools
import sqlite3
import tracemalloc
from pathlib import Path

import pytest

from contracts.spool_contract import PREFIX, SteppedClock, commit, delivered, envelope
from gatepost.spool import writer
from gatepost.spool.schema import connect_writer
from gatepost.spool.sqlite import SqliteSpool

MIB = 1 << 20


def count_commits(folder: Path, statements: list[str]) -> SqliteSpool:
    def connect(path: Path) -> sqlite3.Connection:
        connection = connect_writer(path)
        connection.set_trace_callback(statements.append)
        return connection

    return SqliteSpool(folder, clock=SteppedClock(), reserve_bytes=0, connect=connect)


def transactions(statements: list[str]) -> int:
    """Count those that wrote messages: a batch by itself is one, too, and told of once more for each trigger in it."""
    count, is_inside = 0, False
    for each, _ in itertools.groupby(statements):
        if each.startswith("BEGIN"):
            is_inside = True
        elif each == "COMMIT":
            count, is_inside = count + 1, False
        elif each.startswith("INSERT INTO batch") and not is_inside:
            count += 1
    return count


async def test_many_at_once_are_one_transaction(tmp_path: Path) -> None:
    statements: list[str] = []
    spool = count_commits(tmp_path, statements)
    statements.clear()
    receipts = await asyncio.gather(*[commit(spool) for _ in range(200)])
    assert transactions(statements) == 1
    statements.clear()
    await asyncio.gather(*[spool.settle(each.id, delivered(spool.entry(each.id))) for each in receipts])
    assert transactions(statements) == 1
    assert spool.count() == 0
    await spool.close()


async def test_a_stream_of_messages_shares_its_commits(tmp_path: Path) -> None:
    statements: list[str] = []
    spool = count_commits(tmp_path, statements)
    statements.clear()

    async def sender() -> None:
        for _ in range(20):
            await commit(spool)

    await asyncio.gather(*[sender() for _ in range(32)])
    assert spool.count() == 640
    assert 20 <= transactions(statements) <= 160
    await spool.close()


async def test_memory_does_not_grow_with_the_message(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path, clock=SteppedClock(), reserve_bytes=0)
    await commit(spool, bytes(MIB))
    piece = bytes(65536)
    tracemalloc.start()
    try:
        start, _ = tracemalloc.get_traced_memory()
        incoming = spool.begin()
        for _ in range(50 * MIB // len(piece)):
            incoming.write(piece)
            if incoming.backlog_bytes > 262_144:
                await incoming.drain()
        receipt = await incoming.commit(envelope(), PREFIX)
        entry = spool.entry(receipt.id)
        assert entry is not None
        async with spool.content(entry) as content:
            assert content.inline is None
            size = 0
            async for chunk in content.chunks():
                size += len(chunk)
        assert size == content.size_bytes == receipt.size_bytes == 50 * MIB + len(PREFIX)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - start < 3 * MIB
    await spool.close()


async def test_memory_does_not_grow_with_the_number_of_messages(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path, clock=SteppedClock(), reserve_bytes=0)
    used = []
    tracemalloc.start()
    try:
        for _ in range(4):
            await asyncio.gather(*[commit(spool) for _ in range(300)])
            spool.due(float("inf"), 100)
            spool.next_due()
            gc.collect()
            used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # After the first 600 nothing is added; 600 entries alone would take half a megabyte.
    assert used[3] - used[1] < 100 << 10
    await spool.close()


async def test_the_log_is_written_back_and_room_is_given_back_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_QUIET", 0.001)
    monkeypatch.setattr(writer, "_FREE_PAGES", 100)
    spool = SqliteSpool(tmp_path, clock=SteppedClock(), reserve_bytes=0)
    database = tmp_path / "spool.db"
    receipts = await asyncio.gather(*[commit(spool, bytes(60_000)) for _ in range(400)])
    async with asyncio.timeout(60):
        while database.stat().st_size < 20 * MIB:
            await asyncio.sleep(0.001)
    await asyncio.gather(*[spool.settle(each.id, delivered(spool.entry(each.id))) for each in receipts])
    async with asyncio.timeout(60):
        while database.stat().st_size > MIB:
            await asyncio.sleep(0.001)
    await spool.close()
    assert database.stat().st_size < MIB


async def test_the_log_stays_short_under_load(tmp_path: Path) -> None:
    spool = SqliteSpool(tmp_path, clock=SteppedClock(), reserve_bytes=0)
    for _ in range(100):
        await asyncio.gather(*[commit(spool, bytes(60_000)) for _ in range(10)])
    assert (tmp_path / "spool.db-wal").stat().st_size < 32 * MIB
    await spool.close()
