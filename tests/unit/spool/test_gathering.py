"""When a batch goes: as soon as nobody else comes, and never much later."""

from __future__ import annotations

import asyncio

import pytest

from gatepost.spool.change import Change
from gatepost.spool.gathering import Gathering
from stopwatch import Stopwatch


class Batches:
    """Takes batches and notes how large they are."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.gathering = Gathering(self.take)

    def take(self, batch: list[Change]) -> None:
        self.sizes.append(len(batch))

    def add(self, *, can_wait: bool = False) -> None:
        self.gathering.add(Change(asyncio.get_running_loop().create_future()), can_wait=can_wait)

    async def until(self, number: int) -> None:
        async with asyncio.timeout(60):
            while len(self.sizes) < number:
                await asyncio.sleep(0.0005)


@pytest.fixture
async def batches() -> Batches:
    """Return an empty one."""
    asyncio.get_running_loop().set_debug(False)
    return Batches()


async def test_a_message_alone_goes_at_once(batches: Batches) -> None:
    batches.add()
    for _ in range(5):
        await asyncio.sleep(0)
    await batches.until(1)
    assert batches.sizes == [1]


async def test_what_comes_in_the_same_turns_of_the_loop_goes_together(batches: Batches) -> None:
    for _ in range(10):
        batches.add()
    await batches.until(1)
    assert batches.sizes == [10]


async def test_a_message_waits_a_moment_for_one_that_is_being_sent(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.spool.gathering._COMPANY_SECONDS", 30.0)
    monkeypatch.setattr("gatepost.spool.gathering._GATHERING_SECONDS", 60.0)
    batches.gathering.expect(1)
    batches.add()
    await asyncio.sleep(0.0005)
    assert batches.sizes == []
    batches.gathering.expect(-1)
    batches.add()
    await batches.until(1)
    assert batches.sizes == [2]


async def test_it_waits_no_longer_than_that(batches: Batches) -> None:
    batches.gathering.expect(1)
    with Stopwatch() as watch:
        batches.add()
        await batches.until(1)
        assert watch.seconds < 0.5
    assert batches.sizes == [1]
    # And the next one waits again, from its own beginning.
    batches.add()
    await batches.until(2)
    assert batches.sizes == [1, 1]


async def test_who_was_expected_and_never_came_is_not_waited_for(batches: Batches) -> None:
    batches.gathering.expect(1)
    batches.gathering.expect(-1)
    batches.add()
    await batches.until(1)
    assert batches.sizes == [1]


async def test_results_of_deliveries_wait_for_a_message_or_for_each_other(
    batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatepost.spool.gathering._RIDE_ALONG_SECONDS", 30.0)
    batches.add(can_wait=True)
    batches.add(can_wait=True)
    await asyncio.sleep(0.002)
    assert batches.sizes == []
    batches.add()
    await batches.until(1)
    assert batches.sizes == [3]
    for _ in range(8):
        batches.add(can_wait=True)
    await batches.until(2)
    assert batches.sizes == [3, 8]


async def test_results_of_deliveries_do_not_wait_for_long(batches: Batches) -> None:
    batches.add(can_wait=True)
    await batches.until(1)
    assert batches.sizes == [1]


async def test_what_is_handed_over_early_goes_once(batches: Batches) -> None:
    batches.gathering.expect(1)
    batches.add()
    batches.gathering.hand_over()
    batches.gathering.hand_over()
    await asyncio.sleep(0.01)
    assert batches.sizes == [1]
