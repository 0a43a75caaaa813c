"""Every fact worth counting or keeping: one frozen dataclass each, emitted once.

Log lines, metrics and the audit trail are all made from them, so they cannot disagree.  A field never holds a secret.

    Event
    ├── ServerStarted, ServerStopped, WorkerStarted, WorkerStopped, WorkerLost
    ├── ConfigReloaded, ReloadRefused
    ├── ConnectionRefused, HandshakeFailed, SessionOpened, SessionRevoked, SessionClosed
    ├── LoginSucceeded, LoginFailed, LoginsLocked
    ├── CommandRefused, SessionFailed
    ├── MessageAccepted, MessageRefused
    ├── RecipientDelivered, RecipientDeferred, RecipientFailed, MessageFinished
    ├── BounceQueued, BounceDropped
    ├── RoutePaused, RouteResumed, SpoolTroubled, MessageHeld, StateTroubled
    ├── MessageChanged, MessageDropped, RouteChanged
    └── AuditTroubled, AuditResumed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

__all__ = [
    "AuditResumed",
    "AuditTroubled",
    "BounceDropped",
    "BounceQueued",
    "CommandRefused",
    "ConfigReloaded",
    "ConnectionRefused",
    "Event",
    "HandshakeFailed",
    "LoginFailed",
    "LoginSucceeded",
    "LoginsLocked",
    "MessageAccepted",
    "MessageChanged",
    "MessageDropped",
    "MessageFinished",
    "MessageHeld",
    "MessageRefused",
    "RecipientDeferred",
    "RecipientDelivered",
    "RecipientFailed",
    "ReloadRefused",
    "RouteChanged",
    "RoutePaused",
    "RouteResumed",
    "ServerStarted",
    "ServerStopped",
    "SessionClosed",
    "SessionFailed",
    "SessionOpened",
    "SessionRevoked",
    "SpoolTroubled",
    "StateTroubled",
    "WorkerLost",
    "WorkerStarted",
    "WorkerStopped",
]

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Event:
    """A fact.

    `name` is its fixed text in the log, `level` how loud it is there, `audited` whether the audit trail keeps it too.
    """

    name: ClassVar[str] = "event"
    level: ClassVar[Level] = "info"
    audited: ClassVar[bool] = False


@dataclass(frozen=True, slots=True)
class ServerStarted(Event):
    """All listeners of all workers accept."""

    name: ClassVar[str] = "ready"
    version: str
    listeners: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ServerStopped(Event):
    """Nothing runs any more."""

    name: ClassVar[str] = "stopped"
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker accepts."""

    name: ClassVar[str] = "worker started"
    worker: int


@dataclass(frozen=True, slots=True)
class WorkerStopped(Event):
    """A worker came to its end as it should."""

    name: ClassVar[str] = "worker stopped"
    worker: int
    reason: str


@dataclass(frozen=True, slots=True)
class WorkerLost(Event):
    """A process of ours ended that should not have; another takes its place after a pause, in seconds."""

    name: ClassVar[str] = "worker lost"
    level: ClassVar[Level] = "error"
    worker: str
    process: int
    reason: str
    pause: float


@dataclass(frozen=True, slots=True)
class ConfigReloaded(Event):
    """A worker goes on with a new configuration."""

    name: ClassVar[str] = "config reloaded"
    audited: ClassVar[bool] = True
    worker: int
    generation: int


@dataclass(frozen=True, slots=True)
class ReloadRefused(Event):
    """A new configuration cannot be used: the old one stays in force."""

    name: ClassVar[str] = "reload refused"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionRefused(Event):
    """A connection was turned away before its first command."""

    name: ClassVar[str] = "connection refused"
    listener: str
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class HandshakeFailed(Event):
    """A TLS handshake did not come to its end."""

    name: ClassVar[str] = "tls handshake failed"
    session: str
    listener: str
    peer: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionOpened(Event):
    """A client is on the line."""

    name: ClassVar[str] = "session opened"
    level: ClassVar[Level] = "debug"
    session: str
    listener: str
    peer: str


@dataclass(frozen=True, slots=True)
class SessionRevoked(Event):
    """A session was ended because its login does not count any more; *reason* is what the client never hears."""

    name: ClassVar[str] = "session revoked"
    audited: ClassVar[bool] = True
    session: str
    listener: str
    peer: str
    login: str
    credential: str
    label: str
    reason: str
    reply: str


@dataclass(frozen=True, slots=True)
class SessionClosed(Event):
    """A client is gone."""

    name: ClassVar[str] = "session closed"
    level: ClassVar[Level] = "debug"
    session: str
    peer: str
    reason: str
    seconds: float
    messages: int


@dataclass(frozen=True, slots=True)
class LoginSucceeded(Event):
    """Somebody proved who they are."""

    name: ClassVar[str] = "login succeeded"
    audited: ClassVar[bool] = True
    session: str
    listener: str
    peer: str
    login: str
    credential: str
    label: str
    mechanism: str
    tls: str


@dataclass(frozen=True, slots=True)
class LoginFailed(Event):
    """Somebody did not; *reason* is the true one, which the client never hears."""

    name: ClassVar[str] = "login failed"
    audited: ClassVar[bool] = True
    session: str
    listener: str
    peer: str
    login: str
    credential: str
    label: str
    mechanism: str
    reason: str
    reply: str


@dataclass(frozen=True, slots=True)
class LoginsLocked(Event):
    """So many logins failed that no more are judged from an address or a network, or with a name, for a while."""

    name: ClassVar[str] = "logins locked"
    level: ClassVar[Level] = "warning"
    kind: str
    value: str
    failures: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CommandRefused(Event):
    """A command got a 4yz or 5yz reply."""

    name: ClassVar[str] = "command refused"
    session: str
    peer: str
    login: str
    command: str
    reply: str
    reason: str


@dataclass(frozen=True, slots=True)
class SessionFailed(Event):
    """A command met trouble of our own."""

    name: ClassVar[str] = "session failed"
    level: ClassVar[Level] = "error"
    session: str
    peer: str
    command: str
    reply: str
    reason: str


@dataclass(frozen=True, slots=True)
class MessageAccepted(Event):
    """A message is kept, and its client was told so."""

    name: ClassVar[str] = "message accepted"
    audited: ClassVar[bool] = True
    session: str
    peer: str
    login: str
    credential: str
    message: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    header_message_id: str
    seconds: float = 0.0  # since its last octets came


@dataclass(frozen=True, slots=True)
class MessageRefused(Event):
    """A message was refused after its data."""

    name: ClassVar[str] = "message refused"
    session: str
    peer: str
    login: str
    credential: str
    sender: str
    recipients: tuple[str, ...]
    size: int
    reply: str
    reason: str


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class MessageFinished(Event):
    """Every recipient of a message is settled, and it is gone from the spool."""

    name: ClassVar[str] = "message finished"
    level: ClassVar[Level] = "debug"
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BounceQueued(Event):
    """A sender will be told that a recipient failed."""

    name: ClassVar[str] = "bounce queued"
    message: str
    bounce: str
    recipient: str


@dataclass(frozen=True, slots=True)
class BounceDropped(Event):
    """Nobody can be told: the failed message was itself a notification."""

    name: ClassVar[str] = "bounce dropped"
    level: ClassVar[Level] = "warning"
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class RoutePaused(Event):
    """A route is not tried for a while: its login or its certificate is in trouble."""

    name: ClassVar[str] = "route paused"
    level: ClassVar[Level] = "error"
    route: str
    reason: str
    until: float


@dataclass(frozen=True, slots=True)
class RouteResumed(Event):
    """A paused route works again."""

    name: ClassVar[str] = "route resumed"
    route: str


@dataclass(frozen=True, slots=True)
class SpoolTroubled(Event):
    """The spool cannot be written or read."""

    name: ClassVar[str] = "spool troubled"
    level: ClassVar[Level] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class MessageHeld(Event):
    """A message is not tried any more until somebody releases it."""

    name: ClassVar[str] = "message held"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    message: str
    reason: str


@dataclass(frozen=True, slots=True)
class MessageChanged(Event):
    """Somebody held, released or retried a message; *change* says which."""

    name: ClassVar[str] = "message changed by hand"
    audited: ClassVar[bool] = True
    message: str
    change: str


@dataclass(frozen=True, slots=True)
class MessageDropped(Event):
    """Somebody dropped a message for those recipients that still waited; *bounce* tells its sender, if it is told."""

    name: ClassVar[str] = "message dropped by hand"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    message: str
    sender: str
    recipients: tuple[str, ...]
    bounce: str


@dataclass(frozen=True, slots=True)
class RouteChanged(Event):
    """Somebody paused or resumed a route, or it was found paused at a start; *change* says which."""

    name: ClassVar[str] = "route changed by hand"
    audited: ClassVar[bool] = True
    route: str
    change: str


@dataclass(frozen=True, slots=True)
class AuditTroubled(Event):
    """The audit file cannot be written; facts are counted until it can."""

    name: ClassVar[str] = "audit troubled"
    level: ClassVar[Level] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class AuditResumed(Event):
    """The audit file can be written again; so many facts are missing there."""

    name: ClassVar[str] = "audit resumed"
    level: ClassVar[Level] = "warning"
    lost: int


@dataclass(frozen=True, slots=True)
class StateTroubled(Event):
    """What the processes of the node share cannot be written or read: limits and quotas may not hold meanwhile."""

    name: ClassVar[str] = "state troubled"
    level: ClassVar[Level] = "error"
    reason: str
