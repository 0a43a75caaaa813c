"""Comments: where they end, and what is left without them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.comments import end_of_comment, without_comments


@pytest.mark.rfc("5322 §3.2.2")
@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("()", 2),
        ("(a)b", 3),
        ("(a(b)c)d", 7),
        ("((()))", 6),
        (r"(\))", 4),
        (r"(\()", 4),
        (r"(a\\)b", 5),
        ('(")', 3),
        ("(", None),
        ("(a(b)", None),
        (r"(\)", None),
        ("(a\\", None),
    ],
)
def test_a_comment_ends_at_its_own_bracket(text: str, end: int | None) -> None:
    assert end_of_comment(text, 0) == end


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("", ""),
        ("a", "a"),
        ("a(b)c", "a c"),
        ("(b)", " "),
        ("a (b(c)) d (e)", "a   d  "),
        ("a)", "a)"),
        ("a(b", None),
        ("a(b)(c", None),
    ],
)
def test_each_comment_leaves_a_space(text: str, bare: str | None) -> None:
    assert without_comments(text) == bare


@given(st.text('()\\a "') | st.text())
def test_nothing_in_brackets_is_left(text: str) -> None:
    bare = without_comments(text)
    assert bare is None or "(" not in bare


@pytest.mark.parametrize("text", ["(" * 200_000, "(" * 100_000 + ")" * 100_000, "(\\" * 100_000, "()" * 100_000])
def test_hostile_comments_cost_no_more_than_their_length(text: str) -> None:
    start = time.process_time()
    without_comments(text)
    assert time.process_time() - start < 1
