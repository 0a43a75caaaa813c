"""Mail addresses: parse them as they stand in MAIL and RCPT, compare them, print them (RFC 5321 §4.1.2, RFC 6531 §3.3).

`parse_mailbox` and `str` are a pair.  A `Mailbox` keeps the local part without quotes and escapes, and the domain as
it was given; two are equal when their local parts are and their domains are the same in A-label form.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import idna

from gatepost.errors import Malformed

__all__ = [
    "DOMAIN_LIMIT",
    "Mailbox",
    "ascii_domain",
    "is_qualified",
    "parse_domain",
    "parse_forward_path",
    "parse_mailbox",
    "parse_reverse_path",
]

# RFC 6531 §3.3: anything beyond ASCII; but C1 controls and line separators end a line in some readers, and surrogates
# are no characters.
_BEYOND = r"\xa0-\u2027\u202a-\ud7ff\ue000-\U0010ffff"
_ATEXT = rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~\-{_BEYOND}]"
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
_QUOTED = rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_BEYOND}]|\\[\x20-\x7e])*"'
_LABEL = rf"[A-Za-z0-9{_BEYOND}](?:[A-Za-z0-9\-{_BEYOND}]*[A-Za-z0-9{_BEYOND}])?"
_DOMAIN = rf"{_LABEL}(?:\.{_LABEL})*"
_LITERAL = r"\[[\x21-\x5a\x5e-\x7e]+\]"

_DOT_STRING_RE = re.compile(_DOT_STRING)
_DOMAIN_RE = re.compile(_DOMAIN)
_MAILBOX_RE = re.compile(rf"(?:(?P<dots>{_DOT_STRING})|(?P<quoted>{_QUOTED}))@(?P<domain>{_DOMAIN}|{_LITERAL})")
# RFC 5321 §4.1.2, appendix C: a source route is accepted and ignored.
_ROUTE_RE = re.compile(rf"@{_DOMAIN}(?:,@{_DOMAIN})*:")

# RFC 5321 §4.5.3.1: the lengths every server takes, and the longest a path can be.
LOCAL_PART_LIMIT: Final = 64
DOMAIN_LIMIT: Final = 255
PATH_LIMIT: Final = 256


def ascii_domain(domain: str) -> str:
    """Return *domain* in lower-case A-labels, as it is compared and looked up (RFC 5891); literals are lowered only.

    Raises:
        Malformed: it holds a label that IDNA forbids.
    """
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise Malformed(f"domain is not valid IDNA: {error}") from None


def parse_domain(text: str) -> str:
    """Parse a domain or an address literal; return it as given.

    Raises:
        Malformed: it is neither.
    """
    if text.startswith("["):
        _check_literal(text)
        return text
    # RFC 5321 §4.5.3.1.2: at most 255 octets; a label has at most 63 (RFC 1035 §2.3.4).
    if _DOMAIN_RE.fullmatch(text) is None or len(text.encode()) > DOMAIN_LIMIT:
        raise Malformed("bad domain")
    if not all(1 <= len(label) <= 63 for label in ascii_domain(text).split(".")):
        raise Malformed("label of the domain empty or too long")
    return text


def _check_literal(text: str) -> None:
    # RFC 5321 §4.1.3: [192.0.2.1] or [IPv6:2001:db8::1]; we know no other tag.
    inner = text[1:-1]
    try:
        if not text.endswith("]"):
            raise ValueError
        if inner[:5].lower() == "ipv6:" and "%" not in inner:
            ipaddress.IPv6Address(inner[5:])
        else:
            ipaddress.IPv4Address(inner)
    except ValueError:
        raise Malformed("bad address literal") from None


def is_qualified(domain: str) -> bool:
    """Tell whether *domain* is fully qualified: it has a dot, or is an address literal (RFC 6409 §4.2).

    A name that ends in a number is not: it is an address without its brackets.
    """
    _, dot, last = domain.rpartition(".")
    return bool(dot and not last.isdigit()) or domain.startswith("[")


@dataclass(frozen=True, slots=True, eq=False)
class Mailbox:
    """One address.

    Args:
        local: local part, without quotes and escapes.
        domain: domain or address literal, as given.

    Attributes:
        ascii_domain: the domain in A-labels, in lower case.
        is_ascii: whether it can be written without SMTPUTF8 (RFC 6531 §3.2).
    """

    local: str
    domain: str
    ascii_domain: str = field(init=False, repr=False)
    is_ascii: bool = field(init=False, repr=False)
    _text: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ascii_domain", ascii_domain(self.domain))
        local = self.local
        if _DOT_STRING_RE.fullmatch(local) is None:
            escaped = local.replace("\\", "\\\\").replace('"', '\\"')
            local = f'"{escaped}"'
        text = f"{local}@{self.domain}"
        object.__setattr__(self, "is_ascii", text.isascii())
        object.__setattr__(self, "_text", text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mailbox):
            return NotImplemented
        return self.local == other.local and self.ascii_domain == other.ascii_domain

    def __hash__(self) -> int:
        return hash((self.local, self.ascii_domain))

    def __str__(self) -> str:
        return self._text

    def in_ascii(self) -> Mailbox:
        """Return it with its domain in A-labels where that makes it ASCII; the same otherwise (RFC 6531 §3.2)."""
        return Mailbox(self.local, self.ascii_domain) if self.local.isascii() and not self.is_ascii else self

    def without_detail(self, separator: str) -> Mailbox:
        """Return the address without ``+detail`` (RFC 5233); the same if there is none."""
        base, found, _ = self.local.partition(separator)
        return Mailbox(base, self.domain) if found and base else self


@lru_cache(maxsize=2048)
def parse_mailbox(text: str) -> Mailbox:
    """Parse ``local@domain``, without angle brackets.

    Raises:
        Malformed: *text* is no mailbox, or a part of it is too long.
    """
    match = _MAILBOX_RE.fullmatch(text)
    if match is None:
        raise Malformed("bad mailbox")
    local = match["dots"]
    if local is None:
        local = re.sub(r"\\(.)", r"\1", match["quoted"][1:-1])
    # RFC 5321 §4.5.3.1.1: a local part has at most 64 octets; §4.5.3.1.3: a path has at most 256.
    if len(local.encode()) > LOCAL_PART_LIMIT or len(text.encode()) + 2 > PATH_LIMIT:
        raise Malformed("address too long")
    return Mailbox(local, parse_domain(match["domain"]))


def parse_reverse_path(text: str) -> Mailbox | None:
    """Parse what stands between the angle brackets of MAIL FROM; None is the null path (RFC 5321 §4.5.5).

    Raises:
        Malformed: it is neither empty nor a mailbox, perhaps after a source route.
    """
    return parse_mailbox(_without_route(text)) if text else None


def parse_forward_path(text: str, hostname: str) -> Mailbox:
    """Parse what stands between the angle brackets of RCPT TO.

    Args:
        text: mailbox, perhaps after a source route, or ``postmaster``.
        hostname: our own name, the domain of a bare ``postmaster``.

    Raises:
        Malformed: it is no forward-path.
    """
    # RFC 5321 §4.1.1.3: "<postmaster>" without a domain, in any case, is always a recipient.
    if text.lower() == "postmaster":
        return Mailbox(text, hostname)
    return parse_mailbox(_without_route(text))


def _without_route(text: str) -> str:
    if text.startswith("@"):
        match = _ROUTE_RE.match(text)
        if match is None:
            raise Malformed("bad source route")
        return text[match.end() :]
    return text
