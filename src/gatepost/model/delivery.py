"""What a delivery came to, one value per recipient (RFC 5321 §4.2.1, RFC 3463)."""

from __future__ import annotations

import enum
import re

from gatepost.model.value import value

__all__ = ["Cause", "Deferred", "Delivered", "Discarded", "Failed", "Handover", "RemoteReply", "Result"]

_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:\s|$)")


@value(frozen=True, slots=True)
class RemoteReply:
    """What a next hop said, or what we say in its place when it said nothing.

    Args:
        code: basic code.
        text: the text, lines joined by a space, without control characters.
        enhanced: the enhanced code it gave, else one derived from the basic code (RFC 3463 §2).
        is_remote: whether the next hop said it; otherwise these are our words.
        remedy: what is known about it, and can be done; for operators, never sent to anybody.
    """

    code: int
    text: str
    enhanced: str
    is_remote: bool = True
    remedy: str = ""

    @classmethod
    def parse(cls, code: int, text: str) -> RemoteReply:
        """Read a reply of a next hop: find the enhanced code at the start of *text*, if it fits."""
        match = _ENHANCED.match(text)
        if match is not None and match[1][0] == str(code)[0]:
            return cls(code, text, match[1])
        return cls(code, text, f"{code // 100}.0.0")

    @classmethod
    def ours(cls, code: int, enhanced: str, text: str) -> RemoteReply:
        """Make a reply of our own words."""
        return cls(code, text, enhanced, is_remote=False)

    def __str__(self) -> str:
        return f"{self.code} {self.text}" if self.is_remote else f"{self.code} {self.enhanced} {self.text}"


class Cause(enum.Enum):
    """Whose trouble a deferral is."""

    MESSAGE = "message"  # this message or recipient: the give-up clock runs
    NEXT_HOP = "next-hop"  # it is down, slow or busy: the clock runs, and others need not try now
    PACE = "pace"  # we went too fast: nobody's failure, no attempt counts, and we go slower
    ROUTE = "route"  # our login or its certificate: never bounced, the clock stands still


class Handover(enum.Enum):
    """How far a delivery has come, and who sends the reports of success from there (RFC 3461 §5.2)."""

    RELAYED = "relayed"  # the next hop sends none: we say that it was passed on
    REPORTED = "reported"  # the next hop was told which are wanted, and offers to send them
    DELIVERED = "delivered"  # it lies where its recipient finds it: we say so


@value(frozen=True, slots=True)
class Delivered:
    """The next hop took responsibility."""

    reply: RemoteReply
    next_hop: str = ""
    handover: Handover = Handover.RELAYED


@value(frozen=True, slots=True)
class Discarded(Delivered):
    """We took it out of the world: nobody gets it, and for its sender that is as good as delivered."""


@value(frozen=True, slots=True)
class Deferred:
    """Not now: try again.

    Args:
        reply: what was said, or what we say in its place.
        next_hop: who said so; empty when nobody was reached.
        cause: whose trouble it is.
        is_doubtful: whether the next hop may have taken it all the same, so that each further try may be one more copy.
        is_unseen: whether it got nothing of the content, so that another host may get it at once.
    """

    reply: RemoteReply
    next_hop: str = ""
    cause: Cause = Cause.MESSAGE
    is_doubtful: bool = False
    is_unseen: bool = False


@value(frozen=True, slots=True)
class Failed:
    """Never: its sender must be told."""

    reply: RemoteReply
    next_hop: str = ""


Result = Delivered | Deferred | Failed
