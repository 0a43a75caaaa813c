"""Every fact worth counting or keeping: one frozen dataclass each, emitted once.

Log lines, metrics and the audit trail are all made from them, so they cannot disagree.  A field never holds a secret.

    Event
    ├── ServerStarted, ServerStopped, WorkerStarted, WorkerStopped, WorkerLost
    ├── ConfigReloaded, ReloadRefused
    ├── ConnectionRefused, HandshakeFailed, SessionOpened, SessionRevoked, SessionClosed
    ├── LoginSucceeded, LoginFailed, LoginsLocked, CanaryTouched
    ├── CredentialExpiring, CredentialRenewed, CredentialRetired
    ├── CommandRefused, SessionFailed
    ├── MessageAccepted, MessageRepeated, MessageRefused
    ├── RecipientDelivered, RecipientDiscarded, RecipientDeferred, RecipientFailed, MessageFinished
    ├── BounceQueued, BounceDropped, NoticeQueued, OwnerWarned, SignatureLost
    ├── RoutePaused, RouteResumed, HostRested, HostRestored
    ├── SpoolTroubled, MessageHeld, StateTroubled
    ├── StoreAmbiguous, StoreAway, StoreBack, StoreOutdated, IssuerAway, IssuerBack
    ├── MessageChanged, MessageDropped, MessageRedirected, RouteChanged
    └── AuditTroubled, AuditResumed
"""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.value import value
from gatepost.observe.credential_events import CredentialExpiring, CredentialRenewed, CredentialRetired
from gatepost.observe.event import Event, Level
from gatepost.observe.node_events import (
    AuditResumed,
    AuditTroubled,
    ConfigReloaded,
    IssuerAway,
    IssuerBack,
    ReloadRefused,
    ServerStarted,
    ServerStopped,
    SpoolTroubled,
    StateTroubled,
    StoreAmbiguous,
    StoreAway,
    StoreBack,
    StoreOutdated,
    WorkerLost,
    WorkerStarted,
    WorkerStopped,
)
from gatepost.observe.oauth_events import ClientSecretEnds, TokenRenewed, TokenTroubled
from gatepost.observe.queue_events import (
    BounceDropped,
    BounceQueued,
    HostRested,
    HostRestored,
    MessageChanged,
    MessageDropped,
    MessageFinished,
    MessageHeld,
    MessageRedirected,
    NoticeQueued,
    OwnerWarned,
    RecipientDeferred,
    RecipientDelivered,
    RecipientDiscarded,
    RecipientFailed,
    RouteChanged,
    RoutePaused,
    RouteResumed,
    SignatureLost,
)

__all__ = [
    "AuditResumed",
    "AuditTroubled",
    "BounceDropped",
    "BounceQueued",
    "CanaryTouched",
    "ClientSecretEnds",
    "CommandRefused",
    "ConfigReloaded",
    "ConnectionRefused",
    "CredentialExpiring",
    "CredentialRenewed",
    "CredentialRetired",
    "Event",
    "HandshakeFailed",
    "HostRested",
    "HostRestored",
    "IssuerAway",
    "IssuerBack",
    "Level",
    "LoginFailed",
    "LoginSucceeded",
    "LoginsLocked",
    "MessageAccepted",
    "MessageChanged",
    "MessageDropped",
    "MessageFinished",
    "MessageHeld",
    "MessageRedirected",
    "MessageRefused",
    "MessageRepeated",
    "NoticeQueued",
    "OwnerWarned",
    "RecipientDeferred",
    "RecipientDelivered",
    "RecipientDiscarded",
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
    "SignatureLost",
    "SpoolTroubled",
    "StateTroubled",
    "StoreAmbiguous",
    "StoreAway",
    "StoreBack",
    "StoreOutdated",
    "TokenRenewed",
    "TokenTroubled",
    "WorkerLost",
    "WorkerStarted",
    "WorkerStopped",
]


@value(frozen=True, slots=True)
class ConnectionRefused(Event):
    """A connection was turned away before its first command."""

    name: ClassVar[str] = "connection refused"
    listener: str
    peer: str
    reason: str


@value(frozen=True, slots=True)
class HandshakeFailed(Event):
    """A TLS handshake did not come to its end."""

    name: ClassVar[str] = "tls handshake failed"
    session: str
    listener: str
    peer: str
    reason: str


@value(frozen=True, slots=True)
class SessionOpened(Event):
    """A client is on the line."""

    name: ClassVar[str] = "session opened"
    level: ClassVar[Level] = "debug"
    session: str
    listener: str
    peer: str


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
class SessionClosed(Event):
    """A client is gone."""

    name: ClassVar[str] = "session closed"
    level: ClassVar[Level] = "debug"
    session: str
    peer: str
    reason: str
    seconds: float
    messages: int


@value(frozen=True, slots=True)
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
    client: str = ""


@value(frozen=True, slots=True)
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


@value(frozen=True, slots=True)
class LoginsLocked(Event):
    """So many logins failed that no more are judged from an address or a network, or with a name, for a while."""

    name: ClassVar[str] = "logins locked"
    level: ClassVar[Level] = "warning"
    kind: str
    value: str
    failures: int
    seconds: float


@value(frozen=True, slots=True)
class CanaryTouched(Event):
    """Somebody brought the secret of a canary, or tried an account that holds nothing else: something has leaked.

    *blocked_seconds* is how long nothing from that address is judged; 0 if it cannot be blocked.
    """

    name: ClassVar[str] = "canary touched"
    level: ClassVar[Level] = "critical"
    audited: ClassVar[bool] = True
    session: str
    listener: str
    peer: str
    login: str
    credential: str
    label: str
    mechanism: str
    tls: str
    client: str
    blocked_seconds: float


@value(frozen=True, slots=True)
class CommandRefused(Event):
    """A command got a 4yz or 5yz reply."""

    name: ClassVar[str] = "command refused"
    session: str
    peer: str
    login: str
    command: str
    reply: str
    reason: str


@value(frozen=True, slots=True)
class SessionFailed(Event):
    """A command met trouble of our own."""

    name: ClassVar[str] = "session failed"
    level: ClassVar[Level] = "error"
    session: str
    peer: str
    command: str
    reply: str
    reason: str


@value(frozen=True, slots=True)
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
    dkim: str = "off"  # signed; or why not: no key, waiting (its key takes over later), off (there is no key at all)


@value(frozen=True, slots=True)
class MessageRepeated(Event):
    """A message came again that was kept before, by a client that cannot have heard so; it got the same id."""

    name: ClassVar[str] = "message repeated"
    session: str
    peer: str
    login: str
    credential: str
    message: str


@value(frozen=True, slots=True)
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
