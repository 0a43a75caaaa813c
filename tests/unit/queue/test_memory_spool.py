"""The spool of the queue's tests keeps the promises of a real one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from contracts.spool_changes_contract import SpoolChangesContract
from contracts.spool_contract import SpoolContract, SteppedClock
from gatepost.spool.spool import Spool
from memory_spool import MemorySpool


@pytest.fixture
def clock() -> SteppedClock:
    """Return a clock that stands still."""
    return SteppedClock()


@pytest.fixture
def spool(clock: SteppedClock) -> Spool:
    """Return an empty spool."""
    return MemorySpool(clock)


@pytest.fixture
def reopen(spool: Spool) -> Callable[[], Awaitable[Spool]]:
    """Return what closes a spool and opens it again; this one has nothing to close."""

    async def again() -> Spool:
        return spool

    return again


class TestMemorySpool(SpoolContract):
    pass


class TestMemorySpoolChanges(SpoolChangesContract):
    """The contract of changes."""
