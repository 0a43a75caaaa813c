"""The log: one line for each event, and for what loggers say; JSON for machines or text for reading."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol

from gatepost.model.identity import Secret
from gatepost.observe.events import Event, Level
from gatepost.observe.line import Stamp, instant, json_line, showable, text_line
from gatepost.observe.writer import DirectWriter, LogWriter

__all__ = ["EventLog", "LineWriter", "LogFormat", "open_log"]

LogFormat = Literal["json", "text"]

_RANK: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
# Fields of events that are seconds since the epoch; 0 is never.
_TIMES: Final = frozenset({"due", "expires", "last_used", "until"})
# Whole thousandths of less than this are exact.
_LARGE: Final = 1e12
_quoted: Final = json.encoder.encode_basestring_ascii
_SHOWN_AS_THEY_ARE: Final = frozenset({"str", "int", "bool", "tuple[str, ...]"})


class _Shape(NamedTuple):
    """How to write a kind of event.

    Args:
        names: of its fields.
        values: reads them all.
        others: names of those that need a look.
        begin: of its lines in JSON, behind the time.
        keys: what stands before each value there; none where times are among them.
    """

    names: tuple[str, ...]
    values: attrgetter[tuple[Any, ...]]
    others: tuple[str, ...]
    begin: str
    keys: tuple[str, ...]


class LineWriter(Protocol):
    """Takes lines, and never waits or raises."""

    def write(self, line: str) -> None:
        """Take a line, without its newline."""
        ...

    def reopen(self) -> None:
        """Look whether the target was renamed."""
        ...

    def close(self) -> None:
        """Write what waits and let go of the target."""
        ...


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
        writer: LineWriter,
        level: Level = "info",
        form: LogFormat = "json",
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write = writer.write
        self._writer = writer
        self._rank = _RANK[level]
        self._is_json = form == "json"
        self._line = json_line if form == "json" else text_line
        self._stamp = Stamp(now)
        self._shapes: dict[type[Event], _Shape | None] = {}

    def __call__(self, event: Event) -> None:
        """Write the line of *event*, if it is loud enough."""
        kind = event.__class__
        shape = self._shapes[kind] if kind in self._shapes else self._learn(kind)
        if shape is not None:
            values = shape.values(event)
            if self._is_json and shape.keys:
                plain = _plain_line(self._stamp(), shape.begin, shape.keys, values)
                if plain is not None:
                    self._write(plain)
                    return
            rest: dict[str, Any] = {name: values[place] for place, name in enumerate(shape.names)}
            for name in shape.others:
                value = rest[name]
                if name in _TIMES:
                    rest[name] = instant(value) if value else ""
                else:
                    rest[name] = (
                        _thousandths(value) if value.__class__ is float and abs(value) < _LARGE else showable(value)
                    )
            self._write(self._line(self._stamp(), kind.level, kind.name, rest))

    def _learn(self, kind: type[Event]) -> _Shape | None:
        """Note the fields of a kind of event; None if it is not loud enough."""
        shape = None
        if _RANK[kind.level] >= self._rank:
            names = tuple(each.name for each in fields(kind))
            others = tuple(each.name for each in fields(kind) if each.type not in _SHOWN_AS_THEY_ARE)
            # Two names more, so that the getter gives a tuple whatever their number.
            begin = f'","level":{_quoted(kind.level)},"event":{_quoted(kind.name)}'
            keys = () if _TIMES & set(names) else tuple(f",{_quoted(name)}:" for name in names)
            shape = _Shape(names, attrgetter(*names, "name", "level"), others, begin, keys)
        self._shapes[kind] = shape
        return shape

    def line(self, level: str, event: str, rest: Mapping[str, object]) -> str:
        """Return a line of the same shape that is not made from an event."""
        return self._line(self._stamp(), level, event, {str(name): showable(value) for name, value in rest.items()})

    def say(self, level: Level, event: str, **rest: object) -> None:
        """Write a line that is not made from an event."""
        if _RANK[level] >= self._rank:
            self._write(self.line(level, event, rest))

    def count_lost_with(self, count: Callable[[int], None]) -> None:
        """Tell *count* of each number of lines that could not be written; it is called by any thread."""
        if isinstance(self._writer, LogWriter):
            self._writer.on_lost = count

    def reopen(self) -> None:
        """Look now whether the file was renamed; otherwise that is done before each writing."""
        self._writer.reopen()

    def close(self) -> None:
        """Write what waits and let go of the target."""
        self._writer.close()


def _plain_line(stamp: str, begin: str, keys: tuple[str, ...], values: tuple[Any, ...]) -> str | None:
    """Return what `json_line` does, in a third of its time; None where a value takes more than quotes around it."""
    parts = ['{"time":"', stamp, begin]
    for place, key in enumerate(keys):
        value = values[place]
        parts.append(key)
        if isinstance(value, str):
            parts.append(_quoted(value))
        elif isinstance(value, bool):
            parts.append("true" if value else "false")
        elif isinstance(value, int):
            parts.append(str(value))
        elif isinstance(value, float) and abs(value) < _LARGE:
            parts.append(repr(_thousandths(value)))
        elif isinstance(value, tuple):
            texts = [_quoted(each) for each in value if isinstance(each, str)]
            if len(texts) < len(value):
                return None
            parts.append(f"[{','.join(texts)}]")
        else:
            return None
    parts.append("}")
    line = "".join(parts)
    # Not ASCII, perhaps half a pair, or a control character.
    return None if "\\u" in line or "\x7f" in line else line


def _thousandths(value: float) -> float:
    """Round as `round(value, 3)` does, but for halves; in a tenth of its time."""
    return int(value * 1000 + (0.5 if value >= 0 else -0.5)) / 1000


class _LineHandler(logging.Handler):
    """Gives what loggers say to the writer of the event log."""

    def __init__(self, writer: LogWriter | DirectWriter, log: EventLog) -> None:
        super().__init__()
        self._writer = writer
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        rest: dict[str, object] = {"logger": record.name}
        rest.update((name, value) for name, value in record.__dict__.items() if name not in _RECORD_FIELDS)
        try:
            text = _redacted(record).getMessage()
        except (TypeError, ValueError, KeyError):
            # The text and its values do not fit: a slip in a call must not cost the line, nor write elsewhere.
            text, rest["problem"] = str(record.msg), "its values do not fit"
        if record.exc_info and record.exc_info[0] is not None:
            rest["exception"] = _traces.formatException(record.exc_info)
        self._writer.write(self._log.line(record.levelname.lower(), text, rest))


_RECORD_FIELDS: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_traces: Final = logging.Formatter()


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
    return showable(value) if isinstance(value, (Secret, bytes, bytearray, memoryview)) else value


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
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(_LineHandler(writer, log))
    root.setLevel(_RANK[level])
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)
    return log
