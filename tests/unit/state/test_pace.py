"""The pace of a provider, counted by hand: no limit is broken however deliveries come."""

from __future__ import annotations

import itertools
import random
import struct
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatepost.state.pace import Pace, PaceLimits
from gatepost.state.pace_file import SLOT_BYTES, PaceFile

START = 1_700_000_000.0
DAY = 86_400.0


def pace(file: PaceFile | None = None, **limits: Any) -> Pace:
    return Pace(file or memory(), PaceLimits("some", **limits))


def memory() -> PaceFile:
    """Return slots that lie in no file."""
    return PaceFile(Path("/nowhere"))


def send(paces: list[Pace], seconds: float, *, recipients: int = 1, start: float = START) -> list[float]:
    """Send as fast as it goes for so long, workers in turn; return when each delivery went."""
    now, went = start, []
    while now < start + seconds:
        waits = []
        for each in paces:
            wait = each.take(recipients, now)
            if not wait:
                went.append(now)
            waits.append(wait)
        now += max(min(waits), 1e-4)
    return went


def most_in(times: list[float], seconds: float) -> int:
    """Return how many lie within any *seconds*."""
    window: deque[float] = deque()
    most = 0
    for time in times:
        window.append(time)
        while window[0] <= time - seconds:
            window.popleft()
        most = max(most, len(window))
    return most


@pytest.mark.parametrize(("limit", "window"), [(1, 1.0), (14, 1.0), (500, 1.0), (1, 60.0), (30, 60.0), (1000, 60.0)])
def test_a_limit_is_kept_in_every_window_and_nearly_used(limit: int, window: float) -> None:
    file = memory()
    two = [pace(file, per_second=limit / window, window=window) for _ in range(2)]
    went = send(two, 10 * window)
    assert 8 * limit <= len(went) <= 10 * limit
    assert most_in(went, window) <= limit


def test_deliveries_go_evenly_and_an_idle_hour_saves_nothing_up() -> None:
    one = pace(per_second=0.5, window=60.0)
    assert send([one], 1) == [START]
    went = send([one], 60, start=START + 3600)
    gaps = [later - earlier for earlier, later in itertools.pairwise(went)]
    assert min(gaps) >= 1 / 0.45 - 1.2 - 0.001
    assert sum(gaps) / len(gaps) == pytest.approx(1 / 0.45, rel=0.05)


def test_what_is_late_at_the_provider_breaks_no_limit() -> None:
    chance = random.Random(7)
    went = send([pace(per_second=0.5, window=60.0)], 3600)
    arrived = sorted(time + chance.random() * 3 for time in went)
    assert most_in(arrived, 60) <= 30


def test_recipients_are_what_some_count() -> None:
    one = pace(per_second=10, counts_recipients=True, recipients_per_message=50)
    went = send([one], 100, recipients=5)
    assert 150 <= len(went) <= 200
    assert len(send([pace(per_second=10, recipients_per_message=50)], 100, recipients=5)) > 850


def test_a_delivery_in_several_messages_counts_as_several() -> None:
    assert len(send([pace(per_second=1, recipients_per_message=10)], 100, recipients=25)) <= 34


def test_without_a_limit_nothing_waits() -> None:
    one = pace()
    assert [one.take(100, START) for _ in range(1000)] == [0.0] * 1000
    assert one.per_minute(START) is None


def test_a_day_holds_in_any_24_hours() -> None:
    file = memory()
    two = [pace(file, messages_per_day=100) for _ in range(2)]
    now, went = START, []
    while now < START + 3 * DAY:
        went += [now for each in two for _ in range(10) if not each.take(1, now)]
        now += 600
    assert most_in(went, DAY) <= 100
    assert len(went) >= 295


def test_recipients_of_a_day_count_apart_from_its_messages() -> None:
    one = pace(messages_per_day=100, recipients_per_day=10)
    assert one.take(6, START) == 0
    assert one.take(5, START) > 0
    assert one.take(4, START) == 0
    assert one.take(1, START) > 0


def test_a_delivery_larger_than_the_day_goes_when_the_day_is_empty() -> None:
    one = pace(recipients_per_day=10)
    assert one.take(50, START) == 0
    assert one.take(1, START + DAY - 1000) > 0
    assert one.take(50, START + DAY + 1000) == 0


def test_what_reached_nobody_is_given_back() -> None:
    one = pace(messages_per_day=2)
    assert [one.take(1, START), one.take(1, START)] == [0, 0]
    assert one.take(1, START) > 0
    one.give_back(1, START)
    assert one.take(1, START) == 0
    for _ in range(10):
        one.give_back(1, START)
    assert [one.take(1, START), one.take(1, START)] == [0, 0]
    assert one.take(1, START) > 0


def test_too_fast_halves_the_pace_and_it_comes_back_slowly() -> None:
    one = pace(per_second=10)
    assert one.per_minute(START) == pytest.approx(540)
    assert one.slow_down(START, START + 1) == 2
    assert one.per_minute(START + 1) == pytest.approx(270)
    assert one.take(1, START + 2) == pytest.approx(1)
    assert one.take(1, START + 3) == 0
    assert one.per_minute(START + 151) == pytest.approx(270 * 2**0.5)
    assert one.per_minute(START + 302) == pytest.approx(540)
    went = send([one], 60, start=START + 1000)
    assert 530 <= len(went) <= 545


def test_what_was_on_its_way_slows_it_down_once() -> None:
    file = memory()
    one, other = pace(file, per_second=10), pace(file, per_second=10)
    assert one.slow_down(START, START + 1) == 2
    assert other.slow_down(START + 0.5, START + 2) == 1
    assert one.per_minute(START + 2) == pytest.approx(270, rel=0.01)


def test_the_pause_grows_while_it_comes_again_and_is_forgotten_after() -> None:
    one = pace(per_second=10)
    now, holds = START, []
    for _ in range(12):
        hold = one.slow_down(now, now + 0.1)
        holds.append(hold)
        now += hold + 0.2
    assert holds == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    assert one.per_minute(now) is not None
    assert one.per_minute(now) >= 1  # type: ignore[operator]
    assert one.slow_down(now + 1000, now + 1001) == 2


def test_without_a_limit_half_of_what_went_lately_is_where_it_begins() -> None:
    one = pace()
    for number in range(200):
        assert one.take(1, START + number / 20) == 0
    one.slow_down(START + 9, START + 10)
    assert one.per_minute(START + 10) == pytest.approx(600, rel=0.1)
    assert len(send([one], 10, start=START + 12)) == pytest.approx(100, rel=0.15)
    assert one.per_minute(START + 4000) is None
    assert len(send([one], 0.01, start=START + 4000)) > 10


def test_others_without_a_limit_hear_of_it() -> None:
    file = memory()
    one, other = pace(file), pace(file)
    assert one.take(1, START) == other.take(1, START) == 0
    one.slow_down(START, START + 1)
    assert other.take(1, START + 2) == pytest.approx(1)


def test_a_clock_that_is_put_back_stops_nothing_for_long() -> None:
    one = pace(per_second=1, messages_per_day=10)
    assert one.take(1, START) == 0
    one.slow_down(START, START + 1)
    for back in (3600.0, 3 * DAY):
        assert one.take(1, START - back) == 0


def test_each_has_a_slot_of_its_own_and_the_longest_unused_goes_when_there_are_too_many() -> None:
    file = memory()
    several = [Pace(file, PaceLimits(f"s{number}", messages_per_day=1)) for number in range(300)]
    for number, each in enumerate(several):
        assert each.take(1, START + number) == 0
    # Those whose slot went begin anew, and write into nobody else's.
    assert several[299].take(1, START + 300) > 0
    assert several[0].take(1, START + 301) == 0
    assert several[0].take(1, START + 301) > 0
    assert several[299].take(1, START + 302) > 0


@settings(max_examples=200, deadline=None)
@given(
    octets=st.binary(min_size=SLOT_BYTES - 24, max_size=SLOT_BYTES - 24),
    special=st.sampled_from([None, float("nan"), float("inf"), -float("inf"), 1e308, -1.0]),
)
def test_a_damaged_slot_neither_raises_nor_stops_the_route_for_ever(octets: bytes, special: float | None) -> None:
    file = memory()
    one = pace(file, per_second=1, messages_per_day=10)
    one.take(1, START)
    slot = file.slot(b"some", START)
    if special is not None:
        octets = struct.pack("=5d", *[special] * 5) + octets[40:]
    file.memory[slot + 24 : slot + SLOT_BYTES] = octets
    now = START
    for _ in range(400):
        wait = one.take(1, now)
        assert 0 <= wait <= 2 * DAY
        if not wait:
            break
        now += wait
    else:
        pytest.fail("it never goes")
    one.slow_down(now, now + 1)
    one.give_back(1, now)
    rate = one.per_minute(now + 2)
    assert rate is not None
    assert 0 < rate <= 60
