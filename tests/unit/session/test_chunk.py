"""Chunks are counted, joined and judged: the same however the content is cut into chunks, and chunks into segments."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.model import reply as replies
from gatepost.session.chunk import ChunkReader
from gatepost.session.data import ContentLimits, DataReader
from gatepost.session.extensions.chunking import parse_chunk

HEADER = b"From: <tim@example.org>\r\nSubject: x\r\n"


class Body:
    """An `Incoming` that takes a body."""

    def __init__(self) -> None:
        self.octets = b""

    def write(self, data: bytes) -> None:
        assert data
        self.octets += data


def read(
    chunks: list[bytes], *, cut: int = 1 << 20, limit: int = 1 << 20, header_limit: int = 1 << 16
) -> tuple[ChunkReader, bytes]:
    """Feed *chunks*, each in segments of *cut* octets; return the reader and the body."""
    body = Body()
    reader = ChunkReader(body, limit, ContentLimits(header_limit))  # type: ignore[arg-type]
    for number, chunk in enumerate(chunks, 1):
        reader.expect(len(chunk), is_last=number == len(chunks))
        segments = [chunk[place : place + cut] for place in range(0, len(chunk), cut)] or [b""]
        for segment in segments[:-1]:
            assert reader.feed(segment) is None
        assert reader.feed(segments[-1] + b"NOOP\r\n") == b"NOOP\r\n"
    return reader, body.octets


@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("cut", [1, 3, 1 << 20])
@pytest.mark.parametrize(
    ("chunks", "header", "body"),
    [
        ([HEADER + b"\r\nbody\r\n"], HEADER + b"\r\n", b"body\r\n"),
        ([HEADER, b"\r\n", b"body\r\n", b""], HEADER + b"\r\n", b"body\r\n"),
        ([HEADER[:-1], b"\n\r", b"\nbo", b"dy\r", b"\n"], HEADER + b"\r\n", b"body\r\n"),
        ([HEADER], HEADER, b""),
        ([b"", b"\r\nonly a body\r\n"], b"\r\n", b"only a body\r\n"),
        ([b""], b"", b""),
        ([b"", b"", b""], b"", b""),
    ],
)
def test_chunks_join_to_header_and_body_wherever_they_are_cut(chunks, header, body, cut):
    reader, got = read(chunks, cut=cut)
    assert (reader.header, got) == (header, body)
    assert reader.fault is None
    assert reader.size == len(header + body)


@pytest.mark.rfc("3030 §2")
@pytest.mark.parametrize("cut", [1, 1 << 20])
def test_dots_are_content_and_end_nothing(cut):
    content = HEADER + b"\r\n.\r\n..\r\n.x\r\n.\r\nMAIL FROM:<eve@example.org>\r\n.\r\n"
    reader, body = read([content], cut=cut)
    assert reader.fault is None
    assert reader.header + body == content


@pytest.mark.rfc("5321 §2.3.8")
@pytest.mark.parametrize("cut", [1, 1 << 20])
@pytest.mark.parametrize(
    "tricks",
    [
        [b"\n.\n"],
        [b"\r\n.\n"],
        [b"\r.\r"],
        [b"a\r", b".\r\n"],
        [b"a\r", b"\r\n"],
        [b"a", b"\n"],
        [b"a\r\n", b"\n"],
        [b"a\r", b""],
        [b"a\r"],
        [b"\r", b"", b"", b"x"],
    ],
)
def test_a_bare_cr_or_lf_is_a_fault_wherever_a_chunk_ends(tricks, cut):
    reader, _ = read([HEADER + b"\r\nhello", *tricks], cut=cut)
    assert reader.fault == replies.BARE_LINE_ENDING


@pytest.mark.rfc("5321 §4.1.1.4")
@pytest.mark.parametrize("chunks", [[b"a: b"], [b"a: b\r\n\r\nx"], [b"a: b\r\n\r\n", b"x"], [b"a: b\r\n\r\nx", b""]])
def test_the_last_line_ends_with_crlf_even_if_its_sender_left_that_out(chunks):
    content = b"".join(chunks)
    reader, body = read(chunks, limit=len(content))
    assert reader.fault is None
    assert reader.header + body == content + b"\r\n"
    assert reader.size == len(content) + 2


@pytest.mark.rfc("1870 §6.3")
@pytest.mark.parametrize("size", [100, 101])
def test_the_limit_is_that_of_all_chunks_together(size):
    content = HEADER + b"\r\n"
    content += b"x" * (size - len(content) - 2) + b"\r\n"
    for place in (0, 37, 99, 100):
        reader, _ = read([content[:place], content[place:]], limit=100)
        assert (reader.fault == replies.MESSAGE_TOO_BIG) is (size > 100)


def test_a_chunk_that_is_too_much_is_read_and_none_of_it_kept():
    reader, body = read([HEADER + b"\r\nkept\r\n", b"x" * 1000], cut=10, limit=100)
    assert reader.fault == replies.MESSAGE_TOO_BIG
    assert body == b"kept\r\n"
    assert reader.header == b""


def test_a_header_over_its_limit_is_a_fault():
    reader, body = read([b"X: " + b"y" * 200, b"y" * 200 + b"\r\n\r\nbody\r\n"], header_limit=300)
    assert reader.fault == replies.HEADER_TOO_BIG
    assert (reader.header, body) == (b"", b"")


CONTENT = st.lists(
    st.sampled_from([b"\r\n", b".", b"a", b"\r\n.", b"\r\n.\r\n", b"From: x", b"\xff", b"\x0b", b"\0", b"\r", b"\n"])
).map(b"".join)


@given(CONTENT, st.lists(st.integers(min_value=0, max_value=7)), st.integers(min_value=1, max_value=5))
@example(b"a\r\nb", [2], 1)
def test_chunks_give_what_data_gives(content, lengths, cut):
    """The invariant: however it is cut, BDAT is judged and kept like the same lines after DATA."""
    chunks, place = [], 0
    for length in lengths:
        chunks.append(content[place : place + length])
        place += length
    chunks.append(content[place:])
    reader, body = read(chunks, cut=cut)
    lines = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
    sink = Body()
    data = DataReader(sink.write, 1 << 20, ContentLimits(1 << 16))
    assert data.feed((b"\r\n" + lines).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n") == b""
    # Of two things that are wrong, the one in an earlier piece is told.
    wrong = {replies.BARE_LINE_ENDING.lines, replies.NUL_IN_MESSAGE.lines}
    if reader.fault != data.fault:
        assert reader.fault is not None
        assert data.fault is not None
        assert {reader.fault.lines, data.fault.lines} == wrong
    if reader.fault is None:
        assert (reader.header, body, reader.size, reader.is_ascii) == (
            data.header,
            sink.octets,
            data.size,
            data.is_ascii,
        )


@pytest.mark.rfc("3030 §2")
def test_a_chunk_says_how_long_it_is():
    assert parse_chunk("0") == (0, False)
    assert parse_chunk("0 LAST") == (0, True)
    assert parse_chunk("00086   last") == (86, True)
    assert parse_chunk("9" * 20) == (10**20 - 1, False)


@pytest.mark.parametrize(
    "argument", ["", "LAST", "x", "-1", "+1", "1.5", "0x10", "1LAST", "1 FIRST", "1 LAST x", "9" * 21, "\u0661", "1 2"]
)
def test_what_is_no_length_is_malformed(argument):
    with pytest.raises(Malformed) as raised:
        parse_chunk(argument)
    assert (raised.value.code, raised.value.enhanced) == (501, "5.5.4")
