"""Replies of next hops that are known: what they mean, whom they concern, and what can be done about them.

A reply is known by its code and a few words.  What stands in it between quotation marks or angle brackets is not read:
it may be an address, and whoever chooses addresses must not be able to pause a route.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from gatepost.model.delivery import Cause, Deferred, Delivered, RemoteReply, Result

__all__ = ["GENERAL", "Concerns", "KnownReplies", "KnownReply"]

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"?|<[^>]*>?')
_SAID = re.compile(r"([2-5][0-9]{2})[ -](.*)", re.DOTALL)


class Concerns(enum.Enum):
    """Whom a reply concerns."""

    MESSAGE = "message"  # what the code says holds
    THIS_LATER = "later"  # this message waits, whatever the code says; others go on
    ROUTE = "route"  # the whole route waits, and nothing bounces
    PACE = "pace"  # we go too fast: slower, and no failure of anything


@dataclass(frozen=True, slots=True)
class KnownReply:
    """One kind of reply.

    Args:
        codes: basic codes that it comes with.
        enhanced: its enhanced code; any, if empty.
        words: one of these is part of it, in lower case; any text, if there are none.
        concerns: whom it concerns.
        remedy: what it means and what to do, in one short line.
    """

    codes: tuple[int, ...]
    enhanced: str
    words: tuple[str, ...]
    concerns: Concerns
    remedy: str


_TEMPORARY = (421, 450, 451, 452, 454)
_TOO_FAST = "more than the next hop takes just now: sent slower from here on, by itself"

GENERAL: tuple[KnownReply, ...] = (
    KnownReply(
        (421, 450, 451, 452, 550),
        "",
        ("you are trying to contact is receiving", "the recipient has exceeded", "recipient's mailbox"),
        Concerns.MESSAGE,
        "the recipient gets too much mail; nothing can be done here",
    ),
    KnownReply(
        (421, 432, 451, 452),
        "",
        ("concurrent connections", "too many concurrent", "too many connections", "too many smtp connections"),
        Concerns.PACE,
        "more connections at once than the next hop takes: lower connections of the route",
    ),
    KnownReply((432,), "4.3.2", (), Concerns.PACE, _TOO_FAST),
    KnownReply(
        _TEMPORARY,
        "",
        (
            "throttl",
            "rate limit",
            "sending rate",
            "message rate",
            "messages per second",
            "messages per minute",
            "too many messages",
            "too many emails",
            "too fast",
            "too quickly",
            "unusual rate",
        ),
        Concerns.PACE,
        _TOO_FAST,
    ),
    KnownReply((421,), "4.7.0", (), Concerns.PACE, _TOO_FAST),
    KnownReply(
        (535,), "", (), Concerns.ROUTE, "the next hop refuses the login: correct login and password_file of the route"
    ),
    KnownReply(
        (530,), "", (), Concerns.ROUTE, "the next hop wants a login or TLS: give the route login and password_file"
    ),
    KnownReply((534, 538), "", (), Concerns.ROUTE, "the next hop wants another way to log in"),
)
"""What holds for every next hop; looked at after what is known of a provider."""


class KnownReplies:
    """What is known of a next hop's replies.

    Args:
        special: what is known of this one; the first that fits counts.
        general: what holds for all.
    """

    def __init__(self, special: Iterable[KnownReply] = (), general: Iterable[KnownReply] = GENERAL) -> None:
        self._by_code: dict[int, list[KnownReply]] = {}
        for each in (*special, *general):
            for code in each.codes:
                self._by_code.setdefault(code, []).append(each)

    def find(self, reply: RemoteReply) -> KnownReply | None:
        """Return what is known of *reply*; None if nothing is, or if the words are ours."""
        candidates = self._by_code.get(reply.code)
        if candidates is None or not reply.is_remote:
            return None
        text = " ".join(_QUOTED.sub(" ", reply.text).lower().split())
        for each in candidates:
            if each.enhanced and each.enhanced != reply.enhanced:
                continue
            if not each.words or any(words in text for words in each.words):
                return each
        return None

    def remedy(self, said: str) -> str:
        """Return the remedy for a reply as it is recorded, ``550 5.4.5 text``; empty if none is known."""
        match = _SAID.fullmatch(said)
        known = None if match is None else self.find(RemoteReply.parse(int(match[1]), match[2]))
        return "" if known is None else known.remedy

    def judge(self, result: Result) -> Result:
        """Return what *result* is in the light of what is known: whose trouble it is, and with its remedy."""
        if isinstance(result, Delivered):
            return result
        known = self.find(result.reply)
        if known is None:
            return result
        reply = replace(result.reply, remedy=known.remedy)
        match known.concerns:
            case Concerns.ROUTE:
                return Deferred(reply, result.next_hop, Cause.ROUTE)
            case Concerns.PACE:
                return Deferred(reply, result.next_hop, Cause.PACE)
            case Concerns.THIS_LATER:
                return Deferred(reply, result.next_hop)
            case Concerns.MESSAGE:
                return replace(result, reply=reply)
