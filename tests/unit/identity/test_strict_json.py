"""JSON that decides who comes in is read in one way or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from gatepost.identity.strict_json import parse_json


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b'{"a": {"b": 1}, "c": [{"b": 1}, {"b": 2}]}', {"a": {"b": 1}, "c": [{"b": 1}, {"b": 2}]}),
        ('{"ä": "\\u00e4"}'.encode(), {"ä": "ä"}),
        (b"null", None),
        ('{"a": 1}'.encode("utf-8-sig"), {"a": 1}),
    ],
)
def test_what_can_be_read_in_one_way_is_read(octets: bytes, found: Any) -> None:
    assert parse_json(octets) == found


@pytest.mark.rfc("8259 §4")
@pytest.mark.parametrize(
    "octets",
    [
        b'{"active": false, "active": true}',
        b'{"a": 1, "\\u0061": 1}',
        b'{"a": [{"b": 1, "b": 1}]}',
    ],
)
def test_a_name_that_stands_twice_makes_it_none(octets: bytes) -> None:
    with pytest.raises(ValueError, match="has a key twice"):
        parse_json(octets)


@pytest.mark.rfc("8259 §8.1")
@pytest.mark.parametrize(
    ("octets", "problem"),
    [
        ('{"a": 1}'.encode("utf-16"), "is no JSON"),
        (b'{"a": "\xff"}', "is no JSON"),
        (b"", "is no JSON"),
        (b"{} {}", "is no JSON"),
        (b"1" * 5000, "is no JSON"),
        (b"[" * 100_000, "is nested too deeply"),
    ],
)
def test_what_is_no_json_in_utf_8_is_told_so(octets: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_json(octets)
