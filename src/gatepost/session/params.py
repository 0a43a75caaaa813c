"""The grammar of MAIL and RCPT: path and parameters (RFC 5321 §4.1.2, §4.1.1.11)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gatepost.errors import Malformed
from gatepost.model import reply as replies
from gatepost.model.envelope import Body, Notify, Ret

__all__ = ["MailParameters", "Parameters", "RecipientParameters", "parse_parameters", "split_path"]

Parameters = dict[str, str | None]

# A quoted local part may hold ">", so quotes are looked at.  Clients send spaces after the colon, and leave out the
# brackets: both are understood.  Only spaces and tabs separate: what else looks like one to Python is a bad character.
_PATH = re.compile(
    r'[ \t]*+(?:<((?:[^<>" \t]++|"(?:[^"\\]++|\\.)*+")*+)>|((?:[^<>" \t]++|"(?:[^"\\]++|\\.)*+")++))(?:[ \t]++(.*+))?',
    re.DOTALL,
)
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# RFC 5321 §4.1.2: any character but "=", space and controls; RFC 6531 §3.3 adds UTF-8, of which C1 controls and line
# separators end a line in some readers.
_VALUE = re.compile(r"[\x21-\x3c\x3e-\x7e\xa0-\u2027\u202a-\U0010ffff]+")
# What comes before a path: the syntax, as clients are told it, and what is said to a path that is none.
_SYNTAX = {
    "FROM:": ("Syntax: MAIL FROM:<address>", replies.BAD_SENDER_SYNTAX),
    "TO:": ("Syntax: RCPT TO:<address>", replies.BAD_RECIPIENT_SYNTAX),
}


@dataclass(slots=True)
class MailParameters:
    """What the parameters of MAIL said."""

    size: int | None = None
    body: Body = Body.SEVEN_BIT
    smtputf8: bool = False
    ret: Ret | None = None
    envid: str = ""


@dataclass(slots=True)
class RecipientParameters:
    """What the parameters of RCPT said, and SMTPUTF8 on MAIL."""

    smtputf8: bool
    notify: Notify | None = None
    orcpt: str = ""


def split_path(argument: str, keyword: str) -> tuple[str, str]:
    """Split ``FROM:<path> parameters`` into the path, without brackets, and the text of the parameters.

    Args:
        argument: what stands after MAIL or RCPT.
        keyword: ``FROM:`` or ``TO:``; its case is not looked at.

    Raises:
        Malformed: the keyword or the path is missing.
    """
    if argument[: len(keyword)].upper() != keyword or len(argument) == len(keyword):
        raise Malformed(f"no {keyword}", enhanced="5.5.4", text=_SYNTAX[keyword][0])
    match = _PATH.fullmatch(argument, len(keyword))
    if match is None:
        reply = _SYNTAX[keyword][1]
        raise Malformed("no path", enhanced=reply.enhanced or "", text=reply.lines[0])
    bracketed, bare, parameters = match.groups()
    return (bracketed if bracketed is not None else bare), (parameters or "").rstrip(" \t")


def parse_parameters(text: str) -> Parameters:
    """Read ``KEYWORD=value KEYWORD``; keywords come out in upper case, values as they are.

    Raises:
        Malformed: one is no parameter, or stands twice.
    """
    parameters: Parameters = {}
    for each in text.replace("\t", " ").split(" "):
        if not each:
            continue
        keyword, equals, value = each.partition("=")
        if _KEYWORD.fullmatch(keyword) is None or (equals and _VALUE.fullmatch(value) is None):
            raise Malformed("bad parameter", enhanced="5.5.4", text="Syntax error in parameters")
        keyword = keyword.upper()
        if keyword in parameters:
            raise Malformed(f"{keyword} twice", enhanced="5.5.4", text="A parameter stands twice")
        parameters[keyword] = value if equals else None
    return parameters
