"""The header that a proxy puts before a connection to say for whom it connects: PROXY protocol 1 and 2, without I/O.

The octets come from a proxy that the configuration names, and are judged as if they came from anybody.  What follows
the header belongs to the client; TLVs of version 2 are skipped.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.peer import plain_address

__all__ = ["HEADER_LIMIT", "Header", "read_header"]

HEADER_LIMIT: Final = 4096
"""The longest header of version 2 that is taken, with its TLVs, in octets."""

_SIGNATURE_1: Final = b"PROXY "
_SIGNATURE_2: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED_2: Final = 16
# Version 1, with the line's end.
_LIMIT_1: Final = 107
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
# Family and transport of what has no TCP client, and how long the addresses are: unspecified, UDP, Unix sockets.
_OTHERS: Final = {0x00: 0, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}


@dataclass(frozen=True, slots=True)
class Header:
    """What a header said.

    Args:
        length: its octets.
        address: of the client; empty if the connection is the proxy's own, or its client has no address for us.
        port: its TCP port.
    """

    length: int
    address: str = ""
    port: int = 0


def read_header(octets: bytes | bytearray) -> Header | None:
    """Return the header with which *octets* begin; None if more must come first.

    Raises:
        Malformed: it is no header, or too long.
    """
    if octets.startswith(_SIGNATURE_1):
        return _read_line(octets)
    if octets.startswith(_SIGNATURE_2):
        return _read_binary(octets) if len(octets) >= _FIXED_2 else None
    if _SIGNATURE_1.startswith(octets) or _SIGNATURE_2.startswith(octets):
        return None
    raise Malformed("no PROXY header")


def _read_line(octets: bytes | bytearray) -> Header | None:
    end = octets.find(b"\n", 0, _LIMIT_1)
    if end < 0:
        if len(octets) >= _LIMIT_1:
            raise Malformed("PROXY header too long")
        return None
    if octets[end - 1] != 0x0D:
        raise Malformed("PROXY header with a bare LF")
    length = end + 1
    family, *words = bytes(octets[len(_SIGNATURE_1) : end - 1]).split(b" ")
    if family == b"UNKNOWN":
        return Header(length)  # whatever follows it
    if family not in (b"TCP4", b"TCP6") or len(words) != 4:
        raise Malformed("PROXY header of an unknown form")
    kind = IPv4Address if family == b"TCP4" else IPv6Address
    source, _ = _address(kind, words[0]), _address(kind, words[1])
    port, _ = _port(words[2]), _port(words[3])
    return Header(length, source, port)


def _address(kind: type[IPv4Address | IPv6Address], word: bytes) -> str:
    try:
        text = word.decode("ascii")
        if "%" in text:
            raise ValueError  # a zone is of the proxy's own machine
        return plain_address(_text(kind(text).packed))
    except ValueError:
        raise Malformed("PROXY header with a wrong address") from None


def _port(word: bytes) -> int:
    if not (word.isdigit() and len(word) <= 5 and int(word) <= 65535):
        raise Malformed("PROXY header with a wrong port")
    return int(word)


def _read_binary(octets: bytes | bytearray) -> Header | None:
    command, family = octets[12], octets[13]
    if command not in (_LOCAL, _PROXY):
        raise Malformed("PROXY header of an unknown version or command")
    length = _FIXED_2 + int.from_bytes(octets[14:16], "big")
    if length > HEADER_LIMIT:
        raise Malformed("PROXY header too long")
    if command == _PROXY:
        needed = {_TCP4: 12, _TCP6: 36, **_OTHERS}.get(family)
        if needed is None:
            raise Malformed("PROXY header of an unknown family")
        if length < _FIXED_2 + needed:
            raise Malformed("PROXY header too short for its addresses")
    if len(octets) < length:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return Header(length)
    size = 4 if family == _TCP4 else 16
    address = bytes(octets[_FIXED_2 : _FIXED_2 + size])
    at = _FIXED_2 + 2 * size
    return Header(length, plain_address(_text(address)), int.from_bytes(octets[at : at + 2], "big"))


def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
