"""Times on the command line: a span such as 90d, or a moment to come."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

import click

__all__ = ["MOMENT", "SPAN", "said", "utc"]

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN: Final = re.compile(r"([0-9]{1,6})([smhdw])")


class _Span(click.ParamType[float]):
    """A span of time, in seconds: 45s, 30m, 12h, 90d, 2w; 0d is none."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = _SPAN.fullmatch(value)
        if found is None:
            self.fail(f"{value!r} is no span; write 45s, 30m, 12h, 90d or 2w", param, ctx)
        return dt.timedelta(**{_UNITS[found[2]]: int(found[1])}).total_seconds()


class _Moment(click.ParamType[float]):
    """A time to come: a span such as 90d, 12h, 2w, or a date, perhaps with a time; in UTC unless it says otherwise."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        now = dt.datetime.now(dt.UTC)
        span = _SPAN.fullmatch(value)
        try:
            if span is not None and int(span[1]):
                return (now + dt.timedelta(**{_UNITS[span[2]]: int(span[1])})).timestamp()
            moment = dt.datetime.fromisoformat(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a span such as 90d nor a date such as {now.year + 1}-01-31", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        if moment <= now:
            self.fail(f"{value!r} is over already", param, ctx)
        return moment.timestamp()


SPAN: Final = _Span()
MOMENT: Final = _Moment()


def utc(seconds: float | None) -> dt.datetime | None:
    """Return a time since the epoch for people and programs to read."""
    return None if seconds is None else dt.datetime.fromtimestamp(int(seconds), dt.UTC)


def said(seconds: float | None) -> str:
    """Return a time since the epoch for a sentence."""
    return "never" if seconds is None else f"{utc(seconds):%Y-%m-%d %H:%M} UTC"
