"""CHUNKING: the content comes in pieces of known length, by BDAT, and needs no dots (RFC 3030)."""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import Malformed
from gatepost.session.extensions.extension import Extension

__all__ = ["CHUNKING", "parse_chunk"]

# More digits than any message has octets.
_CHUNK: Final = re.compile(r"([0-9]{1,20})(?:[ \t]+(LAST))?", re.IGNORECASE)


def parse_chunk(argument: str) -> tuple[int, bool]:
    """Read what stands after BDAT: how many octets follow, and whether they are the last.

    Raises:
        Malformed: it is not said how many.
    """
    # RFC 3030 §2: BDAT, a number of octets, and LAST with the chunk that ends the message.
    match = _CHUNK.fullmatch(argument)
    if match is None:
        raise Malformed("bad BDAT", enhanced="5.5.4", text="Syntax: BDAT octets [LAST]")
    return int(match[1]), match[2] is not None


# RFC 3030 §2: the keyword has no parameters.
CHUNKING = Extension("CHUNKING", lambda _: "CHUNKING")
