"""Comments in structured fields: where one ends, and a text without any (RFC 5322 §3.2.2)."""

from __future__ import annotations

import re

__all__ = ["end_of_comment", "without_comments"]

_NEXT_BRACKET = re.compile(r"[^()\\]*+(?:\\.[^()\\]*+)*+([()])", re.DOTALL)


def end_of_comment(text: str, start: int) -> int | None:
    """Return where the comment that opens at *start* ends; None if it does not."""
    depth = 0
    while match := _NEXT_BRACKET.match(text, start):
        # RFC 5322 §3.2.2: comments nest.
        depth += 1 if match[1] == "(" else -1
        start = match.end()
        if depth == 0:
            return start
    return None


def without_comments(text: str) -> str | None:
    """Return *text*, which holds no quoted string, with a space for each comment; None if one does not end."""
    kept: list[str] = []
    position = 0
    while (start := text.find("(", position)) >= 0:
        end = end_of_comment(text, start)
        if end is None:
            return None
        kept.append(text[position:start])
        position = end
    kept.append(text[position:])
    return " ".join(kept)
