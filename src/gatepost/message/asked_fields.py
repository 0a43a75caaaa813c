"""The values of a few header fields, for who chooses by them; no I/O (RFC 5322 §2.2)."""

from __future__ import annotations

from collections.abc import Collection

from gatepost.errors import Malformed
from gatepost.message.headers import parse_header

__all__ = ["VALUES_LIMIT", "VALUE_LIMIT", "asked_fields"]

VALUES_LIMIT = 10
"""How many fields of one name are looked at, from the top."""

VALUE_LIMIT = 998
"""How much of a value is looked at, in characters."""


def asked_fields(section: bytes, names: Collection[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the values of each field in *names*, in lower case: unfolded, encoded words as they stand, none if absent.

    A section that is no header has none of them.
    """
    try:
        header = parse_header(section)
    except Malformed:
        return tuple([(name, ()) for name in sorted(names)])
    return tuple(
        [
            (
                name,
                tuple(
                    [
                        field.value.decode("utf-8", "replace")[:VALUE_LIMIT]
                        for field in header.find(name.encode("ascii"))[:VALUES_LIMIT]
                    ]
                ),
            )
            for name in sorted(names)
        ]
    )
