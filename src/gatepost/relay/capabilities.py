"""What a next hop offers: the reply to EHLO, read (RFC 5321 §4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Capabilities"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Extensions of the next hop that we know what to do with.

    Args:
        size_limit: longest message it takes, in octets; None when it does not say (RFC 1870 §3).
        mechanisms: SASL mechanisms, upper case, in its order (RFC 4954 §3).
    """

    pipelining: bool = False
    size: bool = False
    size_limit: int | None = None
    eightbitmime: bool = False
    smtputf8: bool = False
    starttls: bool = False
    mechanisms: tuple[str, ...] = ()
    dsn: bool = False

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
        )
