"""Replies of a next hop: whatever arrives gives replies or `BadReply`, and how it was cut makes no difference."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.relay import replies as replies_module
from gatepost.relay.replies import LINE_LIMIT, REPLY_LIMIT, TEXT_LIMIT, BadReply, ReplyReader, WireReply


def read(data: bytes) -> list[WireReply]:
    return list(ReplyReader().feed(data))


def read_by_octet(data: bytes) -> list[WireReply]:
    reader = ReplyReader()
    return [reply for at in range(len(data)) for reply in reader.feed(data[at : at + 1])]


@pytest.mark.rfc("5321 §4.2")
@pytest.mark.parametrize(
    ("data", "replies"),
    [
        (b"250 ok\r\n", [WireReply(250, ("ok",))]),
        (b"250\r\n", [WireReply(250, ("",))]),
        (b"250 \r\n", [WireReply(250, ("",))]),
        (b"250-one\r\n250-\r\n250 three\r\n", [WireReply(250, ("one", "", "three"))]),
        (b"250-one\r\n250\r\n", [WireReply(250, ("one", ""))]),
        (b"250 a\r\n550 b\r\n354 c\r\n", [WireReply(250, ("a",)), WireReply(550, ("b",)), WireReply(354, ("c",))]),
        (b"571 not in the list, still said\r\n", [WireReply(571, ("not in the list, still said",))]),
        (b"250 un", []),
        (b"250-more to come\r\n", []),
    ],
)
def test_good_replies_are_read(data: bytes, replies: list[WireReply]) -> None:
    assert read(data) == replies
    assert read(data) == replies  # remembered
    assert read_by_octet(data) == replies


def test_what_is_remembered_of_other_connections_does_not_complete_what_has_begun_on_this_one() -> None:
    read(b"250 ok\r\n")
    reader = ReplyReader()
    reader.feed(b"250-one\r\n")
    assert reader.feed(b"250 ok\r\n") == (WireReply(250, ("one", "ok")),)
    reader.feed(b"25")
    with pytest.raises(BadReply):
        reader.feed(b"250 ok\r\n")


def test_replies_that_are_never_the_same_are_not_kept_for_ever() -> None:
    for number in range(1000):
        read(b"250 queued as %d\r\n" % number)
    assert len(replies_module._known) <= replies_module._KNOWN_LIMIT


@pytest.mark.rfc("5321 §4.2")
@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"150 no such class\r\n",
        b"650 no such class\r\n",
        b" 250 ok\r\n",
        b"250_ok\r\n",
        b"250-one\r\n251 two\r\n",
        b"250-one\r\n550-two\r\n",
        b"\xb2\xb5\xb0 ok\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(BadReply):
        read(data)
    with pytest.raises(BadReply):
        read_by_octet(data)


@pytest.mark.rfc("5321 §2.3.8")
@pytest.mark.parametrize("data", [b"250 ok\n", b"250 a\n550 b\r\n", b"250-a\n250 b\r\n"])
def test_a_bare_lf_is_no_line_end(data: bytes) -> None:
    with pytest.raises(BadReply, match="bare LF"):
        read(data)
    with pytest.raises(BadReply, match="bare LF"):
        read_by_octet(data)


def test_a_line_of_the_longest_length_is_read_and_one_more_octet_is_refused() -> None:
    line = b"250 " + b"x" * (LINE_LIMIT - 4)
    assert len(read(line + b"\r\n")[0].lines[0]) == LINE_LIMIT - 4
    with pytest.raises(BadReply, match="too long"):
        read(line + b"x\r\n")


def test_a_line_without_end_is_refused_before_its_end() -> None:
    with pytest.raises(BadReply, match="too long"):
        read_by_octet(b"250 " + b"x" * (LINE_LIMIT + 1))


def test_a_reply_without_end_is_refused() -> None:
    reader = ReplyReader()
    with pytest.raises(BadReply, match="too long"):
        for _ in range(REPLY_LIMIT // 8):
            reader.feed(b"250-again\r\n")


def test_the_length_is_counted_for_each_reply() -> None:
    reader = ReplyReader()
    for _ in range(REPLY_LIMIT // 100):
        assert len(reader.feed(b"250 " + b"x" * 200 + b"\r\n")) == 1


@pytest.mark.parametrize("bad", [b"junk\r\n", b"250 \n", b"250 ok\n250", b"x" * 5000])
def test_good_replies_in_one_piece_with_a_bad_one_are_not_lost(bad: bytes) -> None:
    with pytest.raises(BadReply) as raised:
        ReplyReader().feed(b"250 one\r\n550-two\r\n550 lines\r\n" + bad)
    assert raised.value.before == [WireReply(250, ("one",)), WireReply(550, ("two", "lines"))]


def test_control_and_8_bit_characters_are_cleaned() -> None:
    (reply,) = read(b"550 a\x1b[31mb\x00\tc \xc3\xa9\r\n")
    assert reply.lines == ("a?[31mb? c ??",)


def test_it_knows_whether_more_has_arrived() -> None:
    reader = ReplyReader()
    reader.feed(b"220 go\r\n")
    assert reader.is_between
    reader.feed(b"2")
    assert not reader.is_between
    reader = ReplyReader()
    reader.feed(b"250-one\r\n")
    assert not reader.is_between


@pytest.mark.rfc("2034 §4")
@pytest.mark.parametrize(
    ("lines", "text", "enhanced"),
    [
        (("5.1.1 no such user",), "5.1.1 no such user", "5.1.1"),
        (("5.7.1 one", "5.7.1 two"), "5.7.1 one two", "5.7.1"),
        (("no code",), "no code", "5.0.0"),
        (("2.0.0 of another class",), "2.0.0 of another class", "5.0.0"),
        (("5.1.1000 too long",), "5.1.1000 too long", "5.0.0"),
        (("",), "", "5.0.0"),
        (("5.2.2",), "5.2.2", "5.2.2"),
    ],
)
def test_what_is_recorded_of_a_reply(lines: tuple[str, ...], text: str, enhanced: str) -> None:
    remote = WireReply(550, lines).remote()
    assert (remote.code, remote.text, remote.enhanced, remote.is_remote) == (550, text, enhanced, True)


def test_what_is_recorded_is_not_too_long() -> None:
    remote = WireReply(550, ("5.7.1 x", *("5.7.1 " + "y" * 500,) * 9)).remote()
    assert len(remote.text) == TEXT_LIMIT
    assert remote.text.endswith(" ...")


@given(st.binary(max_size=300))
def test_octets_give_replies_or_bad_reply_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(BadReply):
        for reply in read(data):
            assert 200 <= reply.code <= 599
            assert all(line.isascii() and line.isprintable() for line in reply.lines)


PART = st.sampled_from([b"250", b"-", b" ", b"ok", b"\r\n", b"\n", b"550 x\r\n", b"\r", b"\xff", b"250-a\r\n"])


@given(st.lists(PART, max_size=20).map(b"".join), st.lists(st.integers(0, 80)))
def test_the_cuts_make_no_difference(data: bytes, cuts: list[int]) -> None:
    def outcome(pieces: list[bytes]) -> list[WireReply] | str:
        reader = ReplyReader()
        try:
            return [reply for piece in pieces for reply in reader.feed(piece)]
        except BadReply:
            return "bad"

    places = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert outcome(pieces) == outcome([data])
