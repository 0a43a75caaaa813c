"""JSON from services that decide who comes in: in UTF-8, and no name twice in one object (RFC 8259 §4, §8.1)."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["parse_json"]


class _Twice(ValueError):
    """A name stands twice."""


def parse_json(octets: bytes) -> Any:
    """Read a document.

    Raises:
        ValueError: it is none; the text says what is wrong, and goes on after a name for it.
    """
    try:
        # RFC 8259 §8.1: JSON is UTF-8, and nothing else; a byte order mark before it may be ignored.
        return json.loads(octets.decode("utf-8-sig"), object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except _Twice:
        raise ValueError("has a key twice") from None
    except ValueError:
        raise ValueError("is no JSON") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    # RFC 8259 §4: of a name that stands twice nobody knows which one is meant, and readers differ.
    if len(made) < len(pairs):
        raise _Twice
    return made
