"""Events about the server itself: its processes, its configuration, and the files that it needs."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.value import value
from gatepost.observe.event import Event, Level

__all__ = [
    "AuditResumed",
    "AuditTroubled",
    "ConfigReloaded",
    "IssuerAway",
    "IssuerBack",
    "ReloadRefused",
    "ServerStarted",
    "ServerStopped",
    "SpoolTroubled",
    "StateTroubled",
    "StoreAmbiguous",
    "StoreAway",
    "StoreBack",
    "StoreOutdated",
    "WorkerLost",
    "WorkerStarted",
    "WorkerStopped",
]


@value(frozen=True, slots=True)
class ServerStarted(Event):
    """All listeners of all workers accept."""

    name: ClassVar[str] = "ready"
    version: str
    listeners: tuple[str, ...]


@value(frozen=True, slots=True)
class ServerStopped(Event):
    """Nothing runs any more."""

    name: ClassVar[str] = "stopped"
    reason: str


@value(frozen=True, slots=True)
class WorkerStarted(Event):
    """A worker accepts."""

    name: ClassVar[str] = "worker started"
    worker: int


@value(frozen=True, slots=True)
class WorkerStopped(Event):
    """A worker came to its end as it should."""

    name: ClassVar[str] = "worker stopped"
    worker: int
    reason: str


@value(frozen=True, slots=True)
class WorkerLost(Event):
    """A process of ours ended that should not have; another takes its place after a pause, in seconds."""

    name: ClassVar[str] = "worker lost"
    level: ClassVar[Level] = "error"
    worker: str
    process: int
    reason: str
    pause: float


@value(frozen=True, slots=True)
class ConfigReloaded(Event):
    """A worker goes on with a new configuration."""

    name: ClassVar[str] = "config reloaded"
    audited: ClassVar[bool] = True
    worker: int
    generation: int


@value(frozen=True, slots=True)
class ReloadRefused(Event):
    """A new configuration cannot be used: the old one stays in force."""

    name: ClassVar[str] = "reload refused"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    reason: str


@value(frozen=True, slots=True)
class SpoolTroubled(Event):
    """The spool cannot be written or read."""

    name: ClassVar[str] = "spool troubled"
    level: ClassVar[Level] = "error"
    reason: str


@value(frozen=True, slots=True)
class AuditTroubled(Event):
    """The audit file cannot be written; facts are counted until it can."""

    name: ClassVar[str] = "audit troubled"
    level: ClassVar[Level] = "error"
    reason: str


@value(frozen=True, slots=True)
class AuditResumed(Event):
    """The audit file can be written again; so many facts are missing there."""

    name: ClassVar[str] = "audit resumed"
    level: ClassVar[Level] = "warning"
    lost: int


@value(frozen=True, slots=True)
class StateTroubled(Event):
    """What the processes of the node share cannot be written or read: limits and quotas may not hold meanwhile."""

    name: ClassVar[str] = "state troubled"
    level: ClassVar[Level] = "error"
    reason: str


@value(frozen=True, slots=True)
class StoreAway(Event):
    """A credential store cannot be asked: logins that hang on it are told to try later."""

    name: ClassVar[str] = "store away"
    level: ClassVar[Level] = "warning"
    store: str
    reason: str


@value(frozen=True, slots=True)
class StoreBack(Event):
    """A credential store can be asked again."""

    name: ClassVar[str] = "store back"
    store: str


@value(frozen=True, slots=True)
class StoreAmbiguous(Event):
    """Several entries of a credential store have one login: none of them can log in with it."""

    name: ClassVar[str] = "store ambiguous"
    level: ClassVar[Level] = "error"
    store: str
    login: str


@value(frozen=True, slots=True)
class IssuerAway(Event):
    """An issuer of access tokens cannot be asked: keys that it gave go on, other tokens are told to try later."""

    name: ClassVar[str] = "issuer away"
    level: ClassVar[Level] = "warning"
    issuer: str
    reason: str


@value(frozen=True, slots=True)
class IssuerBack(Event):
    """An issuer of access tokens can be asked again."""

    name: ClassVar[str] = "issuer back"
    issuer: str


@value(frozen=True, slots=True)
class StoreOutdated(Event):
    """A credential store was changed into something that cannot be used: what it held before goes on."""

    name: ClassVar[str] = "store outdated"
    level: ClassVar[Level] = "error"
    store: str
    reason: str
