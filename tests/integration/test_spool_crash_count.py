"""A message that was being tried whenever we died is held at the third time: it may be why."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from contracts.spool_contract import SteppedClock, commit, delivered, envelope, find, settled
from gatepost.model.envelope import MessageId, Receipt
from gatepost.observe.events import Event, MessageHeld
from gatepost.spool.in_flight import IN_FLIGHT_FILE
from gatepost.spool.spool import Draft, Status
from gatepost.spool.sqlite import SqliteSpool


class Lives:
    """A spool that dies and comes back: what a killed process leaves is what the page cache holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.number = 0
        self.events: list[Event] = []
        self.old: list[SqliteSpool] = []
        self.spool = self._open()

    @property
    def path(self) -> Path:
        return self.folder / f"life-{self.number}"

    def _open(self) -> SqliteSpool:
        return SqliteSpool(self.path, clock=SteppedClock(), reserve_bytes=0, emit=self.events.append)

    def die(self) -> None:
        before = self.path
        self.number += 1
        shutil.copytree(before, self.path, ignore=shutil.ignore_patterns("*-shm"))
        self.old.append(self.spool)
        self.events.clear()
        self.spool = self._open()

    async def close(self) -> None:
        for spool in (*self.old, self.spool):
            await spool.close()


@pytest.fixture
async def lives(tmp_path: Path):
    lives = Lives(tmp_path)
    yield lives
    await lives.close()


def crash_in_flight(lives: Lives, *names: Receipt, times: int = 1) -> None:
    for _ in range(times):
        for each in names:
            lives.spool.attempting(each.id)
        lives.die()


async def test_the_third_crash_in_flight_holds_a_message_and_says_so(lives: Lives) -> None:
    guilty, other = await commit(lives.spool), await commit(lives.spool)
    for crashes in (1, 2):
        crash_in_flight(lives, guilty)
        assert find(lives.spool, guilty.id).crashes == crashes
        assert lives.spool.due(float("inf"), 10) == [guilty.id, other.id]
        assert lives.spool.recovered.held == ()
        assert lives.events == []
    crash_in_flight(lives, guilty)
    entry = find(lives.spool, guilty.id)
    assert (entry.crashes, entry.is_held) == (3, True)
    assert lives.spool.due(float("inf"), 10) == [other.id]
    assert lives.spool.recovered.held == (guilty.id,)
    assert lives.events == [MessageHeld(guilty.id, "we died 3 times while it was tried")]
    assert (find(lives.spool, other.id).crashes, find(lives.spool, other.id).is_held) == (0, False)
    # Once said is enough.
    lives.die()
    assert lives.spool.recovered.held == ()
    assert lives.events == []
    assert find(lives.spool, guilty.id).crashes == 3


async def test_a_message_that_landed_is_not_counted(lives: Lives) -> None:
    receipt = await commit(lives.spool)
    lives.spool.attempting(receipt.id)
    lives.spool.attempted(receipt.id)
    lives.die()
    assert find(lives.spool, receipt.id).crashes == 0


async def test_an_attempt_that_comes_to_its_end_forgets_the_crashes(lives: Lives) -> None:
    receipt = await commit(lives.spool)
    crash_in_flight(lives, receipt, times=2)
    await lives.spool.settle(receipt.id, settled(find(lives.spool, receipt.id), Status.PENDING))
    assert find(lives.spool, receipt.id).crashes == 0
    crash_in_flight(lives, receipt, times=2)
    assert (find(lives.spool, receipt.id).crashes, find(lives.spool, receipt.id).is_held) == (2, False)


async def test_who_is_released_gets_all_its_chances_again(lives: Lives) -> None:
    receipt = await commit(lives.spool)
    crash_in_flight(lives, receipt, times=3)
    assert await lives.spool.alter(receipt.id, due=1.0)
    assert find(lives.spool, receipt.id).crashes == 3
    assert await lives.spool.alter(receipt.id, held=False)
    crash_in_flight(lives, receipt, times=2)
    assert (find(lives.spool, receipt.id).crashes, find(lives.spool, receipt.id).is_held) == (2, False)
    assert lives.spool.recovered.held == ()


async def test_a_clean_end_is_no_crash(lives: Lives) -> None:
    receipt = await commit(lives.spool)
    lives.spool.attempting(receipt.id)
    await lives.spool.close()
    assert not (lives.path / IN_FLIGHT_FILE).exists()
    lives.spool = lives._open()
    assert find(lives.spool, receipt.id).crashes == 0


async def test_what_is_gone_or_was_on_hold_is_not_held_again(lives: Lives) -> None:
    gone, held = await commit(lives.spool), await commit(lives.spool)
    for each in (gone, held):
        lives.spool.attempting(each.id)
    lives.spool.attempting(MessageId("0" * 16))
    await lives.spool.settle(gone.id, delivered(find(lives.spool, gone.id)))
    await lives.spool.alter(held.id, held=True)
    for crashes in (1, 2, 3):
        lives.die()
        assert find(lives.spool, held.id).crashes == crashes
        assert lives.events == []
        lives.spool.attempting(held.id)
    assert lives.spool.count() == 1


async def test_holds_and_removals_survive_a_kill(lives: Lives) -> None:
    held, released, dropped = [await commit(lives.spool, b"x" * 100_000) for _ in range(3)]
    await lives.spool.alter(held.id, held=True)
    await lives.spool.alter(released.id, held=True)
    await lives.spool.alter(released.id, held=False, due=5.0)
    bounces = await lives.spool.remove(dropped.id, (Draft(envelope(sender=None), b"dropped"),))
    assert bounces is not None
    while (lives.path / "bodies" / dropped.id).exists():
        await asyncio.sleep(0.01)
    lives.die()
    assert find(lives.spool, held.id).is_held
    assert (find(lives.spool, released.id).is_held, find(lives.spool, released.id).due) == (False, 5.0)
    assert [entry.id for entry in lives.spool.list()] == [held.id, released.id, bounces[0].id]
    assert lives.spool.recovered.lost == ()
    assert {path.name for path in (lives.path / "bodies").iterdir()} == {held.id, released.id}
