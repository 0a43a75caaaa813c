"""DSN: the client says which reports it wants, and what they shall name (RFC 3461)."""

from __future__ import annotations

import re
from typing import Final

from gatepost.errors import Malformed
from gatepost.model.envelope import Notify, Ret
from gatepost.model.xtext import EMBEDDED, decode_xtext
from gatepost.session.extensions.extension import Extension
from gatepost.session.params import MailParameters, RecipientParameters

__all__ = ["DSN"]

_ENVID_LENGTH: Final = 100
_ORCPT_LENGTH: Final = 500
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]+")
# RFC 3461 §4.2: the type of an address is an atom.
_ORCPT: Final = re.compile(r"([!#$%&'*+\-/0-9=?A-Z^_`a-z{|}~]+);(.+)")
_EMBEDDED_ASCII: Final = frozenset(" +=\\")
_UTF_8_IN_ASCII: Final = re.compile(r"[\x21-\x2a\x2c-\x3c\x3e-\x5b\x5d-\x7e]*")


def _bad(keyword: str) -> Malformed:
    return Malformed(f"bad {keyword}", enhanced="5.5.4", text=f"Bad value of {keyword}")


def _read_ret(value: str | None, parameters: MailParameters) -> None:
    # RFC 3461 §4.3: RET is FULL or HDRS.
    try:
        parameters.ret = Ret((value or "").upper())
    except ValueError:
        raise _bad("RET") from None


def _read_envid(value: str | None, parameters: MailParameters) -> None:
    # RFC 3461 §4.4: ENVID is xtext of at most 100 printable characters; it is kept as it was written.
    if value is None or len(_decoded(value, "ENVID")) > _ENVID_LENGTH:
        raise _bad("ENVID")
    parameters.envid = value


def _read_notify(value: str | None, parameters: RecipientParameters) -> None:
    # RFC 3461 §4.1: NEVER, or some of SUCCESS, FAILURE and DELAY, each once.
    names = (value or "").upper().split(",")
    if len(set(names)) != len(names) or ("NEVER" in names and len(names) > 1):
        raise _bad("NOTIFY")
    notify = Notify(0)
    for name in names:
        if name not in Notify.__members__:
            raise _bad("NOTIFY")
        notify |= Notify[name]
    parameters.notify = notify


def _read_orcpt(value: str | None, parameters: RecipientParameters) -> None:
    # RFC 3461 §4.2: ORCPT is the type of an address and the address in xtext; it is kept as it was written.
    match = _ORCPT.fullmatch(value or "")
    if value is None or match is None:
        raise _bad("ORCPT")
    kind, address = match.groups()
    if len(address.encode()) > _ORCPT_LENGTH:
        raise _bad("ORCPT")
    if kind.lower() == "utf-8":
        _check_utf_8(address, is_allowed_raw=parameters.smtputf8)
    else:
        _decoded(address, "ORCPT")
    parameters.orcpt = value


def _decoded(xtext: str, keyword: str) -> str:
    try:
        text = decode_xtext(xtext)
    except Malformed:
        raise _bad(keyword) from None
    # What is not printable would break the lines of a report.
    if _PRINTABLE.fullmatch(text) is None:
        raise _bad(keyword)
    return text


def _check_utf_8(address: str, *, is_allowed_raw: bool) -> None:
    embedded = [int(code, 16) for code in EMBEDDED.findall(address)]
    rest = EMBEDDED.sub("", address)
    # RFC 6533 §3: characters beyond ASCII stand there as they are only after SMTPUTF8.
    if is_allowed_raw:
        rest = "".join([each for each in rest if each.isascii() or not each.isprintable()])
    if _UTF_8_IN_ASCII.fullmatch(rest) is None or not all(map(_is_embeddable, embedded)):
        raise _bad("ORCPT")


def _is_embeddable(number: int) -> bool:
    text = chr(number)
    return text.isprintable() and (number > 0x7F or text in _EMBEDDED_ASCII)


DSN = Extension(
    "DSN",
    lambda moment: "DSN" if moment.reports else None,
    {"RET": _read_ret, "ENVID": _read_envid},
    {"NOTIFY": _read_notify, "ORCPT": _read_orcpt},
)
