"""The SQLite spool keeps the promises of a spool."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.spool_changes_contract import SpoolChangesContract
from contracts.spool_contract import Reopen, SpoolContract, SteppedClock
from gatepost.spool.sqlite import SqliteSpool


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def spool(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[SqliteSpool]:
    spool = SqliteSpool(tmp_path / "spool", clock=clock, reserve_bytes=0)
    yield spool
    await spool.close()
    # Nothing is left behind: no body without a row, and no log beside the database.
    again = SqliteSpool(tmp_path / "spool", clock=clock, reserve_bytes=0)
    assert again.recovered.removed == 0
    assert again.recovered.lost == ()
    await again.close()
    assert {path.name for path in (tmp_path / "spool").iterdir()} == {"spool.db", "bodies", "lock"}


@pytest.fixture
async def reopen(tmp_path: Path, clock: SteppedClock, spool: SqliteSpool) -> AsyncIterator[Reopen]:
    opened = []

    async def close_and_open() -> SqliteSpool:
        await spool.close()
        opened.append(SqliteSpool(tmp_path / "spool", clock=clock, reserve_bytes=0))
        return opened[-1]

    yield close_and_open
    for each in opened:
        await each.close()


class TestSqliteSpool(SpoolContract):
    """The contract, on SQLite."""


class TestSqliteSpoolChanges(SpoolChangesContract):
    """The contract of changes."""
