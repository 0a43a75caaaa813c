"""Header sections.  Invariant: the same octets back, or `Malformed`, never anything else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.message.headers import FIELD_LIMIT, Field, Header, parse_header

USUAL = (
    b"From: Tim Tester <tim@example.org>\r\n"
    b"To: Somebody <somebody@example.net>,\r\n Other <other@example.net>\r\n"
    b"subject : =?utf-8?q?caf=C3=A9?=\r\n"
    b"X-Empty:\r\n"
    b"To: third@example.net\r\n"
)


def test_fields_keep_their_octets_and_know_their_names() -> None:
    header = parse_header(USUAL + b"\r\n")
    assert [field.name for field in header.fields] == [b"from", b"to", b"subject", b"x-empty", b"to"]
    assert bytes(header) == USUAL + b"\r\n"


@pytest.mark.parametrize("end", [b"", b"\r\n"], ids=["without", "with"])
def test_the_empty_line_is_added_where_it_is_missing(end: bytes) -> None:
    assert bytes(parse_header(USUAL + end)) == USUAL + b"\r\n"


def test_the_last_end_of_line_is_added_where_it_is_missing() -> None:
    assert bytes(parse_header(b"A: b\r\nC: d")) == b"A: b\r\nC: d\r\n\r\n"


@pytest.mark.parametrize("section", [b"", b"\r\n"])
def test_a_section_may_be_empty(section: bytes) -> None:
    assert parse_header(section).fields == ()
    assert bytes(parse_header(section)) == b"\r\n"


@pytest.mark.rfc("5322 §2.2.3")
def test_a_value_is_unfolded() -> None:
    (field, _) = parse_header(USUAL).find(b"to")
    assert field.value == b"Somebody <somebody@example.net>, Other <other@example.net>"
    assert parse_header(b"A:\r\n \r\n\tb\r\n c \r\n").fields[0].value == b"b c"


@pytest.mark.rfc("5322 §4.5")
@pytest.mark.parametrize("line", [b"From : a@x", b"FROM\t:a@x", b"fRoM \t :\r\n a@x"])
def test_white_space_before_the_colon_and_case_hide_no_field(line: bytes) -> None:
    assert parse_header(line + b"\r\n").count(b"from") == 1
    assert parse_header(b"From: b@x\r\n" + line + b"\r\n").count(b"from") == 2


@pytest.mark.rfc("5322 §4.2")
def test_a_fold_of_white_space_only_is_part_of_its_field() -> None:
    header = parse_header(b"Subject: a\r\n \r\n\t\r\nFrom: tim@example.org\r\n")
    assert header.count(b"from") == 1


@pytest.mark.rfc("5322 §2.2")
@pytest.mark.parametrize(
    "section",
    [
        b"no field at all\r\n",
        b"From: a@x\r\nno field at all\r\n",
        b"From: a@x\r\nno field\r\n: at all\r\n",
        b" From: a@x\r\n",
        b"\tfolded: a\r\nFrom: a@x\r\n",
        b": nameless\r\n",
        b" : nameless\r\n",
        b"Fr om: a@x\r\n",
        b"From\r\n : a@x\r\n",
        b"Fr\xc3\xb6m: a@x\r\n",
        b"Fr\0om: a@x\r\n",
        b"From\x0b: a@x\r\n",
        b"From\x7f: a@x\r\n",
        b"From tim@example.org Thu Jan  1 00:00:00 2026\r\nSubject: x\r\n",
        b"Subject: a\nFrom: a@x\r\n",
        b"Subject: a\rFrom: a@x\r\n",
        b"Subject: a\r\r\nFrom: a@x\r\n",
        b"Subject: a\r\n\nFrom: a@x\r\n",
        b"Subject: a\n",
        b"Subject: a\r",
        b"Subject: a\r\n\r\nFrom: a@x\r\n",
        b"\r\nSubject: a\r\n",
        b"\r\n\r\n",
        b"Subject: a\0b\r\n",
    ],
)
def test_a_line_that_is_no_field_is_refused(section: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        parse_header(section)
    assert (refused.value.code, refused.value.enhanced) == (554, "5.6.0")
    assert refused.value.text.isascii()


def test_there_are_only_so_many_fields() -> None:
    assert len(parse_header(b"A: b\r\n" * FIELD_LIMIT).fields) == FIELD_LIMIT
    with pytest.raises(Malformed, match="too many"):
        parse_header(b"A: b\r\n" * (FIELD_LIMIT + 1))


@given(
    st.lists(
        st.sampled_from(
            [b"From", b"a", b":", b" ", b"\t", b"\r\n", b"\r\n ", b"\r", b"\n", b"\0", b"\xc3\xa9", b"\xff", b"x@y"]
        )
    ).map(b"".join)
    | st.binary()
)
def test_any_octets_are_a_header_or_malformed(section: bytes) -> None:
    try:
        header = parse_header(section)
    except Malformed:
        return
    assert bytes(header) in (section, section + b"\r\n", section + b"\r\n\r\n")
    assert parse_header(bytes(header)) == header
    assert all(field.raw.endswith(b"\r\n") for field in header.fields)


@pytest.mark.parametrize(
    "section",
    [
        b"a" * 300_000,
        b"a " * 150_000,
        b"A:" + b"\r\n b" * 100_000 + b"\n",
        b"A: b\r\n" * 50_000 + b"x",
        b"\r\n" * 90_000,
    ],
    ids=["name", "spaces", "folds", "fields", "empty"],
)
def test_hostile_headers_cost_no_more_than_their_length(section: bytes) -> None:
    start = time.process_time()
    with pytest.raises(Malformed):
        parse_header(section)
    assert time.process_time() - start < 1


def field(line: bytes) -> Field:
    return parse_header(line).fields[0]


def test_remove_takes_all_fields_of_the_names_and_nothing_else() -> None:
    header = parse_header(USUAL)
    assert bytes(header.remove(b"to", b"x-empty")) == (
        b"From: Tim Tester <tim@example.org>\r\nsubject : =?utf-8?q?caf=C3=A9?=\r\n\r\n"
    )
    assert header.remove(b"bcc") == header


def test_prepend_puts_fields_on_top_in_their_order() -> None:
    header = parse_header(b"A: 1\r\n").prepend([field(b"B: 2\r\n"), field(b"C: 3\r\n")])
    assert bytes(header) == b"B: 2\r\nC: 3\r\nA: 1\r\n\r\n"


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        (b"A: 1\r\nB: 2\r\nC: 3\r\n", b"A: 1\r\nb: new\r\nC: 3\r\n\r\n"),
        (b"B: 1\r\nA: 2\r\nB: 3\r\n", b"b: new\r\nA: 2\r\n\r\n"),
        (b"A: 1\r\n", b"A: 1\r\nb: new\r\n\r\n"),
        (b"", b"b: new\r\n\r\n"),
    ],
)
def test_replace_puts_a_field_in_place_of_all_others_of_its_name(section: bytes, expected: bytes) -> None:
    assert bytes(parse_header(section).replace(field(b"b: new\r\n"))) == expected


def test_find_and_count_look_at_whole_names() -> None:
    header = Header((field(b"To: a\r\n"), field(b"Reply-To: b\r\n"), field(b"TO: c\r\n")))
    assert [each.value for each in header.find(b"to")] == [b"a", b"c"]
    assert header.count(b"to") == 2
    assert header.count(b"cc") == 0
