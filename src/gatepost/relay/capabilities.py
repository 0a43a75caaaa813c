"""What a next hop offers: the reply to EHLO, read (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Capabilities"]


# RFC 9422 §3: a limit is a number of one to six digits, and not 0.
_LIMIT = re.compile(r"(RCPTMAX|MAILMAX|RCPTDOMAINMAX)=([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Extensions of the next hop that we know what to do with.

    Args:
        size_limit: longest message it takes, in octets; None when it does not say (RFC 1870 §3).
        mechanisms: SASL mechanisms, upper case, in its order (RFC 4954 §3).
        recipients_limit: recipients of one transaction (RFC 9422 §4.2); None when it does not say, here and below.
        transactions_limit: transactions on one connection (RFC 9422 §4.1).
        domains_limit: domains among the recipients of one transaction (RFC 9422 §4.3).
    """

    pipelining: bool = False
    size: bool = False
    size_limit: int | None = None
    eightbitmime: bool = False
    smtputf8: bool = False
    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    dsn: bool = False
    recipients_limit: int | None = None
    transactions_limit: int | None = None
    domains_limit: int | None = None

    @classmethod
    def parse(cls, lines: tuple[str, ...]) -> Capabilities:
        """Read the lines of an EHLO reply: the first is a greeting, each other an extension.

        What cannot be read is not offered.
        """
        offered: dict[str, list[str]] = {}
        for line in lines[1:]:
            # RFC 5321 §4.1.1.1: keywords are known in any case.  Old servers write "AUTH=LOGIN PLAIN".
            keyword, *parameters = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
            offered.setdefault(keyword, []).extend(parameters)
        size = offered.get("SIZE", [])
        # RFC 1870 §3: no number, or 0, is no stated limit.
        limit = int(size[0]) if size and size[0].isdecimal() and len(size[0]) <= 20 else 0
        # RFC 9422 §3: what a client does not know of LIMITS, or cannot read, it passes over.
        limits = {match[1]: int(match[2]) for each in offered.get("LIMITS", []) if (match := _LIMIT.fullmatch(each))}
        # RFC 6531 §3.1: SMTPUTF8 comes with 8BITMIME; without it nothing can be promised.
        eightbitmime = "8BITMIME" in offered
        return cls(
            pipelining="PIPELINING" in offered,
            size="SIZE" in offered,
            size_limit=limit or None,
            eightbitmime=eightbitmime,
            smtputf8=eightbitmime and "SMTPUTF8" in offered,
            starttls="STARTTLS" in offered,
            mechanisms=tuple(dict.fromkeys(offered.get("AUTH", []))),
            dsn="DSN" in offered,
            recipients_limit=limits.get("RCPTMAX"),
            transactions_limit=limits.get("MAILMAX"),
            domains_limit=limits.get("RCPTDOMAINMAX"),
        )
