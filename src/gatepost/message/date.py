"""Dates in a header: print them, and tell good from bad (RFC 5322 §3.3, §4.3)."""

from __future__ import annotations

import math
import re
import time
from functools import lru_cache

from gatepost.message.comments import without_comments

__all__ = ["format_date", "is_date"]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBER = {name.lower(): number for number, name in enumerate(_MONTHS, start=1)}
_REMEMBERED_LENGTH = 64
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

# RFC 5322 §4.3: names of zones, and white space between the parts of a time, are obsolete but a date all the same;
# letters stand for military zones, all but J.  White space is never given back: with two runs of it side by side,
# hostile input would cost the square of its length.
_DATE = re.compile(
    rf"\s*+(?:(?:{'|'.join(_DAYS)})\s*+,\s*+)?"
    rf"(?P<day>\d{{1,2}})\s++(?P<month>{'|'.join(_MONTHS)})\s++(?P<year>\d{{2,4}})"
    r"\s++(?P<hour>\d\d)\s*+:\s*+(?P<minute>\d\d)(?:\s*+:\s*+(?P<second>\d\d))?"
    r"(?:\s++[+-]\d\d[0-5]\d|\s*+[A-Z]{2,5}|\s*+[A-IK-Z])\s*+",
    re.ASCII | re.IGNORECASE,
)


def format_date(now: float) -> str:
    """Print seconds since the epoch as a date in UTC."""
    return _format(math.floor(now))


@lru_cache(maxsize=8)  # a thousand messages have the same second
def _format(now: int) -> str:
    year, month, day, hour, minute, second, weekday, _, _ = time.gmtime(now)
    # RFC 5321 §4.4: a numeric offset, not the name of a zone.
    return f"{_DAYS[weekday]}, {day} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} +0000"


def is_date(text: str) -> bool:
    """Tell whether *text* is a date, obsolete forms and comments included; a wrong weekday does no harm."""
    return _is_date_again(text) if len(text) <= _REMEMBERED_LENGTH else _is_date(text)


def _is_date(text: str) -> bool:
    match = _DATE.fullmatch(text)
    if match is None and "(" in text:
        bare = without_comments(text)
        match = None if bare is None else _DATE.fullmatch(bare)
    if match is None:
        return False
    day, month, year = int(match["day"]), _MONTH_NUMBER[match["month"].lower()], int(match["year"])
    if len(match["year"]) < 4:
        year += 2000 if year < 50 else 1900
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return (
        # RFC 5322 §3.3: years from 1900 on, a day that the month has, a time of day (with room for a leap second).
        year >= 1900
        and 1 <= day <= _LONGEST[month - 1]
        and (is_leap or (month, day) != (2, 29))
        and int(match["hour"]) <= 23
        and int(match["minute"]) <= 59
        and int(match["second"] or 0) <= 60
    )


_is_date_again = lru_cache(maxsize=64)(_is_date)  # what is sent in the same second
