"""How strong a secret is that a person chose: how many guesses it stands, as bits, by what guessers try first.

A word that many people use, a row of the keyboard, a row of letters or digits, a year, a repetition: each counts as one
choice among few, however long it is.  Everything else counts by the kinds of characters it is made of.  The measure is
coarse and on the safe side for what is common; it cannot know what somebody's cat is called.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["bits"]

_WORD_BITS: Final = 9.0
_ROW_BITS: Final = 6.0
_YEAR_BITS: Final = 6.0
_REPETITION_BITS: Final = 3.0

# What leaked passwords are made of, most of all.
_COMMON: Final = """
    password passwort passwd passwo contrasena motdepasse admin administrator root user guest default changeme change
    welcome willkommen bienvenue bonjour hello hallo letmein login access master secret geheim hunter monkey dragon
    shadow sunshine princess football baseball basketball soccer superman batman pokemon starwars iloveyou trustno
    iloveu lovely love freedom whatever summer winter spring autumn sommer fruehling herbst january february march april
    june july august september october november december monday tuesday wednesday thursday friday saturday sunday
    computer internet server mail email smtp postfix gatepost office company test tester testing temp temporary demo
    sample example michael jordan daniel thomas jessica charlie andrew ashley nicole matthew jennifer killer ninja
    mustang ferrari porsche cheese flower cookie chocolate banana liverpool arsenal chelsea barcelona london berlin
    paris qazwsx zaqxsw pass
"""
_WORDS: Final = tuple(sorted(_COMMON.split(), key=len, reverse=True))
_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb",
    "1q2w3e4r5t6y7u8i9o0p",
)
_BOTH_WAYS: Final = tuple(row for each in _ROWS for row in (each, each[::-1]))
_LOOKALIKES: Final = str.maketrans("@4310$57!|", "aaeiosstii")
_YEAR: Final = re.compile(r"(?:19|20)[0-9]{2}")


def bits(secret: str) -> float:
    """Return the logarithm of how many guesses somebody needs who knows how people choose; about."""
    lower = secret.casefold()
    plain = lower.translate(_LOOKALIKES) if len(lower.translate(_LOOKALIKES)) == len(lower) else lower
    each_bits = math.log2(_alphabet(secret))
    total, place = 0.0, 0
    while place < len(lower):
        length, cost = _chunk(lower, plain, place)
        if length:
            total += cost
            place += length
        else:
            total += each_bits
            place += 1
    return total


def _chunk(lower: str, plain: str, place: int) -> tuple[int, float]:
    """Return length and cost of what is common at *place*; 0 if nothing is."""
    found: Sequence[tuple[int, float]] = (
        (_row(lower, place), _ROW_BITS),
        (_word(plain, lower, place), _WORD_BITS),
        (_repetition(lower, place), _REPETITION_BITS),
        (4 if _YEAR.match(lower, place) else 0, _YEAR_BITS),
    )
    return max(found)


def _row(text: str, place: int) -> int:
    longest = 0
    for row in _BOTH_WAYS:
        start = row.find(text[place])
        if start >= 0:
            length = 1
            while row[start + length : start + length + 1] == text[place + length : place + length + 1] != "":
                length += 1
            longest = max(longest, length)
    return longest if longest >= 3 else 0


def _word(plain: str, lower: str, place: int) -> int:
    found = (len(word) for word in _WORDS if plain.startswith(word, place) or lower.startswith(word, place))
    return next(found, 0)


def _repetition(text: str, place: int) -> int:
    """Return how much of what comes was there before: the same character again, or a piece of three or more."""
    if place and text[place] == text[place - 1]:
        length = 1
        while text[place + length : place + length + 1] == text[place]:
            length += 1
        return length
    length = 0
    while place + length < len(text) and text[place : place + length + 1] in text[:place]:
        length += 1
    return length if length >= 3 else 0


def _alphabet(secret: str) -> int:
    size = 0
    for kind, characters in ((str.islower, 26), (str.isupper, 26), (str.isdigit, 10)):
        size += characters if any(kind(each) for each in secret) else 0
    if any(not each.isalnum() for each in secret):
        size += 20
    if not secret.isascii():
        size += 30
    return max(size, 2)
