"""Put a login into a distinguished name (RFC 4514): whatever it holds, it stays a value."""

from __future__ import annotations

from typing import Final

__all__ = ["LOGIN", "escape_value", "named"]

LOGIN: Final = "{login}"
"""Stands for the login in templates of names and in filters."""

# RFC 4514 §2.4: what would end a value or begin another one; "=" need not be, but may be.
_SPECIAL: Final = frozenset('"+,;<>\\=')


def escape_value(text: str) -> str:
    """Return *text* as the value of an attribute in a distinguished name."""
    escaped = []
    for place, character in enumerate(text):
        # RFC 4514 §2.4: a space or "#" at the beginning, a space at the end, and what is special, get a backslash.
        if character in _SPECIAL or (character in " #" and place == 0) or (character == " " and place == len(text) - 1):
            escaped.append(f"\\{character}")
        # RFC 4514 §2.4: NUL is \00; other control characters may be written the same way.
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            escaped.append(f"\\{ord(character):02X}")
        else:
            escaped.append(character)
    return "".join(escaped)


def named(template: str, login: str) -> str:
    """Return the distinguished name that *template* is for *login*."""
    return template.replace(LOGIN, escape_value(login))
