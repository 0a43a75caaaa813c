"""The messages of LDAP that we send and read (RFC 4511 §4): bind, search, StartTLS, unbind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from gatepost.identity.ldap.ber import (
    BOOLEAN,
    ENUMERATED,
    INTEGER,
    OCTETS,
    SEQUENCE,
    SET,
    Elements,
    element,
    whole,
)

__all__ = [
    "BIND_RESPONSE",
    "EXTENDED_RESPONSE",
    "PASSWORD_POLICY",
    "SCOPES",
    "SEARCH_DONE",
    "SEARCH_ENTRY",
    "START_TLS",
    "UNBIND",
    "Entry",
    "Message",
    "Result",
    "bind_request",
    "is_password_spent",
    "message",
    "parse_entry",
    "parse_message",
    "parse_result",
    "search_request",
]

BIND_RESPONSE: Final = 0x61
SEARCH_ENTRY: Final = 0x64
SEARCH_DONE: Final = 0x65
EXTENDED_RESPONSE: Final = 0x78

SCOPES: Final = {"base": 0, "one": 1, "sub": 2}
"""How far below its base a search goes, by name."""

UNBIND: Final = element(0x42)
# RFC 4511 §4.14.1: StartTLS is an extended request without a value.
START_TLS: Final = element(0x77, element(0x80, b"1.3.6.1.4.1.1466.20037"))

_POLICY: Final = b"1.3.6.1.4.1.42.2.27.8.5.1"
_NETSCAPE_EXPIRED: Final = b"2.16.840.1.113730.3.4.4"
PASSWORD_POLICY: Final = element(0xA0, element(SEQUENCE, element(OCTETS, _POLICY)))
"""The control that asks what the password policy says (draft-behera-ldap-password-policy §6.1)."""

_TEXT_LIMIT: Final = 200


class Message(NamedTuple):
    """What came: the number of the request it belongs to, the tag of the operation, its content, and its controls."""

    number: int
    tag: int
    content: bytes
    controls: bytes


class Result(NamedTuple):
    """How an operation ended: a code (RFC 4511 §A.1), and what the directory says of it, for the log."""

    code: int
    text: str

    def __str__(self) -> str:
        return f"result {self.code} ({self.text})" if self.text else f"result {self.code}"


class Entry(NamedTuple):
    """An entry: its distinguished name, and the values of its attributes by name in lower case."""

    name: bytes
    values: dict[str, list[bytes]]


def message(number: int, operation: bytes, controls: bytes = b"") -> bytes:
    """Return a message as it goes over the wire."""
    return element(SEQUENCE, whole(number), operation, controls)


def bind_request(name: bytes, password: bytes) -> bytes:
    """Return a simple bind."""
    return element(0x60, whole(3), element(OCTETS, name), element(0x80, password))


def search_request(
    base: str, scope: str, written_filter: bytes, attributes: Sequence[str], *, size_limit: int, seconds: int
) -> bytes:
    """Return a search that follows no alias, and gets values and names."""
    return element(
        0x63,
        element(OCTETS, base.encode()),
        whole(SCOPES[scope], ENUMERATED),
        whole(0, ENUMERATED),
        whole(size_limit),
        whole(seconds),
        element(BOOLEAN, b"\x00"),
        written_filter,
        element(SEQUENCE, *[element(OCTETS, each.encode()) for each in attributes]),
    )


def parse_message(octets: bytes) -> Message:
    """Read a message.  Raises `ValueError`."""
    parts = Elements(octets).within(SEQUENCE)
    number = parts.whole(INTEGER)
    tag, content = parts.any()
    return Message(number, tag, content, parts.one(0xA0) if parts else b"")


def parse_result(content: bytes) -> Result:
    """Read how an operation ended.  Raises `ValueError`."""
    parts = Elements(content)
    code = parts.whole(ENUMERATED)
    parts.one(OCTETS)
    text = parts.one(OCTETS)[:_TEXT_LIMIT].decode("utf-8", "replace")
    return Result(code, "".join([each if each.isprintable() else " " for each in text]).strip())


def parse_entry(content: bytes) -> Entry:
    """Read an entry.  Raises `ValueError`."""
    parts = Elements(content)
    name = parts.one(OCTETS)
    values: dict[str, list[bytes]] = {}
    attributes = parts.within(SEQUENCE)
    while attributes:
        attribute = attributes.within(SEQUENCE)
        # RFC 4511 §4.1.4: names are not case-sensitive; options ("mail;lang-en") make subtypes of what we asked for.
        described = attribute.one(OCTETS).decode("ascii").lower().partition(";")[0]
        found = values.setdefault(described, [])
        these = attribute.within(SET)
        while these:
            found.append(these.one(OCTETS))
    return Entry(name, values)


def is_password_spent(controls: bytes) -> bool:
    """Tell whether a password that was right is good for nothing but to be changed.  Raises `ValueError`."""
    each = Elements(controls)
    while each:
        control = each.within(SEQUENCE)
        kind = control.one(OCTETS)
        if kind == _NETSCAPE_EXPIRED:
            return True
        while kind == _POLICY and control:
            tag, value = control.any()
            if tag == OCTETS and _has_error(value):
                return True
    return False


def _has_error(value: bytes) -> bool:
    """draft-behera-ldap-password-policy §6.2: SEQUENCE { warning [0] OPTIONAL, error [1] ENUMERATED OPTIONAL }."""
    parts = Elements(value).within(SEQUENCE)
    while parts:
        tag, _ = parts.any()
        if tag == 0x81:
            return True
    return False
