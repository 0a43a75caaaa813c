"""The GS2 header, with which a client's first message starts in SCRAM and its kin (RFC 5801 §4, RFC 5802 §7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.errors import Malformed

__all__ = ["Gs2Header", "parse_gs2_header", "parse_saslname", "print_saslname"]

# RFC 5802 §7: gs2-cbind-flag, a comma, perhaps an authzid, a comma.
_HEADER = re.compile(r"(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.\-]+)),(?:a=(?P<authzid>[^,]+))?,")
_ESCAPED = re.compile(r"=(2C|3D)?")


@dataclass(frozen=True, slots=True)
class Gs2Header:
    """What it says.

    Args:
        text: the header as it came; channel binding covers it octet by octet.
        flag: ``n``: the client cannot bind channels; ``y``: it could, but thinks that we cannot; ``p``: it does.
        binding: type of channel binding; empty unless the flag is ``p``.
        authzid: whom they want to act as, not prepared yet; empty for themselves.
    """

    text: str
    flag: str
    binding: str = ""
    authzid: str = ""


def parse_gs2_header(message: str) -> tuple[Gs2Header, str]:
    """Read the header of *message*; return it and the rest.

    Raises:
        Malformed: *message* does not start with one.
    """
    match = _HEADER.match(message)
    if match is None:
        raise Malformed("bad GS2 header")
    authzid = parse_saslname(match["authzid"]) if match["authzid"] else ""
    header = Gs2Header(match[0], match["flag"] or "p", match["binding"] or "", authzid)
    return header, message[match.end() :]


def parse_saslname(text: str) -> str:
    """Undo the escapes of a name (RFC 5802 §5.1).

    Raises:
        Malformed: ``=`` stands for something that is neither comma nor equals sign.
    """

    # RFC 5802 §5.1: ',' is sent as =2C and '=' as =3D; any other '=' is an error.
    def character(match: re.Match[str]) -> str:
        if match[1] is None:
            raise Malformed("bad escape in a name")
        return "," if match[1] == "2C" else "="

    return _ESCAPED.sub(character, text)


def print_saslname(name: str) -> str:
    """Escape *name*, so that `parse_saslname` gives it back."""
    return name.replace("=", "=3D").replace(",", "=2C")
