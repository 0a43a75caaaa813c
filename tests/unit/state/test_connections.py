"""The connections of all workers, in one table: what each sees of the others."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.state.connections import Column, ConnectionTable


def columns(workers: int) -> list[Column]:
    table = ConnectionTable(workers)
    return [table.column(number) for number in range(workers)]


def test_a_worker_sees_what_the_others_have() -> None:
    first, second, third = columns(3)
    for _ in range(5):
        first.enter("192.0.2.1")
    second.enter("192.0.2.1")
    second.enter("192.0.2.2")
    assert third.elsewhere("192.0.2.1", 0) == 6
    assert first.elsewhere("192.0.2.1", 0) == 1
    assert second.elsewhere("192.0.2.1", 0) == 5
    assert first.elsewhere("192.0.2.2", 0) == 1
    assert first.elsewhere("192.0.2.3", 0) == 0
    assert {each.total for each in (first, second, third)} == {7}


def test_what_left_is_counted_no_more() -> None:
    first, second = columns(2)
    first.enter("192.0.2.1")
    first.enter("192.0.2.1")
    first.leave("192.0.2.1")
    assert second.elsewhere("192.0.2.1", 0) == 1
    first.leave("192.0.2.1")
    assert second.elsewhere("192.0.2.1", 0) == 0
    assert second.total == 0


def test_a_worker_that_is_alone_has_no_others() -> None:
    (only,) = columns(1)
    only.enter("192.0.2.1")
    assert only.is_alone
    assert only.total == 1
    assert only.elsewhere("192.0.2.1", 0) == 0


def test_a_new_worker_of_the_same_number_begins_with_nothing() -> None:
    table = ConnectionTable(2)
    first, second = table.column(0), table.column(1)
    first.enter("192.0.2.1")
    second.enter("192.0.2.1")
    assert first.arrive("192.0.2.1", 5.0, 1)
    again = table.column(0)
    assert second.elsewhere("192.0.2.1", 0) == 0
    assert again.elsewhere("192.0.2.1", 0) == 1
    assert again.total == 1
    assert again.arrive("192.0.2.1", 5.0, 1)


def test_the_end_of_a_worker_can_be_told_by_whoever_sees_it() -> None:
    table = ConnectionTable(2)
    first, second = table.column(0), table.column(1)
    for _ in range(3):
        first.enter("192.0.2.1")
    second.enter("192.0.2.1")
    table.clear(0)
    assert second.total == 1
    assert second.elsewhere("192.0.2.1", 0) == 0


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.booleans()), max_size=200))
def test_counts_are_never_too_small(steps: list[tuple[int, int, bool]]) -> None:
    workers = columns(3)
    open_: dict[tuple[int, str], int] = {}
    for number, host, enters in steps:
        network = f"192.0.2.{host}"
        known = open_.get((number, network), 0)
        if enters:
            workers[number].enter(network)
        elif known:
            workers[number].leave(network)
        else:
            continue
        open_[number, network] = known + (1 if enters else -1)
    for number, host in product(range(3), range(41)):
        network = f"192.0.2.{host}"
        elsewhere = sum(open_.get((other, network), 0) for other in range(3) if other != number)
        assert workers[number].elsewhere(network, 0) >= elsewhere
        # One that shares its cells is a chance of one in four thousand million.
        assert workers[number].elsewhere(network, 0) == elsewhere
    assert workers[0].total == sum(open_.values())


def test_a_network_that_shares_one_cell_is_told_apart_by_the_other() -> None:
    first, second = columns(2)
    crowd = [f"2001:db8:0:{number:x}::/64" for number in range(3000)]
    for each in crowd:
        first.enter(each)
    ones, others = (set(cells) for cells in zip(*map(first._open_cells, crowd), strict=True))
    sharing = next(
        name
        for name in (f"192.0.2.{number // 256}.{number % 256}" for number in range(1_000_000))
        if (cells := first._open_cells(name))[0] in ones and cells[1] not in others
    )
    assert second.elsewhere(sharing, 0) == 0
    assert second.elsewhere(sharing, 5) > 0  # few enough as it is, so nobody looked twice


def test_so_many_may_come_in_a_minute_over_all_workers() -> None:
    first, second = columns(2)
    came = [each.arrive("192.0.2.1", 600.0, 10) for each in (first, second) * 6]
    assert came == [True] * 10 + [False] * 2
    assert first.arrive("192.0.2.2", 600.0, 10)


def test_what_was_not_let_in_does_not_count() -> None:
    (only,) = columns(1)
    assert only.arrive("192.0.2.1", 0.0, 1)
    assert not any(only.arrive("192.0.2.1", 0.0, 1) for _ in range(100))
    assert only.arrive("192.0.2.1", 0.0, 2)


def test_the_minute_before_counts_less_and_less() -> None:
    (only,) = columns(1)
    for _ in range(60):
        assert only.arrive("192.0.2.1", 59.0, 60)
    assert not only.arrive("192.0.2.1", 60.0, 60)  # one second later, all of them count
    assert not only.arrive("192.0.2.1", 60.5, 60)
    let_in = sum(only.arrive("192.0.2.1", 90.0, 60) for _ in range(60))
    assert let_in == 30
    assert sum(only.arrive("192.0.2.1", 180.0, 60) for _ in range(70)) == 60


@pytest.mark.parametrize("seconds", [120.0, 125.0, 1e6, 1e9])
def test_older_minutes_do_not_count(seconds: float) -> None:
    first, second = columns(2)
    for each in (first, second):
        assert each.arrive("192.0.2.1", 59.0, 2)
    assert first.arrive("192.0.2.1", seconds, 1)
    assert not second.arrive("192.0.2.1", seconds, 1)


@given(st.lists(st.floats(0, 30), min_size=1, max_size=300), st.integers(1, 20))
def test_no_minute_of_the_clock_sees_more_than_the_limit(pauses: list[float], limit: int) -> None:
    (only,) = columns(1)
    now, minutes = 0.0, {}
    for pause in pauses:
        now += pause
        if only.arrive("192.0.2.1", now, limit):
            minutes[int(now / 60)] = minutes.get(int(now / 60), 0) + 1
    assert minutes
    assert max(minutes.values()) <= limit
