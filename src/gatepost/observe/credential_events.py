"""Events about credentials whose time is nearly over, and about those whose place another has taken."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.value import value
from gatepost.observe.event import Event, Level

__all__ = ["CredentialExpiring", "CredentialRenewed", "CredentialRetired"]


@value(frozen=True, slots=True)
class CredentialExpiring(Event):
    """A credential ends soon, and somebody may still use it: its owner should hear of it.

    *successor* takes its place, if it is being rotated; the rest says who logged in with it last, and when: all of it
    empty, and *last_used* 0, if nobody did.
    """

    name: ClassVar[str] = "credential expiring"
    level: ClassVar[Level] = "warning"
    audited: ClassVar[bool] = True
    login: str
    credential: str
    label: str
    contact: str
    expires: float
    successor: str
    last_used: float
    address: str
    mechanism: str
    client: str


@value(frozen=True, slots=True)
class CredentialRetired(Event):
    """A credential that was being rotated is gone for good; *successor* has its place."""

    name: ClassVar[str] = "credential retired"
    audited: ClassVar[bool] = True
    login: str
    credential: str
    label: str
    successor: str
    reason: str


@value(frozen=True, slots=True)
class CredentialRenewed(Event):
    """What is kept of a secret was made anew at a login: *scheme* is what was there, *verifiers* are there now."""

    name: ClassVar[str] = "credential renewed"
    audited: ClassVar[bool] = True
    login: str
    credential: str
    label: str
    scheme: str
    verifiers: tuple[str, ...]
