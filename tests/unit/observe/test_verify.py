"""The chains of an audit trail: whatever is done to a line in the middle is noticed, and where."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.observe.verify import NOTHING_BEFORE, Break, Verdict, parse_line, verify


class Writer:
    """Writes chains as a process does, but into memory."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.last: dict[str, tuple[int, str]] = {}

    def write(self, worker: int, chain: str, *, previous: str | None = None, **more: object) -> None:
        number, digest = self.last.get(chain, (0, NOTHING_BEFORE))
        data = {"time": "2026-01-01T00:00:00.000Z", "event": "x", **more, "worker": worker, "chain": chain}
        data |= {"number": number + 1, "previous": previous or digest}
        line = json.dumps(data, separators=(",", ":")).encode()
        self.last[chain] = number + 1, sha256(line).hexdigest()
        self.lines.append(line)


def two_workers() -> list[bytes]:
    """Return a trail of two workers, of which the first is replaced in the middle."""
    writer = Writer()
    for number in range(4):
        writer.write(0, "a", text=f"a{number}")
        writer.write(1, "b", text=f"b{number}")
    writer.write(0, "c", previous=writer.last["a"][1])
    for number in range(3):
        writer.write(1, "b", text=f"b{number}")
        writer.write(0, "c", text=f"c{number}")
    return writer.lines


def check(*files: Sequence[bytes]) -> Verdict:
    return verify((f"file{number}", [line + b"\n" for line in lines]) for number, lines in enumerate(files))


def broken(*files: Sequence[bytes]) -> Break:
    first = check(*files).first
    assert first is not None
    return first


def test_a_whole_trail_is_whole() -> None:
    assert check(two_workers()) == Verdict(lines=15, chains=3, continued=0, torn=0, first=None)


def test_a_trail_over_several_files_is_one() -> None:
    lines = two_workers()
    for cut in range(len(lines) + 1):
        assert check(lines[:cut], lines[cut:]).first is None


def test_the_newer_file_alone_is_whole_and_says_that_it_goes_on() -> None:
    verdict = check(two_workers()[3:])
    assert verdict.first is None
    assert verdict.continued == 2


@pytest.mark.parametrize("number", range(15))
def test_a_changed_value_is_noticed_where_it_is(number: int) -> None:
    lines = two_workers()
    lines[number] = lines[number].replace(b'"event":"x"', b'"event":"y"')
    if number in (13, 14):  # the last of their chains, which nothing covers yet
        assert check(lines).first is None
    else:
        assert broken(lines).line == number + 1


@pytest.mark.parametrize("number", range(15))
def test_a_line_that_is_gone_is_noticed(number: int) -> None:
    lines = two_workers()
    kept = lines[:number] + lines[number + 1 :]
    if number in (13, 14):
        assert check(kept).first is None
    elif number in (0, 1):
        assert check(kept).continued == 1  # as if it lay in an older file
    else:
        assert broken(kept).line in range(number - 1, number + 3)


@pytest.mark.parametrize("number", range(15))
def test_a_line_that_is_no_json_any_more_is_noticed_where_it_is(number: int) -> None:
    lines = two_workers()
    lines[number] = lines[number][:40]
    if number == 6:  # the last of its chain: the line before it seems to be that
        assert broken(lines).line == 5
    else:
        assert broken(lines) == Break("file0", number + 1, "is not a whole line of an audit trail")


@pytest.mark.parametrize(("one", "other"), [(2, 4), (3, 5), (0, 2), (9, 11)])
def test_lines_that_changed_places_are_noticed(one: int, other: int) -> None:
    lines = two_workers()
    lines[one], lines[other] = lines[other], lines[one]
    assert check(lines).first is not None


def test_a_line_that_stands_twice_is_noticed() -> None:
    lines = two_workers()
    assert broken([*lines, lines[-1]]) == Break("file0", 16, "stands twice")


def test_a_line_that_somebody_added_is_noticed() -> None:
    lines = two_workers()
    added = Writer()
    added.last["a"] = (3, "f" * 64)
    added.write(0, "a")
    assert check([*lines[:5], *added.lines, *lines[5:]]).first is not None
    other = Writer()
    other.last["z"] = (3, "f" * 64)
    other.write(0, "z")
    assert broken([*lines, *other.lines]).line == 16


def test_the_last_line_of_a_chain_is_covered_by_the_next_chain() -> None:
    lines = two_workers()
    lines[6] = lines[6].replace(b"a3", b"a9")
    assert broken(lines) == Break("file0", 7, "was changed, or lines of its chain are missing after it")


def test_a_chain_that_goes_on_after_the_next_one_began_is_noticed() -> None:
    writer = Writer()
    writer.write(0, "a")
    writer.write(0, "b", previous=writer.last["a"][1])
    writer.write(0, "a")
    assert broken(writer.lines) == Break("file0", 3, "comes after the begin of a later chain")


def test_a_chain_of_another_worker_is_noticed() -> None:
    writer = Writer()
    writer.write(0, "a")
    writer.write(1, "a")
    assert broken(writer.lines).line == 2


def test_half_a_line_that_a_chain_tells_of_is_no_break() -> None:
    writer = Writer()
    writer.write(0, "a")
    half = b'{"time":"2026-01-01T00:00:00.000Z","eve'
    writer.lines.append(half)
    writer.write(0, "a", torn=True)
    verdict = check(writer.lines)
    assert verdict.first is None
    assert verdict.torn == 1
    writer.lines.insert(0, half)
    assert broken(writer.lines).line == 1, "one is told of, not two"


def test_half_a_line_before_a_whole_one_spoils_neither_chain_nor_count() -> None:
    writer = Writer()
    writer.write(0, "a")
    writer.write(0, "a")
    writer.lines[1] = b'{"time":"2026-01-01T00:00:00.000Z","eve' + writer.lines[1]
    writer.write(0, "a", torn=True)
    verdict = check(writer.lines)
    assert verdict.first is None
    assert verdict.torn == 1


def test_an_empty_trail_is_whole() -> None:
    assert check([]) == Verdict(0, 0, 0, 0, None)


@given(st.one_of(st.binary(), st.text().map(str.encode), st.binary().map(lambda rest: b'{"time":"' + rest)))
def test_octets_are_a_line_or_none(octets: bytes) -> None:
    assert parse_line(octets) is None


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_of_another_shape_is_no_line(value: object) -> None:
    data = {"time": "t", "worker": value, "chain": value, "number": value, "previous": value}
    assert parse_line(json.dumps(data, separators=(",", ":")).encode()) is None


@given(st.integers(0, 14), st.data())
def test_no_changed_octet_in_the_middle_goes_unnoticed(number: int, data: st.DataObject) -> None:
    lines = two_workers()
    if number in (13, 14):
        return
    line = bytearray(lines[number])
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] ^= 1 << data.draw(st.integers(0, 6))
    lines[number] = bytes(line)
    verdict = check(lines)
    assert verdict.first is not None or verdict.continued


def test_a_begin_whose_worker_was_changed_is_a_break() -> None:
    lines = two_workers()
    for octet in b"123456789":
        changed = [lines[0].replace(b'"worker":0', b'"worker":' + bytes([octet]), 1), *lines[1:]]
        assert check(changed).first is not None
