"""Dot-stuffing: any cut of the content gives the same octets, and taking the dots away gives the content back."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatepost.relay.stuffing import DotStuffer, stuff

CONTENT = st.lists(st.sampled_from([b".", b"\r\n", b"a", b"\r\n.", b"..", b"\r"]), max_size=30).map(b"".join)


def unstuffed(wire: bytes) -> bytes:
    """Take the wire form apart as a server does, line by line."""
    lines = wire.split(b"\r\n")
    end = lines.index(b".")
    assert lines[end + 1 :] == [b""], "octets after the final dot"
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines[:end])


@pytest.mark.rfc("5321 §4.5.2")
@given(CONTENT)
@example(b"")
@example(b".")
@example(b"\r\n.\r\n")
@example(b"ends without a line end")
def test_the_next_hop_gets_the_content_back(content: bytes) -> None:
    complete = content if not content or content.endswith(b"\r\n") else content + b"\r\n"
    assert unstuffed(stuff(content)) == complete


@pytest.mark.rfc("5321 §4.5.2")
@given(CONTENT, st.lists(st.integers(0, 60)))
@example(b"a\r\n.b\r\n", [1, 2, 3])
@example(b".", [])
def test_any_cut_gives_the_same_octets(content: bytes, cuts: list[int]) -> None:
    places = sorted({0, *(cut % (len(content) + 1) for cut in cuts), len(content)})
    stuffer = DotStuffer()
    wire = b"".join(stuffer.feed(content[start:end]) for start, end in itertools.pairwise(places))
    assert wire + stuffer.finish() == stuff(content)


@given(CONTENT)
def test_octet_by_octet_is_the_same_as_whole(content: bytes) -> None:
    stuffer = DotStuffer()
    wire = b"".join(stuffer.feed(content[at : at + 1]) for at in range(len(content)))
    assert wire + stuffer.finish() == stuff(content)


@pytest.mark.rfc("5321 §4.1.1.4")
@pytest.mark.parametrize(
    ("content", "wire"),
    [
        (b"", b".\r\n"),
        (b"a\r\n", b"a\r\n.\r\n"),
        (b"a", b"a\r\n.\r\n"),
        (b".\r\n", b"..\r\n.\r\n"),
        (b"a\r\n.b\r\n..\r\n", b"a\r\n..b\r\n...\r\n.\r\n"),
        (b"a.\r\n", b"a.\r\n.\r\n"),
    ],
)
def test_known_answers(content: bytes, wire: bytes) -> None:
    assert stuff(content) == wire
