"""What `make timing` says of the times it took: whoever is apart is named, and noise is not."""

from __future__ import annotations

import random

from timing.judging import judge, table

REFERENCE = "wrong secret"


def _times(middle: float, spread: float, count: int = 500, seed: int = 7) -> list[float]:
    chance = random.Random(seed)
    return [middle + chance.uniform(-spread, spread) for _ in range(count)]


def test_a_class_that_answers_sooner_is_apart_and_one_that_only_varies_is_not() -> None:
    times = {
        REFERENCE: _times(0.030, 0.002),
        "expired": _times(0.028, 0.002, seed=8),
        "unknown": _times(0.030, 0.002, seed=9),
        "late": _times(0.032, 0.002, seed=10),
    }
    verdicts = judge(times, REFERENCE)
    assert [each.name for each in verdicts if each.is_apart] == ["expired", "late"]
    said = table("PLAIN", verdicts, REFERENCE)
    assert said.count("APART") == 2
    assert "| wrong secret | 500 |" in said


def test_the_bar_is_three_parts_of_a_hundred_of_the_reference() -> None:
    for middle, is_apart in ((0.0308, False), (0.0312, True), (0.0292, False), (0.0288, True)):
        (_, other) = judge({REFERENCE: [0.030] * 10, "other": [middle] * 10}, REFERENCE)
        assert other.is_apart is is_apart


def test_a_class_that_is_further_from_itself_is_not_judged_by_less() -> None:
    (_, noisy) = judge({REFERENCE: [0.030] * 10, "noisy": [0.030, 0.034] * 5}, REFERENCE)
    assert noisy.from_itself > noisy.distance > 0.03
    assert not noisy.is_apart


def test_the_outer_times_are_shown() -> None:
    (only,) = judge({REFERENCE: [number / 1000 for number in range(101)]}, REFERENCE)
    assert (only.p5, only.median, only.p95, only.count) == (0.005, 0.05, 0.095, 101)
