"""One line about a fact: a fixed shape, JSON (RFC 8259) or text, in which nothing from outside can end a line.

Every line has ``time`` (RFC 3339, UTC, milliseconds), ``level``, ``event`` and fields.  What is not printable ASCII is
escaped.  Secrets print as three asterisks, octets as their number.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

from pydantic_core import PydanticSerializationError, to_json

from gatepost.model.identity import Secret

__all__ = ["Stamp", "instant", "json_line", "showable", "text_line"]

_PLAIN: Final = re.compile(r"[A-Za-z0-9@._:/+*<>\[\]-]+")


def showable(value: object) -> object:
    """Return what JSON shall show of *value*; a secret or octets never."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return round(value, 3) if math.isfinite(value) else None
        case Secret():
            return "***"
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} octets>"
        case enum.Enum():
            return showable(value.value)
        case dt.timedelta():
            return round(value.total_seconds(), 3)
        case dt.datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): showable(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [showable(each) for each in value]
        case _:
            return str(value)


_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=showable).encode


def _clean(line: str) -> str:
    """Escape the one control character that JSON leaves as it is."""
    return line.replace("\x7f", "\\u007f") if "\x7f" in line else line


def _whole(value: object) -> object:
    """Write out halves of surrogate pairs: they come from octets that were no UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping():
            return {_whole(key): _whole(each) for key, each in value.items()}
        case list():
            return [_whole(each) for each in value]
        case _:
            return value


class Stamp:
    """The time of day as text; the part down to the second is made once a second."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._second = -1
        self._text = ""

    def __call__(self) -> str:
        now = self._now()
        second = int(now)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        # RFC 3339 §5.6: date, "T", time, fraction, "Z".
        return f"{self._text}.{str(1000 + int((now - second) * 1000))[1:]}Z"


def instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_line(stamp: str, level: str, event: str, rest: Mapping[str, object]) -> str:
    """Write a line as JSON; *rest* holds what `showable` gives."""
    entry = {"time": stamp, "level": level, "event": event, **rest}
    try:
        octets = to_json(entry)
    except PydanticSerializationError:
        octets = b"\xff"
    if octets.isascii():
        return _clean(octets.decode())
    line = _encode(entry)
    if "\\ud" in line:
        # RFC 8259 §8.2: readers disagree about halves of surrogate pairs, so none is written.
        line = _encode(_whole(showable(entry)))
    return _clean(line)


def text_line(stamp: str, level: str, event: str, rest: Mapping[str, object]) -> str:
    words = [f"{stamp} {level:<7} {_escape(event)}"]
    trail = ""
    for name, value in rest.items():
        shown = showable(value)
        if name == "exception":
            # A traceback is for reading: its lines stay lines, but are indented, so that none looks like a log line.
            trail = "".join(f"\n    {_escape(line)}" for line in str(shown).splitlines())
        elif shown not in ("", None, []):
            words.append(f"{_escape(name)}={_word(shown)}")
    return "  ".join(words) + trail


def _escape(text: str) -> str:
    return _encode(text)[1:-1].replace("\x7f", "\\u007f").replace('\\"', '"')


def _word(value: object) -> str:
    if isinstance(value, list):
        return ",".join(_word(each) for each in value)
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else _clean(_encode(value))
