"""What `make timing` says of the times it took: whoever is apart is named, and noise is not."""

from __future__ import annotations

import random

import pytest

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


@pytest.mark.parametrize("noisy", [REFERENCE, "other"])
def test_a_class_is_not_judged_by_less_than_it_or_the_reference_is_from_itself(noisy: str) -> None:
    times = {REFERENCE: [0.030] * 200, "other": [0.0315] * 200}
    assert judge(times, REFERENCE)[1].is_apart
    times[noisy] = _times(times[noisy][0], 0.020, 200)
    by_name = {each.name: each for each in judge(times, REFERENCE)}
    assert by_name[noisy].from_itself > 0.05
    assert not by_name["other"].is_apart


def test_noise_that_all_classes_share_sets_none_apart() -> None:
    chance = random.Random(11)
    times = {name: [0.010 + chance.expovariate(300) for _ in range(500)] for name in (REFERENCE, *"abcdefghijk")}
    assert not [each.name for each in judge(times, REFERENCE) if each.is_apart]


def test_the_outer_times_are_shown() -> None:
    (only,) = judge({REFERENCE: [number / 1000 for number in range(101)]}, REFERENCE)
    assert (only.p5, only.median, only.p95, only.count) == (0.005, 0.05, 0.095, 101)
