"""BER as LDAP has it: what is written is read again, and nothing but that is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.identity.ldap.ber import ENUMERATED, INTEGER, OCTETS, SEQUENCE, Elements, element, size_of_first, whole


@pytest.mark.parametrize(
    ("value", "octets"),
    [
        (0, "020100"),
        (127, "02017f"),
        (128, "02020080"),
        (256, "02020100"),
        (-1, "0201ff"),
        (-128, "020180"),
        (0x7FFFFFFF, "02047fffffff"),
    ],
)
def test_integers_are_written_as_the_standard_shows(value: int, octets: str) -> None:
    # -128 needs one octet; what we write has one more at most, and is read as the same number.
    assert Elements(whole(value)).whole() == value
    if value != -128:
        assert whole(value).hex() == octets
    assert Elements(bytes.fromhex(octets)).whole() == value


@pytest.mark.rfc("4511 §5.1")
@pytest.mark.parametrize(
    ("size", "header"), [(0, "0400"), (127, "047f"), (128, "048180"), (255, "0481ff"), (256, "04820100")]
)
def test_lengths_are_definite(size: int, header: str) -> None:
    octets = element(OCTETS, bytes(size))
    assert octets.startswith(bytes.fromhex(header))
    assert size_of_first(octets) == len(octets)
    assert Elements(octets).one(OCTETS) == bytes(size)


def test_the_size_is_known_once_the_header_is_there() -> None:
    octets = element(SEQUENCE, bytes(70_000))
    assert [size_of_first(octets[:count]) for count in range(6)] == [None, None, None, None, None, len(octets)]
    assert size_of_first(octets + b"more") == len(octets)


@pytest.mark.rfc("4511 §5.1")
@pytest.mark.parametrize("octets", ["3080", "3085000000000101", "30ff", "1f0100", "3f8100"])
def test_other_forms_are_refused(octets: str) -> None:
    with pytest.raises(ValueError):
        size_of_first(bytes.fromhex(octets))
    with pytest.raises(ValueError):
        Elements(bytes.fromhex(octets)).any()


def test_another_kind_or_an_early_end_is_refused() -> None:
    for octets in (b"", b"\x02", b"\x02\x01", b"\x02\x00", b"\x04\x01a", b"\x02\x09" + bytes(9), b"\x02\x82\x01"):
        with pytest.raises(ValueError):
            Elements(octets).whole()
    with pytest.raises(ValueError):
        Elements(whole(1, ENUMERATED)).whole(INTEGER)
    with pytest.raises(ValueError):
        Elements(b"").any()


@given(st.lists(st.binary(max_size=300), max_size=10))
def test_what_is_written_is_read(values: list[bytes]) -> None:
    parts = Elements(element(SEQUENCE, *[element(OCTETS, each) for each in values])).within(SEQUENCE)
    found = []
    while parts:
        found.append(parts.one(OCTETS))
    assert found == values


@given(st.binary(max_size=100))
def test_no_octets_raise_anything_else(octets: bytes) -> None:
    for read in (size_of_first, lambda each: Elements(each).any(), lambda each: Elements(each).whole()):
        with contextlib.suppress(ValueError):
            read(octets)
