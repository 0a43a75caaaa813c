"""Secrets do not show, and patterns say who may write as whom."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model.address import parse_mailbox
from gatepost.model.identity import Identity, Secret, SenderPattern, parse_sender_pattern

MARK = b"tanstaaftanstaaf"


@pytest.mark.parametrize(
    "shown", [repr, str, "{}".format, "{!r:>5}".format, "%s".__mod__, lambda it: f"{[it]!r} {{{it!s}}}"]
)
def test_a_secret_never_prints(shown: object) -> None:
    text = shown(Secret(MARK))  # type: ignore[operator]
    assert MARK.decode() not in text
    assert "***" in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    with pytest.raises(TypeError, match="not written down"):
        pickle.dumps(Secret(MARK), protocol)


def test_a_secret_is_not_copied() -> None:
    with pytest.raises(TypeError):
        copy.deepcopy(Secret(MARK))


def test_a_secret_has_no_attributes_to_look_at() -> None:
    with pytest.raises(TypeError):
        vars(Secret(MARK))


def test_a_secret_reveals_and_compares_its_octets() -> None:
    assert Secret(MARK).reveal() == MARK
    assert Secret(MARK) == Secret(MARK)
    assert hash(Secret(MARK)) == hash(Secret(MARK))
    assert Secret(MARK) != Secret(b"other")
    assert Secret(MARK) != MARK
    assert Secret(MARK)
    assert not Secret(b"")


MATCHES = [
    ("tim@example.org", "tim@example.org", True),
    ("tim@example.org", "TIM@EXAMPLE.ORG", True),
    ("Tim@Example.ORG", "tim@example.org", True),
    ("tim@example.org", "tom@example.org", False),
    ("tim@example.org", "tim@example.net", False),
    ("tim@example.org", "tim+news@example.org", False),
    ("tim@example.org", "tim@sub.example.org", False),
    ("*@example.org", "anybody@example.org", True),
    ("@example.org", "anybody@example.org", True),
    ("*@example.org", "anybody@sub.example.org", False),
    ("*@example.org", "example.org@example.net", False),
    ("*@bücher.example", "tim@xn--bcher-kva.example", True),
    ("*@xn--bcher-kva.example", "tim@bücher.example", True),
    ('"tim tester"@example.org', '"Tim Tester"@example.org', True),
    ("*", "anybody@anywhere.example", True),
]


@pytest.mark.parametrize(("pattern", "address", "expected"), MATCHES)
def test_a_pattern_matches_its_addresses_and_no_others(pattern: str, address: str, expected: bool) -> None:
    assert parse_sender_pattern(pattern).matches(parse_mailbox(address)) is expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*", "*"),
        ("@Example.org", "*@example.org"),
        ("*@bücher.example", "*@xn--bcher-kva.example"),
        ("Tim@Example.org", "tim@example.org"),
        ('"Tim Tester"@example.org', '"tim tester"@example.org'),
    ],
)
def test_a_pattern_prints_as_what_it_means_and_parses_back(text: str, shown: str) -> None:
    pattern = parse_sender_pattern(text)
    assert str(pattern) == shown
    assert parse_sender_pattern(shown) == pattern


@pytest.mark.parametrize(
    "text", ["", "tim", "example.org", "*@", "@", "**@x", "tim@", "*@a b", "*@*", "t*m@x", '"*"@x', '"*@x"@y', "@@x"]
)
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        parse_sender_pattern(text)


@given(st.text() | st.text('"*@.aü'))
def test_any_text_is_a_pattern_or_malformed(text: str) -> None:
    try:
        pattern = parse_sender_pattern(text)
    except Malformed:
        return
    assert parse_sender_pattern(str(pattern)) == pattern


def identity(*senders: str, only: tuple[str, ...] = ()) -> Identity:
    return Identity(
        "tim",
        "1",
        senders=tuple(parse_sender_pattern(each) for each in senders),
        only_senders=tuple(parse_sender_pattern(each) for each in only),
    )


@pytest.mark.parametrize(
    ("who", "address", "expected"),
    [
        (identity(), "tim@example.org", False),
        (identity("tim@example.org"), "tim@example.org", True),
        (identity("tim@example.org", "*@example.net"), "tom@example.net", True),
        (identity("*@example.org", only=("tim@example.org",)), "tim@example.org", True),
        (identity("*@example.org", only=("tim@example.org",)), "tom@example.org", False),
        (identity("*@example.org", only=("*",)), "tim@example.net", False),
    ],
)
def test_an_identity_writes_as_its_senders_narrowed_by_its_credential(
    who: Identity, address: str, expected: bool
) -> None:
    assert who.may_send_as(parse_mailbox(address)) is expected


def test_a_pattern_for_everybody_has_neither_part() -> None:
    assert parse_sender_pattern("*") == SenderPattern(None, None)
