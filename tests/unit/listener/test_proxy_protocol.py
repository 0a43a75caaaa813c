"""The PROXY header, both versions, as proxies send it and as nobody should."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatepost.errors import Malformed
from gatepost.listener.proxy_protocol import HEADER_LIMIT, Header, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LONGEST = b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535"


def binary(
    source: str = "", port: int = 0, *, command: int = 0x21, family: int | None = None, tlv: bytes = b"", addresses=None
) -> bytes:
    """Make a header of version 2."""
    if addresses is None:
        packed = ipaddress.ip_address(source).packed if source else b""
        addresses = packed + packed + struct.pack("!HH", port, 465) if packed else b""
    if family is None:
        family = {0: 0x00, 12: 0x11, 36: 0x21}[len(addresses)]
    body = addresses + tlv
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 465\r\n", "192.0.2.1", 56324),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
    (b"PROXY TCP6 2001:DB8::0:1 2001:db8::2 0 465\r\n", "2001:db8::1", 0),
    (b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 465\r\n", "192.0.2.1", 1),
    (b"PROXY UNKNOWN\r\n", "", 0),
    (b"PROXY UNKNOWN what ever\xff stands here\r\n", "", 0),
    (LONGEST.ljust(105) + b"\r\n", "", 0),
    (binary("192.0.2.1", 56324), "192.0.2.1", 56324),
    (binary("2001:db8::1", 65535), "2001:db8::1", 65535),
    (binary("::ffff:192.0.2.1", 7), "192.0.2.1", 7),
    (binary("192.0.2.1", 9, tlv=b"\x02\x00\x04mail\x20\x00\x02\xff\xff"), "192.0.2.1", 9),
    (binary("192.0.2.1", 9, tlv=b"no TLV at all"), "192.0.2.1", 9),
    (binary("192.0.2.1", 9, tlv=bytes(HEADER_LIMIT - 28)), "192.0.2.1", 9),
    (binary(), "", 0),
    (binary(tlv=b"\x04\x00\x01x"), "", 0),
    (binary(command=0x20), "", 0),
    (binary("192.0.2.1", 9, command=0x20), "", 0),
    (binary(command=0x20, family=0xFF, addresses=b"anything"), "", 0),
    (binary(family=0x31, addresses=bytes(216)), "", 0),
    (binary(family=0x32, addresses=bytes(216)), "", 0),
    (binary(family=0x12, addresses=bytes(12)), "", 0),
]
BAD = [
    b"EHLO client.example\r\n",
    b"\x16\x03\x01\x02\x00\x01",
    b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
    b"PROXY \n",
    b"PROXY \r\n",
    b"PROXY TCP4\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 nowhere 1 2\r\n",
    b"PROXY TCP4 \xb2.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 000002\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 \xb2 2\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n",
    LONGEST.ljust(106) + b"\r\n",
    b"PROXY UNKNOWN " + b"x" * 200,
    binary("192.0.2.1", 1, command=0x11),
    binary("192.0.2.1", 1, command=0x22),
    binary(family=0x10, addresses=bytes(12)),
    binary(family=0x41, addresses=bytes(36)),
    binary(family=0x11, addresses=bytes(11)),
    binary(family=0x21, addresses=bytes(35)),
    binary(family=0x31, addresses=bytes(215)),
    binary("192.0.2.1", 9, tlv=bytes(HEADER_LIMIT - 27)),
    SIGNATURE + b"\x21\x11\xff\xff",
    b"\r\n\r\n\0\r\nQUIT\r\n",
]


@pytest.mark.parametrize(("octets", "address", "port"), GOOD)
def test_a_header_is_read_once_it_is_whole_and_what_follows_is_left(octets: bytes, address: str, port: int) -> None:
    assert [read_header(octets[:end]) for end in range(len(octets))] == [None] * len(octets)
    header = Header(len(octets), address, port)
    assert read_header(octets) == header
    assert read_header(bytearray(octets + b"EHLO x\r\n")) == header


@pytest.mark.parametrize("octets", BAD)
def test_anything_else_is_refused_also_octet_by_octet(octets: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        read_header(octets)
    assert len(refused.value.reason) < 100
    with pytest.raises(Malformed):
        for end in range(len(octets) + 1):
            assert read_header(octets[:end]) is None


def test_a_header_that_announces_too_much_is_refused_before_it_comes() -> None:
    with pytest.raises(Malformed, match="too long"):
        read_header(SIGNATURE + b"\x21\x11\x10\x00")


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
ports = st.integers(0, 65535)


@given(addresses, ports, st.binary(max_size=64), st.booleans())
def test_any_address_comes_through_both_versions(source, port: int, rest: bytes, is_text: bool) -> None:
    if is_text:
        octets = f"PROXY TCP{source.version} {source} {source} {port} 465\r\n".encode()
    else:
        octets = binary(str(source), port)
    header = read_header(octets + rest)
    assert header is not None
    assert header.length == len(octets)
    assert header.port == port
    mapped = getattr(source, "ipv4_mapped", None)
    assert ipaddress.ip_address(header.address) == (mapped or source)


starts = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", b"PROXY TCP6 ::", SIGNATURE, SIGNATURE + b"\x21\x11"])


@given(starts, st.binary(max_size=300))
def test_nothing_but_a_header_a_wait_or_a_refusal_comes_of_any_octets(start: bytes, rest: bytes) -> None:
    octets = start + rest
    try:
        header = read_header(octets)
    except Malformed:
        return
    if header is None:
        assert len(octets) < HEADER_LIMIT
    else:
        assert 0 < header.length <= min(len(octets), HEADER_LIMIT)
        assert read_header(octets[: header.length]) == header
