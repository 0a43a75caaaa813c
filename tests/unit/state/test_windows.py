"""Windows that slide: what counts, for how long, and when there is room again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.state.windows import MESSAGES, RECIPIENTS, Shortage, Want, Window, add_up, shortage_of

USED = st.dictionaries(st.integers(0, 12), st.integers(1, 20), max_size=8)


@pytest.mark.parametrize(("window", "seconds"), [(RECIPIENTS, 86_400.0), (MESSAGES, 60.0)])
@given(then=st.floats(1e9, 2e9), later=st.floats(0.0, 1.3))
def test_what_was_used_counts_for_the_window_and_a_slice_more_at_most(
    window: Window, seconds: float, then: float, later: float
) -> None:
    used = {window.slice(then): 1}
    now = then + later * seconds
    if now < then + seconds:
        assert window.current(used, now) == used
    if now > then + seconds + window.slice_seconds:
        assert window.current(used, now) == {}


def test_a_slice_far_ahead_does_not_count() -> None:
    assert RECIPIENTS.current({1: 5, 2: 6}, 0.0) == {1: 5}


@given(USED, USED)
def test_sums_are_made_slice_by_slice(one: dict[int, int], other: dict[int, int]) -> None:
    assert sum(add_up(one, other).values()) == sum(one.values()) + sum(other.values())
    assert add_up(one, {part: -amount for part, amount in one.items()}) == {}


@given(USED, st.integers(1, 30), st.integers(1, 60))
def test_after_the_wait_there_is_room_and_a_moment_before_not(used: dict[int, int], amount: int, limit: int) -> None:
    now = 65.0
    want = Want(MESSAGES, amount, limit)
    shortage = shortage_of(want, used, now)
    assert shortage.want is want
    assert 0 < shortage.seconds <= 80.0

    def fits(at: float) -> bool:
        return sum(MESSAGES.current({k: v for k, v in used.items() if k <= 7}, at).values()) + amount <= limit

    if amount <= limit and not fits(now):
        assert fits(now + shortage.seconds)
        assert not fits(now + shortage.seconds - 0.001)


def test_what_is_more_than_ever_fits_waits_for_an_empty_window() -> None:
    want = Want(RECIPIENTS, 11, 10)
    assert shortage_of(want, {}, 0.0) == Shortage(want, 25 * 3600.0)
