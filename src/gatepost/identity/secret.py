"""Secrets of credentials: make strong ones with a check digit, refuse weak ones that people choose.

A generated secret is ``gp_``, 32 characters of base32 in lower case (160 bits; 26 and 130 bits in the short form, for
devices with a small keyboard), and a check digit over them: scanners can find a leaked one, and a mistyped one is
told from a wrong one.
"""

from __future__ import annotations

import re
import secrets
from typing import Final

from gatepost.identity.strength import bits
from gatepost.model.identity import Secret

__all__ = ["generate", "is_mistyped", "weakness"]

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 §6, in lower case: no 0, 1, 8, 9 to mistake
_PREFIX: Final = "gp_"
_LONG, _SHORT = 32, 26
_SHAPE: Final = re.compile(rb"gp_([a-z2-7]{32}|[a-z2-7]{26})([a-z2-7])")
_SHORTEST_CHOSEN: Final = 12
_FEWEST_DISTINCT: Final = 6
_FEWEST_BITS: Final = 30.0


def generate(*, short: bool = False) -> Secret:
    """Return a new secret."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_SHORT if short else _LONG))
    return Secret(f"{_PREFIX}{body}{_check_digit(body)}".encode())


def is_mistyped(secret: Secret) -> bool:
    """Tell whether *secret* has the form of a generated one, but its check digit is wrong."""
    match = _SHAPE.fullmatch(secret.reveal())
    return match is not None and _check_digit(match[1].decode()) != match[2].decode()


def _check_digit(body: str) -> str:
    # Luhn's rule in base 32: finds every single wrong character, and all but one pair of neighbours exchanged.
    total = 0
    for place, character in enumerate(reversed(body)):
        value = _ALPHABET.index(character) * (2 if place % 2 == 0 else 1)
        total += value // 32 + value % 32
    return _ALPHABET[-total % 32]


def weakness(secret: str, login: str) -> str:
    """Return why a secret that somebody chose is refused; empty if it is good enough.

    It must have 12 characters, 6 of them distinct, must not hold the login or the part of it before the ``@``, and must
    stand a billion guesses of somebody who knows how people choose.
    """
    if len(secret) < _SHORTEST_CHOSEN:
        return f"it is shorter than {_SHORTEST_CHOSEN} characters"
    if len(set(secret)) < _FEWEST_DISTINCT:
        return f"it has fewer than {_FEWEST_DISTINCT} distinct characters"
    name = login.partition("@")[0]
    if len(name) > 2 and name.casefold() in secret.casefold():
        return "it holds the login"
    if bits(secret) < _FEWEST_BITS:
        return "it is made of words, rows or repetitions that are guessed first"
    return ""
