"""Dates: those of the grammar, old and new, and those that are none."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.message.date import format_date, is_date

GOOD = [
    "Fri, 21 Nov 1997 09:55:06 -0600",
    "Tue, 1 Jul 2003 10:52:37 +0200",
    "Thu, 13 Feb 1969 23:32:54 -0330",
    "Mon, 24 Nov 1997 14:22:01 -0800",
    "21 Nov 1997 09:55:06 -0600",
    "21 Nov 1997 09:55 -0600",
    "fri, 21 nov 1997 09:55:06 -0600",
    "Fri,21 Nov 1997 09:55:06 -0600",
    "Fri, 01 Nov 1997 09:55:06 +0000 (UTC)",
    "Fri, 21 Nov 1997 09:55:06 +0000(UTC)",
    "Fri, 21 Nov 1997 09:55:06 +0000 (a (nested \\) one))",
    "Wed, 31 Dec 1997 23:59:60 +0000",
    "Thu, 29 Feb 2024 00:00:00 -0000",
    "Tue, 29 Feb 2000 00:00:00 +1400",
    "Mon, 21 Nov 1997 09:55:06 -0600",
]

OBSOLETE = [
    "21 Nov 97 09:55:06 GMT",
    "Fri, 21 Nov 97 09:55:06 EST",
    "Fri, 21 Nov 101 09:55:06 UT",
    "29 Feb 00 09:55:06 PDT",
    "21 Nov 1997 09:55:06 Z",
    "21 Nov 1997 09:55:06 a",
    "21 Nov 1997 09:55:06 CEST",
    "Fri, 21 Nov 1997 09(comment):   55  :  06 -0600",
    "Fri , 21 Nov 1997 09:55:06 MST",
    "(first) Fri, (second) 21 (third) Nov 1997 09:55:06 GMT",
    "21 Nov 1997 09:55:06GMT",
]

BAD = [
    "",
    "yesterday",
    "1997-11-21T09:55:06Z",
    "Fri, 21 Nov 1997",
    "Fri, 21 Nov 1997 09:55:06",
    "Fri 21 Nov 1997 09:55:06 -0600",
    "Foo, 21 Nov 1997 09:55:06 -0600",
    "Fri, 21 November 1997 09:55:06 -0600",
    "Fri, 21 Nov 1997 9:55:06 -0600",
    "Fri, 21 Nov 1997 24:00:00 -0600",
    "Fri, 21 Nov 1997 09:60:06 -0600",
    "Fri, 21 Nov 1997 09:55:61 -0600",
    "Fri, 21 Nov 1997 09:55:06 -060",
    "Fri, 21 Nov 1997 09:55:06 -06000",
    "Fri, 21 Nov 1997 09:55:06 -0660",
    "Fri, 21 Nov 1997 09:55:06 -06:00",
    "Fri, 21 Nov 1997 09:55:06 J",
    "Fri, 21 Nov 1997 09:55:06 ABCDEF",
    "Fri, 21 Nov 1997 09:55:06 -0600 x",
    "Fri, 21 Nov 1997 09:55:06 -0600 (open",
    "Fri, 21 Nov 1997 09:55:06 -0600 (x) y",
    "Fri, 0 Nov 1997 09:55:06 -0600",
    "Fri, 31 Nov 1997 09:55:06 -0600",
    "Fri, 30 Feb 2024 09:55:06 -0600",
    "Wed, 29 Feb 2023 09:55:06 -0600",
    "Thu, 29 Feb 2100 09:55:06 -0600",
    "Fri, 21 Nov 1899 09:55:06 -0600",
    "Fri, 21 Nov 19977 09:55:06 -0600",
    "Fri, 21 Nov 1 09:55:06 -0600",
    "Fri, \u0662\u0661 Nov 1997 09:55:06 -0600",
    "Fri, 21 Nov 1997 09:55:06 -0600\0",
    "Fri, 21 Nov 1997 09:55:06 \u212aST",
]


@pytest.mark.rfc("5322 §3.3")
@pytest.mark.parametrize("text", GOOD)
def test_a_date_is_a_date(text: str) -> None:
    assert is_date(text)


@pytest.mark.rfc("5322 §4.3")
@pytest.mark.parametrize("text", OBSOLETE)
def test_an_obsolete_date_is_a_date(text: str) -> None:
    assert is_date(text)


@pytest.mark.rfc("5322 §3.3")
@pytest.mark.parametrize("text", BAD)
def test_what_is_no_date_is_none(text: str) -> None:
    assert not is_date(text)


@given(st.text() | st.text("MonJa 0123456789:,+-()\\Z\r\n"))
def test_any_text_is_a_date_or_not(text: str) -> None:
    assert is_date(text) in (True, False)


@given(st.floats(0, 4e9))
def test_what_is_printed_is_a_date_and_means_the_same(now: float) -> None:
    text = format_date(now)
    assert is_date(text)
    assert parsedate_to_datetime(text).timestamp() == int(now)


@pytest.mark.rfc("5321 §4.4")
def test_a_date_is_printed_with_a_numeric_zone() -> None:
    assert format_date(1767225600.9) == "Thu, 1 Jan 2026 00:00:00 +0000"
    assert format_date(0) == "Thu, 1 Jan 1970 00:00:00 +0000"


@pytest.mark.parametrize("unit", [" ", "\v", "()", "(a)"])
@pytest.mark.parametrize("start", ["", "(a)", "Mon", "Mon,", "21", "21 Nov 1997 09:55", "21 Nov 1997 09:55:06"])
def test_no_text_takes_longer_than_its_length(start, unit):
    """A header is read in the event loop: with the square of this length nobody would be served for a minute."""
    began = time.process_time()
    assert not is_date(start + unit * 60_000 + "!")
    assert time.process_time() - began < 5
