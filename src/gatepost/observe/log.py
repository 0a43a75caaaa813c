"""The log: one line for each event, and for what loggers say; JSON (RFC 8259) for machines or text for reading.

Every line has the same shape: ``time`` (RFC 3339, UTC, milliseconds), ``level``, ``event`` and fields.  Nothing from
outside can end a line or steer a terminal: what is not printable ASCII is escaped.  Secrets print as three asterisks,
octets as their number.
"""

from __future__ import annotations

import datetime as dt
import enum
import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal

import structlog

from gatepost.model.identity import Secret
from gatepost.observe.events import Event, Level
from gatepost.observe.writer import DirectWriter, LogWriter

__all__ = ["EventLog", "LogFormat", "open_log"]

LogFormat = Literal["json", "text"]

_RANK: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_TIMES: Final = frozenset({"due", "until"})  # fields of events that are seconds since the epoch
_PLAIN: Final = re.compile(r"[A-Za-z0-9@._:/+*<>\[\]-]+")


def _shown(value: object) -> object:
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
            return _shown(value.value)
        case dt.timedelta():
            return round(value.total_seconds(), 3)
        case dt.datetime():
            return value.isoformat()
        case Mapping():
            return {str(key): _shown(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_shown(each) for each in value]
        case _:
            return str(value)


_encode: Final = json.JSONEncoder(separators=(",", ":"), allow_nan=False, default=_shown).encode


_quoted: Final = json.encoder.encode_basestring_ascii


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


class _Stamp:
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
        return f"{self._text}.{int((now - second) * 1000):03d}Z"


def _instant(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_line(stamp: str, level: str, event: str, rest: Mapping[str, object]) -> str:
    # Most values are short texts: written one by one they take a third of the time of the whole at once.
    parts = [f'{{"time":"{stamp}","level":"{level}","event":{_quoted(event)}']
    for name, value in rest.items():
        kind = value.__class__
        shown = _quoted(str(value)) if kind is str else str(value) if kind is int else _encode(value)
        parts.append(f"{_quoted(name)}:{shown}")
    line = ",".join(parts) + "}"
    if "\\ud" in line:
        # RFC 8259 §8.2: readers disagree about halves of surrogate pairs, so none is written.
        line = _encode(_whole(_shown({"time": stamp, "level": level, "event": event, **rest})))
    return _clean(line)


def _text_line(stamp: str, level: str, event: str, rest: Mapping[str, object]) -> str:
    words = [f"{stamp} {level:<7} {_escape(event)}"]
    trail = ""
    for name, value in rest.items():
        shown = _shown(value)
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


class EventLog:
    """Writes a line for each event; an event listener that takes microseconds and never raises for its target.

    Args:
        writer: where lines go.
        level: least level that is written.
        form: ``json`` or ``text``.
        now: the time of day, in seconds since the epoch.
    """

    def __init__(
        self,
        writer: LogWriter | DirectWriter,
        level: Level = "info",
        form: LogFormat = "json",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = writer.write
        self._writer = writer
        self._rank = _RANK[level]
        self._line = _json_line if form == "json" else _text_line
        self._stamp = _Stamp(now)
        self._names: dict[type[Event], tuple[str, ...] | None] = {}
        self._floats: dict[type[Event], tuple[str, ...]] = {}

    def __call__(self, event: Event) -> None:
        """Write the line of *event*, if it is loud enough."""
        kind = type(event)
        try:
            names = self._names[kind]
        except KeyError:
            names = self._learn(kind)
        if names is not None:
            rest = {name: getattr(event, name) for name in names}
            for name in self._floats[kind]:
                rest[name] = _instant(rest[name]) if name in _TIMES else _shown(rest[name])
            self._write(self._line(self._stamp(), event.level, event.name, rest))

    def _learn(self, kind: type[Event]) -> tuple[str, ...] | None:
        """Note the fields of a kind of event; None if it is not loud enough."""
        names = tuple(field.name for field in fields(kind)) if _RANK[kind.level] >= self._rank else None
        self._names[kind] = names
        self._floats[kind] = tuple(field.name for field in fields(kind) if field.type in (float, "float"))
        return names

    def line(self, level: str, event: str, rest: Mapping[str, object]) -> str:
        """Return a line of the same shape that is not made from an event."""
        return self._line(self._stamp(), level, event, {str(name): _shown(value) for name, value in rest.items()})

    def close(self) -> None:
        """Write what waits and let go of the target."""
        self._writer.close()


class _LineHandler(logging.Handler):
    """Gives what loggers say to the writer of the event log."""

    def __init__(self, writer: LogWriter | DirectWriter, log: EventLog) -> None:
        super().__init__()
        self._writer = writer
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(_redacted(record))
        except (TypeError, ValueError, KeyError):
            # The text and its values do not fit: a slip in a call must not cost the line, nor write elsewhere.
            rest = {"logger": record.name, "problem": "its values do not fit"}
            line = self._log.line(record.levelname.lower(), str(record.msg), rest)
        self._writer.write(line)


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Return *record* without octets or secrets among the values of its text."""
    if record.args:
        record = logging.makeLogRecord(record.__dict__)
        if isinstance(record.args, Mapping):
            record.args = {key: _argument(value) for key, value in record.args.items()}
        elif record.args is not None:
            record.args = tuple(_argument(value) for value in record.args)
    return record


def _argument(value: object) -> Any:
    return _shown(value) if isinstance(value, (Secret, bytes, bytearray, memoryview)) else value


def _own_fields(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add the fields that a call of a stdlib logger gave as ``extra``."""
    record: logging.LogRecord | None = entry.get("_record")
    if record is not None and not entry.get("_from_structlog"):
        for name, value in record.__dict__.items():
            if name not in _RECORD_FIELDS:
                entry.setdefault(name, value)
    return entry


_RECORD_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def _renderer(log: EventLog) -> Callable[[Any, str, MutableMapping[str, Any]], str]:
    def render(_logger: Any, _method: str, entry: MutableMapping[str, Any]) -> str:
        rest = dict(entry)
        event, level = str(rest.pop("event", "")), str(rest.pop("level", "info"))
        rest.pop("time", None)
        return log.line(level, event, rest)

    return render


def open_log(
    target: Path | int,
    level: Level = "info",
    form: LogFormat = "json",
    quiet: Iterable[str] = ("mail.log", "mail.debug"),
    *,
    has_thread: bool = True,
) -> EventLog:
    """Open the log and send what all loggers say, ours and those of libraries, the same way.

    Args:
        target: file to append to, or a file descriptor such as that of standard output.
        level: least level that is written.
        form: ``json`` or ``text``.
        quiet: loggers that are heard from `warning` on only: aiosmtpd's write whole lines of clients at lower levels,
            logins included.
        has_thread: whether a thread writes; else every line is written at once.

    Raises:
        OSError: the file cannot be opened.
    """
    lines: list[EventLog] = []
    writer: LogWriter | DirectWriter = DirectWriter(target)
    if has_thread:
        writer = LogWriter(target, lambda count: lines[0].line("error", "log lines lost", {"count": count}))
    log = EventLog(writer, level, form)
    lines.append(log)

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        _own_fields,
    ]
    finish: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        _renderer(log),
    ]
    handler = _LineHandler(writer, log)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processors=finish, foreign_pre_chain=shared))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(_RANK[level])
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    return log
