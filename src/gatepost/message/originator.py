"""The addresses of From and Sender: strict, so that we read the same addresses as whoever gets the message.

RFC 5322 §3.4 with groups (RFC 6854) and UTF-8 (RFC 6532); of the obsolete forms only display names with dots, which
are in daily use.  What readers are known to disagree about is refused.
"""

from __future__ import annotations

import re
from functools import lru_cache

from gatepost.errors import Malformed
from gatepost.message.comments import end_of_comment
from gatepost.message.headers import Field, bad_header
from gatepost.model.address import Mailbox, parse_mailbox

__all__ = ["LENGTH_LIMIT", "MAILBOX_LIMIT", "parse_originator"]

MAILBOX_LIMIT = 100
LENGTH_LIMIT = 32 * 1024
_REMEMBERED_LENGTH = 256

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\xa0-\U0010ffff]"
_TOKEN = re.compile(
    rf'[ \t]++|(?P<a>{_ATEXT}++(?:\.{_ATEXT}++)*+)|(?P<q>"(?:[^"\\]++|\\.)*+")|(?P<l>\[[^\[\]\\]*+\])|[<>@,;:.(]'
)
# C0 and C1 controls and line separators: in some readers they end a line or a string.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_AMBIGUOUS = re.compile("[<>@,;:]")

# The grammar, over one letter a token: a for an atom with inner dots, q for a quoted string, l for a domain literal,
# c for a comment that could be taken for syntax (all others are dropped), and the specials themselves.
# RFC 5322 §3.4.1: comments should not stand around "@"; those that could be taken for syntax may not.
_MAILBOX = r"(?:c*+(?:[aq][aq.c]*+)?<[aq]@[al]>c*+|c*+[aq]@[al]c*+)"
# RFC 6854 §2.1: From and Sender may hold groups, which may be empty and do not nest.
_ADDRESS = rf"(?:{_MAILBOX}|c*+[aq][aq.c]*+:c*+(?:{_MAILBOX}(?:,{_MAILBOX})*)?;c*+)"
_ADDRESSES = re.compile(rf"{_ADDRESS}(?:,{_ADDRESS})*")


def parse_originator(field: Field) -> tuple[Mailbox, ...]:
    """Return the addresses of a From or Sender field, those in groups too; none only if all its groups are empty.

    Raises:
        Malformed: it is no list of addresses, can be read in more than one way, or holds more than `MAILBOX_LIMIT`.
    """
    name = field.name.decode("ascii").capitalize()
    if len(field.raw) > LENGTH_LIMIT:
        raise bad_header(f"{name} is too long", f"The {name} field is too long")
    value = field.value
    # The same people write again and again.
    return _addresses_again(name, value) if len(value) <= _REMEMBERED_LENGTH else _addresses(name, value)


def _addresses(name: str, value: bytes) -> tuple[Mailbox, ...]:
    try:
        # RFC 6532 §3.1: text beyond ASCII is UTF-8, and nothing else.
        text = value.decode()
    except UnicodeDecodeError:
        raise bad_header(f"{name} is not UTF-8", f"The {name} field is neither ASCII nor UTF-8") from None
    if _CONTROLS.search(text):
        raise _wrong(name)
    tokens = _tokens(text)
    if tokens is None or _ADDRESSES.fullmatch(kinds := "".join([kind for kind, _ in tokens])) is None:
        raise _wrong(name)
    if kinds.count("@") > MAILBOX_LIMIT:
        raise bad_header(f"{name} holds too many addresses", f"Too many addresses in the {name} field")
    mailboxes: list[Mailbox] = []
    for place, kind in enumerate(kinds):
        if kind == "@":
            local, domain = tokens[place - 1][1], tokens[place + 1][1]
            # RFC 2047 §5: no encoded word within an address; who decodes it there would find another one.
            if "=?" in local:
                raise _wrong(name)
            try:
                mailboxes.append(parse_mailbox(f"{local}@{domain}"))
            except Malformed as error:
                raise bad_header(f"{name}: {error.reason}", f"Bad address in the {name} field") from None
    return tuple(mailboxes)


_addresses_again = lru_cache(maxsize=1024)(_addresses)


def _wrong(name: str) -> Malformed:
    return bad_header(f"{name} is no list of addresses", f"Syntax error in the {name} field")


def _tokens(text: str) -> list[tuple[str, str]] | None:
    """Divide *text* into kinds and texts, without white space and harmless comments; None if it cannot be."""
    tokens: list[tuple[str, str]] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        found, position = match[0], match.end()
        if match.lastgroup is not None:
            tokens.append((match.lastgroup, found))
        elif found == "(":
            end = end_of_comment(text, position - 1)
            if end is None:
                return None
            if _AMBIGUOUS.search(text, position, end):
                tokens.append(("c", ""))
            position = end
        elif found[0] not in " \t":
            tokens.append((found, found))
    return tokens
