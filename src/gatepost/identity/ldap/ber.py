"""The part of BER that LDAP uses (RFC 4511 §5.1): definite lengths, tags of one octet; read strictly, within bounds."""

from __future__ import annotations

from typing import Final

__all__ = [
    "BOOLEAN",
    "ENUMERATED",
    "INTEGER",
    "OCTETS",
    "SEQUENCE",
    "SET",
    "Elements",
    "element",
    "size_of_first",
    "whole",
]

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
OCTETS: Final = 0x04
ENUMERATED: Final = 0x0A
SEQUENCE: Final = 0x30
SET: Final = 0x31

_LENGTH_OCTETS: Final = 4
_INTEGER_OCTETS: Final = 8


def element(tag: int, *parts: bytes) -> bytes:
    """Return an element whose content is *parts*, one after the other."""
    content = b"".join(parts)
    size = len(content)
    # RFC 4511 §5.1: only the definite form of lengths.
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def whole(value: int, tag: int = INTEGER) -> bytes:
    """Return an integer, or another type that is written as one."""
    return element(tag, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def size_of_first(octets: bytes | bytearray) -> int | None:
    """Return how long the element at the start of *octets* is in all; None if that cannot be known yet.

    Raises:
        ValueError: it is no element.
    """
    if len(octets) < 2:
        return None
    _, start, size = _header(octets, 0)
    return None if start > len(octets) else start + size


class Elements:
    """The elements inside *octets*, read one after the other.  Every method raises `ValueError` for what is no BER."""

    __slots__ = ("_at", "_octets")

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._octets)

    def any(self) -> tuple[int, bytes]:
        """Read an element: its tag and its content."""
        if len(self._octets) - self._at < 2:
            raise ValueError("ends too early")
        tag, start, size = _header(self._octets, self._at)
        if start + size > len(self._octets):
            raise ValueError("ends too early")
        self._at = start + size
        return tag, self._octets[start : self._at]

    def one(self, tag: int) -> bytes:
        """Read an element that must have that tag: its content."""
        found, content = self.any()
        if found != tag:
            raise ValueError("has an element of another kind than expected")
        return content

    def within(self, tag: int) -> Elements:
        """Read an element that must have that tag: what is inside it."""
        return Elements(self.one(tag))

    def whole(self, tag: int = INTEGER) -> int:
        """Read an integer, or another type that is written as one."""
        content = self.one(tag)
        if not 0 < len(content) <= _INTEGER_OCTETS:
            raise ValueError("has an integer of a wrong length")
        return int.from_bytes(content, "big", signed=True)


def _header(octets: bytes | bytearray, at: int) -> tuple[int, int, int]:
    """Return tag, place of the content, and size of the content; the place may lie behind the end of *octets*."""
    tag, first = octets[at], octets[at + 1]
    # RFC 4511 §5.1: all tags of LDAP fit into one octet.
    if tag & 0x1F == 0x1F:
        raise ValueError("has a tag of several octets")
    start = at + 2
    if first < 0x80:
        return tag, start, first
    # RFC 4511 §5.1: the indefinite form (0x80) is not used.
    count = first & 0x7F
    if not 0 < count <= _LENGTH_OCTETS:
        raise ValueError("has a length that is no definite one of four octets at most")
    return tag, start + count, int.from_bytes(octets[start : start + count], "big")
