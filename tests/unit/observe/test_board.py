"""Numbers in shared memory: one row a process, sums over all, and nothing falls when a process is replaced."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from gatepost.observe import board as boards
from gatepost.observe.board import Board


def test_series_are_summed_over_all_rows() -> None:
    board = Board(2)
    for number in (0, 1, board.parent):
        row = board.row(number)
        row.values[row.place(("a", "x"))] += number + 1
    row.values[row.place(("b",))] += 0.5
    assert board.totals() == {("",): 0.0, ("a", "x"): 6.0, ("b",): 0.5}


def test_a_place_stays_the_same() -> None:
    row = Board(1).row(0)
    places = [row.place((name,)) for name in "abcab"]
    assert places == [1, 2, 3, 1, 2]


def test_a_block_lies_together_and_is_found_by_its_first() -> None:
    row = Board(1).row(0)
    first = row.place(("h", "1"), ("h", "2"), ("h", "sum"))
    assert row.place(("next",)) == first + 3
    assert row.place(("h", "1"), ("h", "2"), ("h", "sum")) == first
    assert list(row.read()) == [("h", "1"), ("h", "2"), ("h", "sum"), ("next",)]


def test_a_process_that_takes_the_place_of_another_goes_on_with_its_numbers() -> None:
    board = Board(1)
    old = board.row(0)
    old.values[old.place(("a",))] += 7
    new = board.row(0)
    new.values[new.place(("b",))] += 1
    new.values[new.place(("a",))] += 1
    assert board.totals() == {("",): 0.0, ("a",): 8.0, ("b",): 1.0}


def test_a_name_that_was_half_written_at_a_kill_is_written_over() -> None:
    board = Board(1)
    old = board.row(0)
    old.values[old.place(("a",))] += 1
    old._names[6:40] = b'["half a na' + b"x" * 23  # after ["a"] and its newline, uncounted
    new = board.row(0)
    new.values[new.place(("b",))] += 2
    assert board.totals() == {("",): 0.0, ("a",): 1.0, ("b",): 2.0}


def test_what_a_forked_process_counts_is_seen_here_even_if_it_is_killed() -> None:
    board = Board(1)
    child = os.fork()
    if child == 0:
        row = board.row(0)
        row.values[row.place(("a",))] += 3
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert board.totals()["a",] == 3.0


def test_what_finds_no_place_is_counted_as_such() -> None:
    row = (board := Board(1)).row(0)
    for number in range(boards._SERIES + 10):
        row.values[row.place((f"s{number}",))] += 1
    totals = board.totals()
    assert totals["",] == 11.0
    assert sum(totals.values()) == boards._SERIES + 10
    assert row.place(("h", "1"), ("h", "2")) == 0


def test_long_names_take_no_more_than_there_is() -> None:
    row = (board := Board(2)).row(0)
    for number in range(200):
        row.place((f"{number}" + "x" * 1000,))
    assert row.place(("one more" + "x" * 1000,)) == 0
    assert len(board.row(0).read()) < 200
    assert board.row(1).read() == {}


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=20))
def test_any_label_comes_back_as_it_was(names: list[tuple[str, str]]) -> None:
    board = Board(1)
    row = board.row(0)
    for name in names:
        row.values[row.place(("m", *name))] += 1
    totals = board.totals()
    assert {series[1:]: value for series, value in totals.items() if series[0] == "m"} == {
        name: float(names.count(name)) for name in set(names)
    }
