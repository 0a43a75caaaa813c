"""Replies check themselves when they are made."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.model import reply
from gatepost.model.envelope import MessageId, Receipt
from gatepost.model.reply import Reply, queued

CONSTANTS = {name: each for name, each in vars(reply).items() if isinstance(each, Reply)}


@pytest.mark.rfc("2034 §4")
@pytest.mark.parametrize(
    ("code", "enhanced"),
    [
        (250, "4.0.0"),
        (250, "5.0.0"),
        (450, "5.0.0"),
        (550, "2.0.0"),
        (354, "3.0.0"),
        (550, "5.7"),
        (550, "5.7.1000"),
        (550, "5.7.1 "),
        (550, "5.\u0667.1"),
        (550, ""),
        (550, None),
        (221, None),
        (450, None),
    ],
)
def test_codes_that_disagree_make_no_reply(code: int, enhanced: str | None) -> None:
    with pytest.raises(ValueError):
        Reply.of(code, enhanced, "text")


@pytest.mark.rfc("2034 §4")
@pytest.mark.parametrize("code", [220, 250, 334, 354])
def test_greeting_hello_and_intermediate_replies_have_no_enhanced_code(code: int) -> None:
    assert bytes(Reply.of(code, None, "text")) == b"%d text\r\n" % code


@pytest.mark.parametrize("code", [0, 199, 600, -250])
def test_a_basic_code_is_between_200_and_599(code: int) -> None:
    with pytest.raises(ValueError):
        Reply.of(code, None, "text")


@pytest.mark.parametrize(
    "lines", [(), ("a\r\nb",), ("a\n",), ("a\r",), ("a\0",), ("a\x7f",), ("\x1b[2J",), ("é",), ("a", "b\n")]
)
def test_control_and_other_characters_make_no_reply(lines: tuple[str, ...]) -> None:
    with pytest.raises(ValueError):
        Reply.of(550, "5.0.0", *lines)


@given(st.text())
def test_a_reply_has_as_many_lines_on_the_wire_as_it_was_made_of(text: str) -> None:
    try:
        wire = bytes(Reply.of(550, "5.0.0", text, "end"))
    except ValueError:
        return
    assert wire.count(b"\n") == wire.count(b"\r") == wire.count(b"\r\n") == 2


@pytest.mark.rfc("5321 §4.2.1")
def test_all_lines_but_the_last_have_a_hyphen() -> None:
    answer = Reply.of(550, "5.7.1", "one", "", "three")
    assert bytes(answer) == b"550-5.7.1 one\r\n550-5.7.1 \r\n550 5.7.1 three\r\n"


def test_a_hello_reply_is_bare() -> None:
    assert bytes(Reply.of(250, None, "mx.example", "SIZE 5")) == b"250-mx.example\r\n250 SIZE 5\r\n"


def test_queued_names_the_receipt_and_wants_one() -> None:
    assert queued(Receipt(MessageId("0abc"), 12)) == b"250 2.0.0 queued as 0abc\r\n"
    with pytest.raises(AttributeError):
        queued("0abc")  # type: ignore[arg-type]


def test_a_support_id_goes_to_the_end_of_the_last_line() -> None:
    answer = Reply.of(550, "5.7.1", "one", "two").with_support_id("gp-1.2")
    assert answer.lines == ("one", "two [gp-1.2]")
    assert bytes(answer).endswith(b"550 5.7.1 two [gp-1.2]\r\n")
    with pytest.raises(ValueError):
        answer.with_support_id("\r\n")


@pytest.mark.parametrize(
    ("code", "enhanced", "positive"),
    [(250, "2.0.0", True), (354, None, True), (450, "4.0.0", False), (550, "5.0.0", False)],
)
def test_2yz_and_3yz_are_positive(code: int, enhanced: str | None, positive: bool) -> None:
    assert Reply.of(code, enhanced, "x").is_positive is positive


@pytest.mark.rfc("5321 §3.8")
def test_only_221_and_421_close() -> None:
    assert {each.code for each in CONSTANTS.values() if each.closes} == {221, 421}


def test_it_prints_in_one_line() -> None:
    assert str(Reply.of(550, "5.7.1", "one", "two")) == "550 5.7.1 one two"
    assert str(Reply.of(354, None, "go")) == "354 go"


@pytest.mark.parametrize("name", CONSTANTS)
def test_each_constant_is_well_formed_and_short_enough(name: str) -> None:
    wire = bytes(CONSTANTS[name])
    # RFC 5321 §4.5.3.1.5: a line of a reply has at most 512 octets.
    assert len(wire) <= 512
    assert re.fullmatch(rb"([245])\d\d \1\.\d{1,3}\.\d{1,3} [\x20-\x7e]+\r\n|354 [\x20-\x7e]+\r\n", wire)
    assert str(CONSTANTS[name]) == wire.decode().strip()


@pytest.mark.rfc("3463 §2")
@pytest.mark.parametrize("name", [name for name, each in CONSTANTS.items() if each.enhanced])
def test_the_class_of_both_codes_of_each_constant_is_the_same(name: str) -> None:
    each = CONSTANTS[name]
    assert each.enhanced is not None
    assert each.enhanced[0] == str(each.code)[0]


def test_only_the_data_go_ahead_has_no_enhanced_code_among_the_constants() -> None:
    assert [name for name, each in CONSTANTS.items() if each.enhanced is None] == ["SEND_DATA"]


def test_replies_say_different_things() -> None:
    assert len({str(each) for each in CONSTANTS.values()}) == len(CONSTANTS)
