"""How strong a chosen secret is: what is common counts little, what is not counts by its characters."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.strength import bits


@pytest.mark.parametrize(
    "common", ["password", "P@ssw0rd", "qwertyuiop", "poiuytrewq", "abcdefghij", "987654321", "2024"]
)
def test_what_is_common_counts_as_one_choice_however_long(common: str) -> None:
    assert bits(common) <= 9


def test_what_was_there_before_counts_little() -> None:
    once = bits("xkwqvd")
    assert bits("xkwqvd" * 3) <= once + 6
    assert bits("z" * 40) <= bits("zz") + 3


def test_random_letters_count_each() -> None:
    assert bits("kfjwpqmzhtbv") == pytest.approx(12 * math.log2(26))
    assert bits("kFjw7qm-htbv") == pytest.approx(12 * math.log2(26 + 26 + 10 + 20))


@given(st.text(max_size=200))
def test_any_text_has_a_measure(secret: str) -> None:
    assert 0 <= bits(secret) <= 10 * len(secret.casefold())


def test_a_very_long_one_is_measured_at_once() -> None:
    assert bits("ab1" * 1365) < 60
