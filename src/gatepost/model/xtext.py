"""xtext, in which parameters of MAIL and RCPT are written, and the addresses of ORCPT (RFC 3461 §4, RFC 6533 §3)."""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import Malformed

__all__ = ["EMBEDDED", "decode_xtext", "encode_xtext", "orcpt_in_ascii", "original_recipient"]

# RFC 6533 §3: an address of type utf-8 may have \x{...} for what is beyond ASCII, or may not stand in a parameter.
EMBEDDED: Final = re.compile(r"\\x\{(10[0-9A-F]{4}|[1-9A-F][0-9A-F]{1,4})\}")

_XTEXT: Final = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*")
_HEX: Final = re.compile(r"\+([0-9A-F]{2})")
_NOT_XCHAR: Final = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e]")
_BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def decode_xtext(text: str) -> str:
    """Decode xtext (RFC 3461 §4).

    Raises:
        Malformed: it is none.
    """
    if _XTEXT.fullmatch(text) is None:
        raise Malformed("bad xtext", enhanced="5.5.4", text="Bad value of a parameter")
    return _HEX.sub(_character, text)


def encode_xtext(text: str) -> str:
    """Encode ASCII as xtext (RFC 3461 §4)."""
    return _NOT_XCHAR.sub(lambda match: f"+{ord(match[0]):02X}", text)


def original_recipient(orcpt: str) -> str:
    """Return type and address of an ORCPT as they stand in a report: decoded."""
    kind, _, address = orcpt.partition(";")
    pattern = EMBEDDED if kind.lower() == "utf-8" else _HEX
    return f"{kind}; {pattern.sub(_character, address)}"


def orcpt_in_ascii(orcpt: str) -> str:
    """Return an ORCPT as it may stand in a transaction without SMTPUTF8 (RFC 6533 §3)."""
    return _BEYOND_ASCII.sub(lambda match: f"\\x{{{ord(match[0]):X}}}", orcpt)


def _character(match: re.Match[str]) -> str:
    return chr(int(match[1], 16))
