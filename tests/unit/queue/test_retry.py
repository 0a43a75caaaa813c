"""When to try again."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.model.envelope import MessageId
from gatepost.queue.retry import Schedule

ID = MessageId("m1")


def test_a_recipient_that_was_never_tried_is_tried_at_once() -> None:
    assert Schedule().next_try(ID, 0, 12.5) == 12.5


@pytest.mark.rfc("5321 §4.5.4.1")
def test_waits_grow_to_more_than_half_an_hour_and_the_last_one_holds() -> None:
    schedule = Schedule()
    waits = [schedule.next_try(ID, attempts, 0.0) for attempts in range(1, 40)]
    expected = [1, 5, 15, 30, 60, 120] + [240] * 33
    assert all(minutes * 60 <= wait <= minutes * 66 for wait, minutes in zip(waits, expected, strict=True))
    assert min(waits[3:]) >= 1800
    assert schedule.deadline(0.0, 0.0) >= 4 * 86_400


@given(st.text(max_size=20), st.integers(1, 1000), st.floats(0, 2e9))
def test_the_same_question_has_the_same_answer_and_it_lies_ahead(name: str, attempts: int, at: float) -> None:
    schedule = Schedule()
    answer = schedule.next_try(MessageId(name), attempts, at)
    assert answer == schedule.next_try(MessageId(name), attempts, at)
    assert at + 59 < answer < at + 4 * 3600 * 1.1 + 1


def test_what_failed_together_does_not_come_back_together() -> None:
    schedule = Schedule()
    times = [schedule.next_try(MessageId(f"m{number}"), 1, 0.0) for number in range(100)]
    assert len(set(times)) > 90
    assert max(times) - min(times) > 3


def test_time_in_which_only_a_route_failed_is_not_counted() -> None:
    schedule = Schedule(give_up_after=timedelta(days=1))
    assert schedule.deadline(100.0, 0.0) == 100.0 + 86_400
    assert schedule.deadline(100.0, 50.0) == 150.0 + 86_400


def test_a_sender_hears_after_some_hours_or_never() -> None:
    assert Schedule().notice_at(100.0) == 100.0 + 4 * 3600
    assert Schedule(delay_notice=timedelta(minutes=1)).notice_at(100.0) == 160.0
    assert Schedule(delay_notice=None).notice_at(100.0) == math.inf


@pytest.mark.parametrize(
    ("waits", "give_up_after", "delay_notice"),
    [
        ((), timedelta(1), None),
        ((timedelta(0),), timedelta(1), None),
        ((timedelta(1),), timedelta(0), None),
        ((timedelta(1),), timedelta(1), timedelta(0)),
    ],
)
def test_a_schedule_that_makes_no_sense_cannot_be_made(
    waits: tuple[timedelta, ...], give_up_after: timedelta, delay_notice: timedelta | None
) -> None:
    with pytest.raises(ValueError, match="longer than nothing"):
        Schedule(waits, give_up_after, delay_notice)
