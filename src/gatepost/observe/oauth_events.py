"""Events about the access tokens with which routes log in at their next hops."""

from __future__ import annotations

from typing import ClassVar

from gatepost.model.value import value
from gatepost.observe.event import Event, Level

__all__ = ["ClientSecretEnds", "TokenRenewed", "TokenTroubled"]


@value(frozen=True, slots=True)
class TokenRenewed(Event):
    """A route has another access token; *after_refusal* says that the next hop had refused the one before."""

    name: ClassVar[str] = "token renewed"
    route: str
    expires: float
    after_refusal: bool


@value(frozen=True, slots=True)
class TokenTroubled(Event):
    """A route got no access token: the issuer is away, refuses us, or what somebody granted was revoked."""

    name: ClassVar[str] = "token troubled"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    route: str
    trouble: str
    reason: str
    until: float


@value(frozen=True, slots=True)
class ClientSecretEnds(Event):
    """The secret by which a route gets its tokens ends soon, or has ended; told once a day."""

    name: ClassVar[str] = "client secret ends"
    level: ClassVar[Level] = "error"
    audited: ClassVar[bool] = True
    route: str
    expires: float
