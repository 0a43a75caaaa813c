"""Filters of searches: read from their text (RFC 4515) once, and written for each login (RFC 4511 §4.5.1.7).

The login is put into a value that was already read as one, so nothing in it can change what the filter asks.
"""

from __future__ import annotations

import re
from typing import Final

from gatepost.identity.ldap.ber import element
from gatepost.identity.ldap.names import LOGIN

__all__ = ["Filter", "parse_filter"]

_DEPTH_LIMIT: Final = 20
_AND, _OR, _NOT = 0xA0, 0xA1, 0xA2
_EQUAL, _SUBSTRINGS, _GREATER, _LESS, _PRESENT, _APPROXIMATE, _EXTENSIBLE = 0xA3, 0xA4, 0xA5, 0xA6, 0x87, 0xA8, 0xA9
_INITIAL, _ANY, _FINAL = 0x80, 0x81, 0x82
_KINDS: Final = {"=": _EQUAL, ">=": _GREATER, "<=": _LESS, "~=": _APPROXIMATE}

_ATTRIBUTE: Final = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)(?:;[A-Za-z0-9-]+)*"
_RULE: Final = r"(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)"
# RFC 4515 §3: "(" attr filtertype assertionvalue ")", or attr [":dn"] [":" rule] ":=" value.
_ITEM: Final = re.compile(
    rf"\((?:(?P<attribute>{_ATTRIBUTE})(?P<kind>[~<>]?=)"
    rf"|(?P<extended>{_ATTRIBUTE})?(?P<dn>:[dD][nN])?(?P<rule>:{_RULE})?:=)"
    # RFC 4515 §3: "(", ")", "\" and NUL stand in a value as a backslash and two hexadecimal digits only.
    r"(?P<value>(?:[^()\\\0]|\\[0-9A-Fa-f]{2})*)\)"
)
_ESCAPED: Final = re.compile(rb"\\([0-9A-Fa-f]{2})")


class Filter:
    """A filter, or a part of one.

    Args:
        tag: of the element that it is.
        parts: what is inside it: octets that are written already, further filters, or values of the login.
    """

    __slots__ = ("_parts", "_tag")

    def __init__(self, tag: int, *parts: bytes | Filter | _Value) -> None:
        self._tag = tag
        self._parts = parts

    def written(self, login: str) -> bytes:
        """Return it as it goes to the directory, for *login*."""
        return element(self._tag, *[each if isinstance(each, bytes) else each.written(login) for each in self._parts])

    @property
    def names_login(self) -> bool:
        """Whether it asks for the login at all."""
        return any(not isinstance(each, bytes) and each.names_login for each in self._parts)


class _Value:
    """A value that may hold the login, some times."""

    __slots__ = ("_pieces", "_tag")

    def __init__(self, tag: int, text: str) -> None:
        self._tag = tag
        self._pieces = [_unescape(each) for each in text.split(LOGIN)]

    def written(self, login: str) -> bytes:
        return element(self._tag, login.encode().join(self._pieces))

    @property
    def names_login(self) -> bool:
        return len(self._pieces) > 1


def parse_filter(text: str) -> Filter:
    """Read a filter, in which ``{login}`` stands for the login.

    Raises:
        ValueError: it is none; the text says where.
    """
    found, end = _filter(text, 0, 0)
    if end != len(text):
        raise ValueError(f"goes on after its end, at character {end + 1}")
    return found


def _filter(text: str, at: int, depth: int) -> tuple[Filter, int]:
    if depth > _DEPTH_LIMIT:
        raise ValueError("is nested too deeply")
    start = text[at : at + 2]
    if start in ("(&", "(|"):
        parts, at = [], at + 2
        while text[at : at + 1] == "(":
            part, at = _filter(text, at, depth + 1)
            parts.append(part)
        # "(&)" and "(|)" are true and false to some; we ask for something.
        if not parts:
            raise ValueError(f"has nothing to combine, at character {at + 1}")
        return Filter(_AND if start == "(&" else _OR, *parts), _close(text, at)
    if start == "(!":
        part, at = _filter(text, at + 2, depth + 1)
        return Filter(_NOT, part), _close(text, at)
    item = _ITEM.match(text, at)
    if item is None:
        raise ValueError(f"is no filter, at character {at + 1}")
    return (_extensible(item, at) if item["attribute"] is None else _simple(item)), item.end()


def _close(text: str, at: int) -> int:
    if text[at : at + 1] != ")":
        raise ValueError(f"lacks a closing bracket, at character {at + 1}")
    return at + 1


def _simple(item: re.Match[str]) -> Filter:
    attribute, kind, value = item["attribute"].encode(), item["kind"], item["value"]
    if kind != "=":
        return Filter(_KINDS[kind], element(0x04, attribute), _Value(0x04, value))
    if value == "*":
        return Filter(_PRESENT, attribute)
    if "*" not in value:
        return Filter(_EQUAL, element(0x04, attribute), _Value(0x04, value))
    first, *between, last = value.split("*")
    pieces = [_Value(_INITIAL, first)] if first else []
    pieces += [_Value(_ANY, each) for each in between if each]
    pieces += [_Value(_FINAL, last)] if last else []
    if not pieces:
        raise ValueError(f"holds asterisks and nothing else, at character {item.start() + 1}")
    return Filter(_SUBSTRINGS, element(0x04, attribute), Filter(0x30, *pieces))


def _extensible(item: re.Match[str], at: int) -> Filter:
    attribute, rule = item["extended"], item["rule"]
    # RFC 4515 §3: without an attribute there must be a rule.
    if not attribute and not rule:
        raise ValueError(f"names neither attribute nor rule, at character {at + 1}")
    parts: list[bytes | Filter | _Value] = []
    if rule:
        parts.append(element(0x81, rule[1:].encode()))
    if attribute:
        parts.append(element(0x82, attribute.encode()))
    parts.append(_Value(0x83, item["value"]))
    if item["dn"]:
        parts.append(element(0x84, b"\xff"))
    return Filter(_EXTENSIBLE, *parts)


def _unescape(text: str) -> bytes:
    return _ESCAPED.sub(lambda found: bytes((int(found[1], 16),)), text.encode())
