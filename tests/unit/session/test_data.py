"""The end of data is found, dots go, line endings are judged: the same whole and in pieces."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.model import reply as replies
from gatepost.session.data import ContentLimits, DataReader

HEADER = b"From: <tim@example.org>\r\nSubject: x\r\n"


class Sink:
    def __init__(self) -> None:
        self.body = b""

    def write(self, data: bytes) -> None:
        assert data
        self.body += data


def read(
    pieces: list[bytes], limit: int = 1 << 20, header_limit: int = 1 << 16, **limits: Any
) -> tuple[DataReader, bytes, bytes]:
    """Feed *pieces*; return the reader, the body, and what followed the end of data."""
    sink = Sink()
    reader = DataReader(sink.write, limit, ContentLimits(header_limit, **limits))
    for number, piece in enumerate(pieces):
        rest = reader.feed(piece)
        if rest is not None:
            return reader, sink.body, rest + b"".join(pieces[number + 1 :])
    raise AssertionError("no end of data")


def singles(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


@pytest.mark.rfc("5321 §4.1.1.4")
@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    ("content", "header", "body"),
    [
        (HEADER + b"\r\nbody\r\n", HEADER + b"\r\n", b"body\r\n"),
        (HEADER + b"\r\n", HEADER + b"\r\n", b""),
        (HEADER, HEADER, b""),
        (b"", b"", b""),
        (b"\r\nonly a body\r\n", b"\r\n", b"only a body\r\n"),
        (b"\r\n", b"\r\n", b""),
        (HEADER + b"\r\n\r\n\r\n", HEADER + b"\r\n", b"\r\n\r\n"),
    ],
)
def test_header_and_body_come_apart_at_the_first_empty_line(split, content, header, body):
    reader, got, rest = read(split(content + b".\r\nQUIT\r\n"))
    assert (reader.header, got, rest) == (header, body, b"QUIT\r\n")
    assert reader.fault is None
    assert reader.size == len(content)


@pytest.mark.rfc("5321 §4.5.2")
@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
def test_one_dot_goes_from_each_line_that_starts_with_one(split):
    sent = HEADER + b"\r\n..\r\n...x\r\n..\r\n..\r\na.b\r\n.c\r\n"
    reader, body, rest = read(split(sent + b".\r\n"))
    assert body == b".\r\n..x\r\n.\r\n.\r\na.b\r\nc\r\n"
    assert rest == b""
    assert reader.fault is None


@pytest.mark.rfc("5321 §2.3.8")
@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
@pytest.mark.parametrize(
    "trick",
    [
        b"\n.\n",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r.\r",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\n.\r",
        b"a\nb",
        b"a\rb",
        b"\r\r\n",
        b"\n\r\n",
    ],
)
def test_no_bare_cr_or_lf_ends_a_message_or_gets_through(split, trick):
    smuggled = b"MAIL FROM:<eve@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n"
    content = HEADER + b"\r\nhello" + trick + smuggled
    reader, body, rest = read(split(content + b"\r\n.\r\nQUIT\r\n"))
    assert reader.fault == replies.BARE_LINE_ENDING
    assert rest == b"QUIT\r\n"
    assert b"MAIL" not in body


@pytest.mark.rfc("1870 §6.3")
@pytest.mark.parametrize("size", [100, 101])
def test_a_message_over_the_limit_is_read_to_its_end_and_refused(size):
    content = HEADER + b"\r\n"
    content += b"x" * (size - len(content) - 2) + b"\r\n"
    assert len(content) == size
    reader, _, rest = read([content, b".\r\n", b"NOOP\r\n"], limit=100)
    assert (reader.fault == replies.MESSAGE_TOO_BIG) is (size > 100)
    assert rest == b"NOOP\r\n"


@pytest.mark.rfc("1870 §5")
def test_the_size_counts_line_ends_and_not_the_added_dots():
    reader, _, _ = read([HEADER + b"\r\n..\r\n.\r\n"])
    assert reader.size == len(HEADER) + 2 + 3


def test_a_header_over_its_limit_is_refused_and_not_kept():
    reader, body, _ = read([b"X: " + b"y" * 200, b"y" * 200 + b"\r\n\r\nbody\r\n.\r\n"], header_limit=300)
    assert reader.fault == replies.HEADER_TOO_BIG
    assert reader.header == b""
    assert body == b""


def test_octets_beyond_ascii_are_noticed_in_header_and_body():
    assert read([HEADER + b"\r\nbody\r\n.\r\n"])[0].is_ascii
    assert not read([HEADER + b"\r\nb\xc3\xb6dy\r\n.\r\n"])[0].is_ascii
    assert not read([b"Subject: \xc3\xb6\r\n\r\n.\r\n"])[0].is_ascii


def test_a_fault_from_outside_stops_the_keeping_but_not_the_reading():
    sink = Sink()
    reader = DataReader(sink.write, 1000, ContentLimits(1000))
    reader.feed(HEADER + b"\r\nkept\r\n")
    reader.fail(replies.SPOOL_FULL)
    assert reader.feed(b"not kept\r\n.\r\nRSET\r\n") == b"RSET\r\n"
    assert reader.fault == replies.SPOOL_FULL
    assert b"not kept" not in sink.body
    reader.fail(replies.MESSAGE_TOO_BIG)
    assert reader.fault == replies.SPOOL_FULL


ALPHABET = st.lists(
    st.sampled_from([b"\r\n", b".", b"a", b"\r\n.", b"\r\n..", b"From: x", b"\xff", b"\x85", b"\x0b", b"\r", b"\n"])
)


@given(ALPHABET, st.lists(st.integers(min_value=1, max_value=7)))
@example([b"\r\n", b".", b"\r\n"], [1, 1, 1, 1])
def test_any_way_of_cutting_gives_the_same(parts, cuts):
    content = b"".join(parts)
    whole = content + b"\r\n.\r\nREST\r\n"
    pieces, place = [], 0
    for cut in cuts:
        pieces.append(whole[place : place + cut])
        place += cut
    pieces.append(whole[place:])
    one, one_body, one_rest = read([whole])
    other, other_body, other_rest = read([piece for piece in pieces if piece] or [whole])
    assert (one.header, one.size if one.fault is None else 0, one.is_ascii if one.fault is None else 0) == (
        other.header,
        other.size if other.fault is None else 0,
        other.is_ascii if other.fault is None else 0,
    )
    assert one.fault == other.fault
    assert one_rest == other_rest
    if one.fault is None:
        assert one_body == other_body


@given(ALPHABET)
def test_what_gets_through_is_what_was_meant(parts):
    """The invariant: without a fault, header and body are the lines before CRLF.CRLF, each less its first dot."""
    whole = b"".join(parts) + b"\r\n.\r\n"
    reader, body, rest = read([whole])
    before, _, after = (b"\r\n" + whole).partition(b"\r\n.\r\n")
    assert rest == after
    lines = (before + b"\r\n").split(b"\r\n")[1:-1]
    if any(b"\r" in line or b"\n" in line for line in lines):
        assert reader.fault == replies.BARE_LINE_ENDING
        return
    assert reader.fault is None
    assert reader.header + body == b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("content", [HEADER + b"\r\na\0b\r\n", HEADER + b"X: \0\r\n", b"\0", HEADER + b"\r\n\0.\r\n"])
def test_nul_is_refused_wherever_it_stands(split, content):
    reader, _, rest = read(split(content + b"\r\n.\r\nQUIT\r\n"))
    assert reader.fault == replies.NUL_IN_MESSAGE
    assert rest == b"QUIT\r\n"


@pytest.mark.rfc("5321 §2.3.8")
@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
def test_lone_line_endings_become_crlf_where_that_is_asked_for(split):
    content = b"From: <tim@example.org>\nSubject: x\r\n\nhello\rworld\n\r\nend\r\n"
    reader, body, rest = read(split(content + b".\r\nQUIT\r\n"), normalises=True)
    assert reader.fault is None
    assert reader.header == b"From: <tim@example.org>\r\nSubject: x\r\n\r\n"
    assert body == b"hello\r\nworld\r\n\r\nend\r\n"
    assert reader.size == len(reader.header) + len(body)
    assert rest == b"QUIT\r\n"


@pytest.mark.rfc("5321 §4.1.1.4")
@pytest.mark.parametrize("split", [lambda data: [data], singles], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("trick", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r.\r\n", b"\r\n.\n", b"\r\n.\rx"])
def test_what_only_looks_like_the_end_is_content_once_it_is_mended(split, trick):
    """The invariant: nothing but CRLF.CRLF ends a message, and whoever stuffs the dots of the result sends one."""
    smuggled = b"MAIL FROM:<eve@example.org>\r\n"
    reader, body, rest = read(split(HEADER + b"\r\nhello" + trick + smuggled + b".\r\nQUIT\r\n"), normalises=True)
    assert reader.fault is None
    assert smuggled in body
    assert rest == b"QUIT\r\n"
    assert b"\r" not in body.replace(b"\r\n", b"")
    assert b"\n" not in body.replace(b"\r\n", b"")


@given(
    st.lists(st.integers(min_value=0, max_value=40), min_size=1, max_size=8),
    st.lists(st.integers(min_value=1, max_value=30)),
)
def test_a_line_over_the_limit_is_refused_however_it_is_cut(lengths, cuts):
    content = HEADER + b"\r\n" + b"".join(b"x" * length + b"\r\n" for length in lengths)
    whole, pieces, place = content + b".\r\nREST\r\n", [], 0
    for cut in cuts:
        pieces.append(whole[place : place + cut])
        place += cut
    pieces.append(whole[place:])
    reader, _, rest = read([piece for piece in pieces if piece], line_bytes=len(HEADER))
    longest = max(*lengths, *map(len, HEADER.split(b"\r\n")))
    assert (reader.fault == replies.LINE_TOO_LONG) is (longest > len(HEADER))
    assert rest == b"REST\r\n"
