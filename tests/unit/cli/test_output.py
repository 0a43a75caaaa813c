"""Tables, JSON, and text from outside that must not steer a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.cli.output import print_row, print_rows, printable, remark
from gatepost.model.identity import Secret

ROWS = [
    {"login": "tim", "senders": ("a@b.example", "c@d.example"), "last_used": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)},
    {"login": "eve\n\x1b[2J", "senders": (), "last_used": None, "more": "not asked for"},
]


def test_a_table_is_aligned_and_has_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, ("login", "senders", "last_used"), as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "LOGIN         SENDERS                   LAST USED",
        "tim           a@b.example, c@d.example  2026-01-02 03:04:05Z",
        "eve\\n\\x1b[2J  -                         -",
    ]


def test_json_is_one_array_of_objects_with_just_these_keys(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, ("login", "senders", "last_used"), as_json=True)
    assert json.loads(capsys.readouterr().out) == [
        {"login": "tim", "senders": ["a@b.example", "c@d.example"], "last_used": "2026-01-02T03:04:05+00:00"},
        {"login": "eve\n\x1b[2J", "senders": [], "last_used": None},
    ]


def test_no_rows_are_an_empty_array_or_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows([], ("login",), as_json=True)
    assert json.loads(capsys.readouterr().out) == []
    print_rows([], ("login",), as_json=False)
    assert capsys.readouterr().out == ""


def test_one_record_is_a_line_for_each_value(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "x1", "is_held": False, "facts": {"a": 1}, "secret": Secret(b"geheim")}
    print_row(row, as_json=False)
    assert capsys.readouterr().out == "id       x1\nis held  no\nfacts    a=1\nsecret   ***\n"
    print_row(row, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"id": "x1", "is_held": False, "facts": {"a": 1}, "secret": "***"}


def test_remarks_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    remark("one\ntwo\x07")
    assert capsys.readouterr() == ("", "one\ntwo\\x07\n")


@pytest.mark.parametrize("char", ["\n", "\r", "\x1b", "\x7f", "\x9b", "\u202e", "\u2028", "\udc80", "\u200b"])
def test_what_steers_a_terminal_is_escaped(char: str) -> None:
    assert printable(f"a{char}b").isascii()


def test_other_letters_are_left_alone() -> None:
    assert printable("Bücher 日本 a\u00a0b") == "Bücher 日本 a\u00a0b"


@given(st.text(st.characters()))
def test_whatever_comes_is_one_harmless_line(text: str) -> None:
    assert len(printable(text).splitlines()) <= 1
    printable(text).encode()
