"""Events about mail that was accepted: what became of it, of the routes it takes, and what somebody did by hand."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.value import value
from gatepost.observe.event import Event, Level

__all__ = [
    "BounceDropped",
    "BounceQueued",
    "HostRested",
    "HostRestored",
    "MessageChanged",
    "MessageDropped",
    "MessageFinished",
    "MessageHeld",
    "MessageRedirected",
    "NoticeQueued",
    "OwnerWarned",
    "RecipientDeferred",
    "RecipientDelivered",
    "RecipientDiscarded",
    "RecipientFailed",
    "RouteChanged",
    "RoutePaused",
    "RouteResumed",
    "SignatureLost",
]


@value(frozen=True, slots=True)
class RecipientDelivered(Event):
    """A next hop took responsibility for a recipient."""

    name: ClassVar[str] = "delivered"
    audited: ClassVar[bool] = True
    message: str
    recipient: str
    route: str
    next_hop: str
    reply: str
    attempts: int
    seconds: float


@value(frozen=True, slots=True)
class RecipientDiscarded(Event):
    """A route threw a recipient's copy away, as it is there for; its sender believes it delivered."""

    name: ClassVar[str] = "discarded"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    message: str
    recipient: str
    route: str


@value(frozen=True, slots=True)
class RecipientDeferred(Event):
    """A recipient waits for another attempt."""

    name: ClassVar[str] = "deferred"
    level: ClassVar[Level] = "warning"
    message: str
    recipient: str
    route: str
    next_hop: str
    reply: str
    attempts: int
    due: float
    cause: str
    remedy: str = ""


@value(frozen=True, slots=True)
class RecipientFailed(Event):
    """A recipient is given up."""

    name: ClassVar[str] = "failed"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    message: str
    recipient: str
    route: str
    next_hop: str
    reply: str
    attempts: int
    status: str
    remedy: str = ""


@value(frozen=True, slots=True)
class MessageFinished(Event):
    """Every recipient of a message is settled, and it is gone from the spool."""

    name: ClassVar[str] = "message finished"
    level: ClassVar[Level] = "debug"
    message: str
    seconds: float


@value(frozen=True, slots=True)
class BounceQueued(Event):
    """A sender will be told that a recipient failed."""

    name: ClassVar[str] = "bounce queued"
    message: str
    bounce: str
    recipient: str


@value(frozen=True, slots=True)
class NoticeQueued(Event):
    """A sender will be told that a recipient waits, or was reached; *action* says which, as the report does."""

    name: ClassVar[str] = "notice queued"
    message: str
    notice: str
    recipient: str
    action: str


@value(frozen=True, slots=True)
class OwnerWarned(Event):
    """A mail to the contact of an account is on its way: a credential ends soon."""

    name: ClassVar[str] = "owner warned"
    message: str
    login: str
    credential: str
    recipient: str


@value(frozen=True, slots=True)
class BounceDropped(Event):
    """Nobody is told of a failure, or of a delay: *reason* says why, such as that the sender asked for silence."""

    name: ClassVar[str] = "bounce dropped"
    level: ClassVar[Level] = "warning"
    message: str
    reason: str


@value(frozen=True, slots=True)
class SignatureLost(Event):
    """A message goes out unsigned: it was converted to 7-bit, and its domain has no DKIM key any more."""

    name: ClassVar[str] = "signature lost"
    level: ClassVar[Level] = "warning"
    message: str
    route: str


@value(frozen=True, slots=True)
class RoutePaused(Event):
    """A route is not tried for a while: its login or its certificate is in trouble."""

    name: ClassVar[str] = "route paused"
    level: ClassVar[Level] = "error"
    route: str
    reason: str
    until: float
    remedy: str = ""


@value(frozen=True, slots=True)
class RouteResumed(Event):
    """A paused route works again."""

    name: ClassVar[str] = "route resumed"
    route: str


@value(frozen=True, slots=True)
class HostRested(Event):
    """One of several hosts of a route failed, and is left alone for some *seconds*; mail goes to the others."""

    name: ClassVar[str] = "host rests"
    level: ClassVar[Level] = "warning"
    route: str
    host: str
    reason: str
    seconds: float


@value(frozen=True, slots=True)
class HostRestored(Event):
    """A host that failed takes mail again."""

    name: ClassVar[str] = "host works again"
    route: str
    host: str


@value(frozen=True, slots=True)
class MessageHeld(Event):
    """A message is not tried any more until somebody releases it."""

    name: ClassVar[str] = "message held"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    message: str
    reason: str


@value(frozen=True, slots=True)
class MessageChanged(Event):
    """Somebody held, released or retried a message; *change* says which."""

    name: ClassVar[str] = "message changed by hand"
    audited: ClassVar[bool] = True
    message: str
    change: str


@value(frozen=True, slots=True)
class MessageRedirected(Event):
    """Somebody sent a message elsewhere: *to* somebody else, instead of *recipient* or all, or by another *route*."""

    name: ClassVar[str] = "message redirected by hand"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    message: str
    to: str
    route: str
    instead_of: str


@value(frozen=True, slots=True)
class MessageDropped(Event):
    """Somebody dropped a message for those recipients that still waited; *bounce* tells its sender, if it is told."""

    name: ClassVar[str] = "message dropped by hand"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    message: str
    sender: str
    recipients: tuple[str, ...]
    bounce: str


@value(frozen=True, slots=True)
class RouteChanged(Event):
    """Somebody paused, resumed or logged in a route, or it was found paused at a start; *change* says which."""

    name: ClassVar[str] = "route changed by hand"
    audited: ClassVar[bool] = True
    route: str
    change: str
