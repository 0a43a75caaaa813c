"""Trouble with a next hop or with our way to it: raised inside this package, a `Deferred` for everybody outside."""

from __future__ import annotations

from gatepost.errors import Unavailable
from gatepost.model.delivery import Cause, RemoteReply

__all__ = ["Refusal", "Silence", "Trouble", "Violation", "next_hop_trouble", "reply_trouble", "route_trouble"]

# RFC 4954 §6: what a server answers when the login, not the message, is what it does not like.
_LOGIN_CODES = frozenset({530, 534, 535, 538})


class Trouble(Unavailable):
    """The talk with the next hop cannot go on.

    Args:
        reply: what it said, or our words.
        cause: whose trouble it is.
    """

    def __init__(self, reply: RemoteReply, cause: Cause) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.cause = cause


class Refusal(Trouble):
    """It refuses our access token, for good: another one may do."""

    def __init__(self, reply: RemoteReply) -> None:
        super().__init__(reply, Cause.ROUTE)


class Silence(Trouble):
    """It said nothing in time."""

    def __init__(self, text: str) -> None:
        super().__init__(RemoteReply.ours(451, "4.4.2", text), Cause.NEXT_HOP)


class Violation(Trouble):
    """It broke the protocol: nobody knows which of its replies belongs to which command."""

    def __init__(self, text: str) -> None:
        super().__init__(RemoteReply.ours(451, "4.5.0", text), Cause.NEXT_HOP)


def next_hop_trouble(enhanced: str, text: str) -> Trouble:
    """Say that the next hop is down or slow."""
    return Trouble(RemoteReply.ours(451, enhanced, text), Cause.NEXT_HOP)


def route_trouble(enhanced: str, text: str) -> Trouble:
    """Say that our login, its certificate or the configuration of the route is in the way."""
    return Trouble(RemoteReply.ours(454, enhanced, text), Cause.ROUTE)


def reply_trouble(reply: RemoteReply) -> Trouble | None:
    """Return the trouble that *reply* means for everything on its connection, or None if it is about one message."""
    # RFC 5321 §3.8: 421 says that the service closes, whatever the command was.
    # Exchange Online says 432 4.3.2 when a mailbox has too many connections; in RFC 4954 432 means something else.
    if reply.code == 421 or (reply.code == 432 and reply.enhanced == "4.3.2"):
        return Trouble(reply, Cause.NEXT_HOP)
    if reply.code in _LOGIN_CODES:
        return Trouble(reply, Cause.ROUTE)
    return None
