"""Lines of the log: their shape, what they never show, and that nothing from outside can forge one."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import typing
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.model.identity import Secret
from gatepost.observe import events, log
from gatepost.observe.credential_events import CredentialExpiring
from gatepost.observe.emit import Emitter
from gatepost.observe.events import Event, LoginFailed, LoginSucceeded, RecipientDeferred, RoutePaused, SessionOpened
from gatepost.observe.line import json_line, showable
from gatepost.observe.log import EventLog, LogFormat, open_log
from gatepost.observe.oauth_events import ClientSecretEnds
from gatepost.observe.writer import LogWriter

NOW = 1_800_000_000.1239


class Lines(LogWriter):
    """A writer that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.is_closed = False

    def write(self, line: str) -> None:
        self.lines.append(line)

    def close(self, patience: float = 0) -> None:
        self.is_closed = True


FAILED = LoginFailed("s1", "submission", "192.0.2.1", "tim", "c1", "phone", "PLAIN", "wrong secret", "535 5.7.8 no")


def logged(event: Event, level: events.Level = "debug", form: LogFormat = "json") -> list[str]:
    writer = Lines()
    EventLog(writer, level, form, now=lambda: NOW)(event)
    return writer.lines


def test_a_login_result_is_one_line_with_all_its_facts() -> None:
    (line,) = logged(FAILED)
    assert json.loads(line) == {
        "time": "2027-01-15T08:00:00.123Z",
        "level": "info",
        "event": "login failed",
        "session": "s1",
        "listener": "submission",
        "peer": "192.0.2.1",
        "login": "tim",
        "credential": "c1",
        "label": "phone",
        "mechanism": "PLAIN",
        "reason": "wrong secret",
        "reply": "535 5.7.8 no",
    }
    assert list(json.loads(line))[:3] == ["time", "level", "event"]


@pytest.mark.rfc("3339 §5.6")
def test_the_time_is_utc_with_milliseconds_and_goes_on() -> None:
    writer, clock = Lines(), [0.0]
    log = EventLog(writer, now=lambda: clock[0])
    for clock[0] in (0.0, 0.9999, 1.0, 1_000_000_000.5, 999_999_999.25):
        log(FAILED)
    assert [json.loads(line)["time"] for line in writer.lines] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z",
        "2001-09-09T01:46:40.500Z",
        "2001-09-09T01:46:39.250Z",
    ]


def test_quiet_events_are_left_out() -> None:
    assert logged(SessionOpened("s1", "submission", "192.0.2.1"), "info") == []
    assert logged(FAILED, "warning") == []
    assert len(logged(RoutePaused("r", "x", 0.0), "error")) == 1


def test_instants_print_as_times_and_floats_are_short() -> None:
    (line,) = logged(RecipientDeferred("m", "r", "sm", "mx", "450 no", 1, 1_800_000_060.0, "message"))
    assert json.loads(line)["due"] == "2027-01-15T08:01:00.000Z"
    (line,) = logged(ClientSecretEnds("m365", 1_800_000_000.0))
    assert json.loads(line)["expires"] == "2027-01-15T08:00:00.000Z"
    ending = CredentialExpiring("tim", "c1", "laptop", "", 1_800_000_000.0, "", 0.0, "", "", "")
    (line,) = logged(ending)
    assert (json.loads(line)["expires"], json.loads(line)["last_used"]) == ("2027-01-15T08:00:00.000Z", "")
    (line,) = logged(events.MessageFinished("m", 0.123456))
    assert json.loads(line)["seconds"] == 0.123


def every_event() -> list[type[Event]]:
    return Event.__subclasses__()


@pytest.mark.parametrize("kind", every_event(), ids=lambda kind: kind.__name__)
def test_every_event_makes_one_line_in_both_forms(kind: type[Event]) -> None:
    samples: dict[Any, Any] = {str: "x y", int: 3, float: 1.5, tuple[str, ...]: ("a", "b"), bool: True}
    hints = typing.get_type_hints(kind)
    event = kind(**{field.name: samples[hints[field.name]] for field in dataclasses.fields(kind)})
    (line,) = logged(event)
    read = json.loads(line)
    assert read["event"] == kind.name
    assert read["level"] == kind.level
    assert set(read) == {"time", "level", "event", *(field.name for field in dataclasses.fields(kind))}
    (line,) = logged(event, form="text")
    assert kind.name in line
    assert "\n" not in line


@pytest.mark.rfc("8259 §7")
@given(st.text(), st.sampled_from(["json", "text"]))
def test_nothing_from_outside_can_end_a_line_or_steer_a_terminal(text: str, form: LogFormat) -> None:
    (line,) = logged(dataclasses.replace(FAILED, login=text, reason=text), form=form)
    assert line.isascii()
    assert line.isprintable()


@pytest.mark.rfc("8259 §8.2")
@given(st.text(st.characters()))
def test_text_comes_back_as_it_was_but_for_broken_characters(text: str) -> None:
    (line,) = logged(dataclasses.replace(FAILED, login=text))
    expected = text.encode("utf-8", "backslashreplace").decode()
    assert json.loads(line)["login"] == expected


def test_broken_characters_are_written_out_at_any_depth() -> None:
    (line,) = logged(Odd({"a\udc80": ["b\ud800", 1]}))
    assert json.loads(line)["value"] == {"a\\udc80": ["b\\ud800", 1]}
    assert json.loads(logged(dataclasses.replace(FAILED, login="\U0001f600"))[0])["login"] == "\U0001f600"


def test_text_cannot_pretend_to_be_another_field() -> None:
    (line,) = logged(dataclasses.replace(FAILED, login='x" reason="fine  level=info'), form="text")
    assert 'login="x\\" reason=\\"fine  level=info"' in line


def test_a_number_that_json_has_not_is_null() -> None:
    (line,) = logged(events.MessageFinished("m", float("nan")))
    assert json.loads(line)["seconds"] is None


@dataclasses.dataclass(frozen=True, slots=True)
class Odd(Event):
    """An event with values that no event should hold."""

    name: ClassVar[str] = "odd"
    value: Any


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Secret(b"geheim"), "***"),
        ((Secret(b"geheim"), b"geheim"), ["***", "<6 octets>"]),
        (b"geheim", "<6 octets>"),
        (bytearray(b"geheim"), "<6 octets>"),
        ({"a": Secret(b"geheim")}, {"a": "***"}),
        (Colour.RED, "red"),
        (timedelta(minutes=1), 60.0),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00+00:00"),
        (Path("/x"), "/x"),
        (frozenset({1}), [1]),
    ],
)
def test_secrets_and_octets_never_show(value: object, shown: object) -> None:
    (line,) = logged(Odd(value))
    assert json.loads(line)["value"] == shown
    (line,) = logged(Odd(value), form="text")
    assert "geheim" not in line


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Give the root logger back as it was."""
    logger = logging.getLogger()
    handlers, level, quiet = list(logger.handlers), logger.level, logging.getLogger("mail.log").level
    yield tmp_path / "gatepost.log"
    logging.captureWarnings(capture=False)
    logger.handlers[:] = handlers
    logger.setLevel(level)
    logging.getLogger("mail.log").setLevel(quiet)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_all_loggers_write_the_same_shape(root: Path) -> None:
    log = open_log(root, "debug")
    Emitter(log)(FAILED)
    logging.getLogger("gatepost.queue").info(
        "it went %s", "well", extra={"message_id": "m1", "secret": Secret(b"geheim")}
    )
    extra = {"octets": b"geheim", "token": Secret(b"geheim"), "n": 1}
    logging.getLogger("gatepost.session").info("a story", extra=extra)
    log.close()
    first, second, third = read(root)
    assert first["event"] == "login failed"
    assert second.pop("time")
    assert third.pop("time")
    assert second == {
        "level": "info",
        "event": "it went well",
        "logger": "gatepost.queue",
        "message_id": "m1",
        "secret": "***",
    }
    assert third == {
        "level": "info",
        "event": "a story",
        "logger": "gatepost.session",
        "octets": "<6 octets>",
        "token": "***",
        "n": 1,
    }


def test_octets_and_secrets_among_the_values_of_a_text_do_not_show(root: Path) -> None:
    log = open_log(root, "debug")
    logging.getLogger("a").info("%r and %s and %s", b"geheim", Secret(b"geheim"), 3)
    logging.getLogger("a").info("%(x)s", {"x": bytearray(b"geheim")})
    log.close()
    assert [line["event"] for line in read(root)] == ["'<6 octets>' and *** and 3", "<6 octets>"]


def test_a_traceback_is_one_field(root: Path) -> None:
    log = open_log(root)
    try:
        raise ValueError("forged\nline")
    except ValueError:
        logging.getLogger("gatepost").exception("it broke")
    log.close()
    (line,) = read(root)
    assert line["event"] == "it broke"
    assert line["exception"].endswith("ValueError: forged\nline")


def test_a_traceback_in_text_is_indented(root: Path) -> None:
    log = open_log(root, form="text")
    try:
        raise ValueError("forged\n2026-01-01T00:00:00.000Z info    login succeeded")
    except ValueError:
        logging.getLogger("gatepost").exception("it broke")
    log.close()
    first, *rest = root.read_text().splitlines()
    assert "error   it broke" in first
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_a_slip_in_a_call_costs_neither_the_line_nor_more(root: Path) -> None:
    log = open_log(root)
    logging.getLogger("gatepost").warning("%d apples", "no")
    logging.getLogger("gatepost").warning("%(x)s", {"y": 1})
    log.close()
    assert [(line["event"], line["problem"]) for line in read(root)] == [
        ("%d apples", "its values do not fit"),
        ("%(x)s", "its values do not fit"),
    ]


def test_loggers_that_show_lines_of_clients_are_quiet(root: Path) -> None:
    log = open_log(root, "debug")
    logging.getLogger("mail.log").info("%r >> %r", ("192.0.2.1", 1), b"AUTH PLAIN Z2VoZWlt")
    logging.getLogger("mail.log").debug("auth >> %s", "Z2VoZWlt")
    logging.getLogger("mail.log").warning("heard")
    log.close()
    assert [line["event"] for line in read(root)] == ["heard"]


async def test_what_the_event_loop_says_is_logged_too(root: Path) -> None:
    log = open_log(root)
    asyncio.get_running_loop().call_exception_handler({"message": "never\nretrieved"})
    log.close()
    (line,) = read(root)
    assert (line["logger"], line["level"]) == ("asyncio", "error")
    assert line["event"].startswith("never\nretrieved")


def test_the_level_holds_for_events_and_loggers(root: Path) -> None:
    log = open_log(root, "warning")
    log(LoginSucceeded("s", "l", "p", "tim", "c", "", "PLAIN", "TLSv1.3"))
    logging.getLogger("gatepost").info("not heard")
    logging.getLogger("gatepost").warning("heard")
    log.close()
    assert [line["event"] for line in read(root)] == ["heard"]


class Word(str):
    """A text of another class."""

    __slots__ = ()


@given(
    st.text(st.characters()),
    st.one_of(
        st.text(st.characters()),
        st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20)).map(Word),
        st.integers(),
        st.booleans(),
        st.none(),
        st.floats(),
        st.binary().map(Secret),
        st.binary(),
        st.lists(st.one_of(st.text(st.characters(max_codepoint=0x7F)), st.integers())).map(tuple),
        st.just(timedelta(seconds=1.5)),
        st.sampled_from(Colour),
    ),
)
def test_the_short_way_writes_what_the_long_one_does(text: str, value: Any) -> None:
    plain = log._plain_line("now", f'","level":"info","event":{json.dumps(text)}', (',"a":', ',"b":'), (value, "c"))
    shown = showable(value)
    if isinstance(value, float) and abs(value) < 1e12:
        shown = log._thousandths(value)
        assert abs(shown - value) <= 0.0005 + abs(value) * 1e-15
    whole = json_line("now", "info", text, {"a": shown, "b": "c"})
    if plain is not None:
        assert plain == whole
    else:
        assert not (text.isascii() and text.isprintable() and isinstance(value, (Word, int)))
