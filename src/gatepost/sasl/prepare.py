"""Names and passwords in the one form in which they are stored, looked up and compared (SASLprep, RFC 4013).

Use the same function when a name or a secret is stored and when it is checked.  Names are also lower-cased, whole, as
RFC 8265 §3.3 (UsernameCaseMapped) does it: people take ``Tim@Example.ORG`` and ``tim@example.org`` for one login.
Passwords keep their case.

SASLprep is tied to Unicode 3.2, on both ends of SCRAM: a newer normalization would make other keys than the client's.
Code points that Unicode 3.2 does not know (most emoji) pass unchanged.
"""

from __future__ import annotations

import stringprep
from typing import Final
from unicodedata import ucd_3_2_0

from gatepost.errors import Malformed

__all__ = [
    "NAME_LIMIT",
    "NAME_OCTETS_LIMIT",
    "PASSWORD_LIMIT",
    "decode_name",
    "decode_text",
    "password_forms",
    "prepare_name",
    "prepare_password",
    "prepare_stated_name",
    "saslprep",
]

NAME_LIMIT: Final = 255
"""Characters of a name."""

NAME_OCTETS_LIMIT: Final = 1020
"""Octets of a name in UTF-8."""

PASSWORD_LIMIT: Final = 256
"""Characters of a password; with a longer one nobody gets in, and it is never hashed."""

# RFC 4013 §2.3: what no name and no password may hold.
_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def saslprep(text: str) -> str:
    """Prepare *text* as RFC 4013 §2 says; unassigned code points pass, as in its queries.

    Raises:
        Malformed: it holds something prohibited, or mixes directions.
    """
    if text.isascii():
        if not text.isprintable():
            raise Malformed("control character")
        return text
    # RFC 4013 §2.1: other spaces become a space (U+200B too, which is in both tables), and what is commonly mapped to
    # nothing goes.
    spaced = (" " if stringprep.in_table_c12(each) else each for each in text)
    mapped = "".join(each for each in spaced if not stringprep.in_table_b1(each))
    # RFC 4013 §2.2: normalization form KC.
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if any(prohibited(each) for each in prepared for prohibited in _PROHIBITED):
        raise Malformed("prohibited character")
    _check_directions(prepared)
    return prepared


def _check_directions(text: str) -> None:
    # RFC 3454 §6: with a right-to-left character, it starts and ends with one and holds none that runs left-to-right.
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text))
        or not stringprep.in_table_d1(text[0])
        or not stringprep.in_table_d1(text[-1])
    ):
        raise Malformed("mixed directions")


def prepare_name(raw: str) -> str:
    """Prepare an authcid, an authzid or the name of an account: SASLprep, then lower case.

    Raises:
        Malformed: it is empty, too long, or holds something prohibited, such as NUL.
    """
    if len(raw) > NAME_LIMIT:
        raise Malformed("name too long")
    # Lower-casing can undo normalization (U+0130), so it is prepared once more.
    prepared = saslprep(saslprep(raw).lower())
    if not prepared:
        raise Malformed("empty name")
    if len(prepared) > NAME_LIMIT or len(prepared.encode()) > NAME_OCTETS_LIMIT:
        raise Malformed("name too long")
    return prepared


def prepare_stated_name(raw: str) -> str:
    """Prepare a name that somebody else states, such as who issued a token or a certificate.

    What would become that name only by SASLprep (with letters of full width, or a soft hyphen) is another one to those
    who state it, and may be anybody's.

    Raises:
        Malformed: as `prepare_name`, or so.
    """
    if saslprep(raw) != raw:
        raise Malformed("name in an unusual form")
    return prepare_name(raw)


def prepare_password(raw: str) -> bytes:
    """Prepare a password, to be stored: SASLprep; case and spaces stay.

    Raises:
        Malformed: it is empty, too long, or holds something prohibited, such as NUL.
    """
    if len(raw) > PASSWORD_LIMIT:
        raise Malformed("password too long")
    prepared = saslprep(raw)
    if not prepared:
        raise Malformed("empty password")
    if len(prepared) > PASSWORD_LIMIT:
        raise Malformed("password too long")
    return prepared.encode()


def password_forms(raw: bytes) -> tuple[bytes, ...]:
    """Return what to try for a password that came over the wire: its prepared form, then, if it differs, as it came.

    Clients differ in whether they prepare, and a password from elsewhere may hold what SASLprep prohibits.
    """
    try:
        prepared = prepare_password(raw.decode())
    except (Malformed, UnicodeDecodeError):
        return (raw,)
    return (prepared,) if prepared == raw else (prepared, raw)


def decode_text(octets: bytes, what: str) -> str:
    """Decode *what* came over the wire as UTF-8.

    Raises:
        Malformed: it is no UTF-8.
    """
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Malformed(f"{what} is not UTF-8") from None


def decode_name(octets: bytes) -> str:
    """Decode and prepare a name that came over the wire.

    Raises:
        Malformed: it is no UTF-8, or `prepare_name` refuses it.
    """
    return prepare_name(decode_text(octets, "name"))
