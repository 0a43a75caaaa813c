"""An issuer of access tokens whose tokens are taken, and what a token of it must say (RFC 7519, RFC 8725, RFC 9068)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gatepost.errors import ConfigError
from gatepost.identity.tokens import TokenInvalid, TokenSubject

if TYPE_CHECKING:
    from gatepost.identity.introspection import Introspection
    from gatepost.identity.jwks import KeySource

__all__ = ["ALGORITHMS", "Issuer", "judge", "seconds"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""What a token may be signed with: never "none", never a shared secret (RFC 8725 §3.1)."""

_SKEW_SECONDS: Final = 60
# Anybody may change these at many issuers: they say nothing about who somebody is.
_CHANGEABLE: Final = frozenset({"preferred_username", "upn", "unique_name", "name", "nickname", "given_name"})
_MANY_TENANTS: Final = re.compile(r"\{|login\.microsoftonline\.com/(common|organizations|consumers)\b")
# What Keycloak writes into its other tokens, which it calls active, too, when it is asked about them.
_NOT_FOR_ACCESS: Final = frozenset({"id", "refresh", "offline", "logout"})


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens are taken.

    Args:
        issuer: exactly as in the token's ``iss``.
        audience: that the token's ``aud`` must name.
        source: its keys, or who asks it about each token.
        claims: those that may be the login, the first that is there and counts; ``email`` counts only with
            ``email_verified``, ``oid`` only with a ``tid`` that the issuer's name holds.
        scope: that the token's ``scope`` or ``scp`` must hold, if any.
        algorithms: what it may sign with.
        configuration: address at which it says all about itself, for clients; empty for none.
    """

    issuer: str
    audience: str
    source: KeySource | Introspection
    claims: Sequence[str] = ("sub",)
    scope: str = ""
    algorithms: Sequence[str] = ALGORITHMS
    configuration: str = ""

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ConfigError("oauth.issuers: issuer and audience must both be given")
        if _MANY_TENANTS.search(self.issuer):
            raise ConfigError(f"oauth.issuers: {self.issuer} speaks for many tenants; name the issuer of your own one")
        if not self.claims:
            raise ConfigError('oauth.issuers: identity_claim names none; use "sub"')
        for name in self.claims:
            if name in _CHANGEABLE:
                raise ConfigError(f'oauth.issuers: identity_claim "{name}" can be changed by its user; use "sub"')
        for name in self.algorithms:
            if name not in ALGORITHMS:
                allowed = ", ".join(ALGORITHMS)
                raise ConfigError(f'oauth.issuers: algorithm "{name}" is not allowed; use some of {allowed}')

    def invalid(self, reason: str, *, lacks_scope: bool = False) -> TokenInvalid:
        """Return the judgement that a token of this issuer does not count."""
        return TokenInvalid(reason, self.scope, self.configuration, lacks_scope)


def judge(claims: Mapping[str, Any], issuer: Issuer, now: float, *, needs_expiry: bool) -> TokenSubject | TokenInvalid:
    """Judge what a token says, once it is known that its issuer says so; an `iss` that is there is not looked at."""
    problem = _problem(claims, issuer, now, needs_expiry)
    if problem:
        return issuer.invalid(problem)
    if issuer.scope and issuer.scope not in _scopes(claims):
        return issuer.invalid("token without the scope that is needed", lacks_scope=True)
    reasons = []
    for claim in issuer.claims:
        name = claims.get(claim)
        problem = _doubt(claim, name, claims, issuer)
        if not problem:
            assert isinstance(name, str)
            return TokenSubject(name, issuer.issuer, issuer.scope, issuer.configuration)
        reasons.append(problem)
    return issuer.invalid(", ".join(reasons))


def _problem(claims: Mapping[str, Any], issuer: Issuer, now: float, needs_expiry: bool) -> str:
    kind = claims.get("typ")
    if isinstance(kind, str) and kind.lower() in _NOT_FOR_ACCESS:
        return "token is no access token"
    # RFC 7800 §3.1: "cnf" binds a token to a key, which nobody can prove to have by these mechanisms.
    if claims.get("cnf") is not None:
        return "token bound to a key"
    # RFC 7519 §4.1.3: whoever is not among the audience refuses the token.
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        return "token for another audience"
    expiry = claims.get("exp")
    expires, starts = seconds(expiry), seconds(claims.get("nbf", 0))
    if starts is None or (expires is None and (needs_expiry or expiry is not None)):
        return "token without a proper time of expiry"
    # RFC 7519 §4.1.4, §4.1.5: it counts before "exp" and not before "nbf", give or take a minute.
    if expires is not None and now >= expires + _SKEW_SECONDS:
        return "token expired"
    if now < starts - _SKEW_SECONDS:
        return "token not valid yet"
    return ""


def _doubt(claim: str, name: object, claims: Mapping[str, Any], issuer: Issuer) -> str:
    """Return why a claim does not say who somebody is; empty if it does."""
    if not isinstance(name, str) or not name:
        return f"token without the claim {claim}"
    # OpenID Connect Core §5.7: an address may be anybody's until the issuer has verified it.
    if claim == "email" and claims.get("email_verified") is not True:
        return "token with an address that its issuer has not verified"
    # Microsoft's object ids are those of a tenant, and the issuer's name says of which one.
    if claim == "oid" and claims.get("tid") not in issuer.issuer.split("/")[3:]:
        return "token of another tenant"
    return ""


def seconds(value: object) -> float | None:
    """Return a time that a token names; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _scopes(claims: Mapping[str, Any]) -> list[Any]:
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, str):
        return value.split()
    return value if isinstance(value, list) else []
