"""Access tokens that clients bring: JWT checked by the keys of their issuer (RFC 7519, RFC 8725, RFC 9068).

A token counts when one of its issuer's keys signed it with an allowed algorithm, and issuer, audience and time fit.
The check of an RSA signature takes about 50 us and is done on the loop's thread.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from gatepost.errors import ConfigError
from gatepost.identity.jwks import Key, KeySource
from gatepost.identity.tokens import TokenInvalid, TokenSubject
from gatepost.model.clock import Clock
from gatepost.model.identity import Secret

__all__ = ["ALGORITHMS", "Issuer", "TokenVerifier"]

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519")
"""What a token may be signed with: never "none", never a shared secret (RFC 8725 §3.1)."""

_SKEW_SECONDS: Final = 60
_TOKEN_LIMIT: Final = 16_384
_KEYS_TRIED: Final = 4
_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt", "application/jwt"})
# Anybody may change these at many issuers: they say nothing about who somebody is.
_CHANGEABLE: Final = frozenset({"preferred_username", "upn", "unique_name", "name", "nickname", "given_name"})
_MANY_TENANTS: Final = re.compile(r"\{|login\.microsoftonline\.com/(common|organizations|consumers)\b")


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens are taken.

    Args:
        issuer: exactly as in the token's ``iss``.
        audience: that the token's ``aud`` must name.
        keys: where its keys are.
        claim: the claim that is the login; ``email`` counts only with ``email_verified``.
        scope: that the token's ``scope`` or ``scp`` must hold, if any.
        algorithms: what it may sign with.
    """

    issuer: str
    audience: str
    keys: KeySource
    claim: str = "sub"
    scope: str = ""
    algorithms: Sequence[str] = ALGORITHMS

    def __post_init__(self) -> None:
        if not self.issuer or not self.audience:
            raise ConfigError("oauth.issuers: issuer and audience must both be given")
        if _MANY_TENANTS.search(self.issuer):
            raise ConfigError(f"oauth.issuers: {self.issuer} speaks for many tenants; name the issuer of your own one")
        if self.claim in _CHANGEABLE:
            raise ConfigError(f'oauth.issuers: identity_claim "{self.claim}" can be changed by its user; use "sub"')
        for name in self.algorithms:
            if name not in ALGORITHMS:
                allowed = ", ".join(ALGORITHMS)
                raise ConfigError(f'oauth.issuers: algorithm "{name}" is not allowed; use some of {allowed}')


class TokenVerifier:
    """Judges access tokens of several issuers."""

    def __init__(self, issuers: Sequence[Issuer], clock: Clock) -> None:
        self._issuers: Final[Mapping[str, Issuer]] = {each.issuer: each for each in issuers}
        self._clock = clock
        # RFC 7515 §4: header parameters that we do not know are ignored, but for those named by "crit".
        self._registries = {
            each.issuer: JWSRegistry(algorithms=list(each.algorithms), strict_check_header=False) for each in issuers
        }
        for registry in self._registries.values():
            registry.max_header_length = 4096  # some issuers put a whole certificate into it
        self.scope = " ".join(dict.fromkeys(each.scope for each in issuers if each.scope))
        """What a client is told to ask for when its token does not count."""
        # OpenID Connect Discovery §4: it stands there below each issuer; of several, a client is told none.
        (only,) = issuers if len(issuers) == 1 else (None,)
        self.configuration = (
            f"{only.issuer.rstrip('/')}/.well-known/openid-configuration"
            if only is not None and only.issuer.startswith("https://")
            else ""
        )
        """Where a client that does not know the issuer finds all about it."""

    async def verify(self, token: Secret) -> TokenSubject | TokenInvalid:
        """Say whose *token* is.

        Raises:
            StoreUnavailable: the keys of its issuer cannot be had.
        """
        octets = token.reveal()
        parts = _unverified(octets)
        if parts is None:
            return TokenInvalid("token is no signed JWT", self.scope)
        header, payload = parts
        name = payload.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            return TokenInvalid("token of an unknown issuer", self.scope)
        algorithm, kid = header.get("alg"), header.get("kid")
        # RFC 8725 §3.1: the algorithm is one that we allow, whatever the token says.
        if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
            return TokenInvalid("token signed with an algorithm that is not allowed", issuer.scope)
        if kid is not None and not isinstance(kid, str):
            return TokenInvalid("token with a bad key id", issuer.scope)
        found = await issuer.keys.find(kid)
        keys = [key for key in found if _fits(key, algorithm)][:_KEYS_TRIED]
        if not keys:
            return TokenInvalid("token signed with an unknown key", issuer.scope)
        for key in keys:
            claims = self._claims(octets, key, issuer)
            if claims is not None:
                return self._judge(claims, header, issuer)
        return TokenInvalid("token with a bad signature", issuer.scope)

    def _claims(self, token: bytes, key: Key, issuer: Issuer) -> Mapping[str, Any] | None:
        try:
            decoded = jwt.decode(token, key, list(issuer.algorithms), self._registries[issuer.issuer])
        except (JoseError, ValueError, TypeError):
            return None
        return decoded.claims

    def _judge(
        self, claims: Mapping[str, Any], header: Mapping[str, Any], issuer: Issuer
    ) -> TokenSubject | TokenInvalid:
        problem = _problem(claims, header, issuer, self._clock.now())
        if problem:
            return TokenInvalid(problem, issuer.scope)
        name = claims.get(issuer.claim)
        if not isinstance(name, str) or not name:
            return TokenInvalid(f"token without the claim {issuer.claim}", issuer.scope)
        if issuer.claim == "email" and claims.get("email_verified") is not True:
            return TokenInvalid("token with an address that its issuer has not verified", issuer.scope)
        return TokenSubject(name, issuer.issuer)


def _problem(claims: Mapping[str, Any], header: Mapping[str, Any], issuer: Issuer, now: float) -> str:
    # RFC 8725 §3.11: a token made for something else, such as a logout or a security event, says so in "typ".
    kind = header.get("typ", "")
    if not isinstance(kind, str) or kind.lower() not in _TYPES:
        return "token is no access token"
    if claims.get("iss") != issuer.issuer:
        return "token of another issuer"
    # RFC 7519 §4.1.3: whoever is not among the audience refuses the token.
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        return "token for another audience"
    expires, starts = _seconds(claims.get("exp")), _seconds(claims.get("nbf", 0))
    if expires is None or starts is None:
        return "token without a proper time of expiry"
    # RFC 7519 §4.1.4, §4.1.5: it counts before "exp" and not before "nbf", give or take a minute.
    if now >= expires + _SKEW_SECONDS:
        return "token expired"
    if now < starts - _SKEW_SECONDS:
        return "token not valid yet"
    if issuer.scope and issuer.scope not in _scopes(claims):
        return "token without the scope that is needed"
    return ""


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _scopes(claims: Mapping[str, Any]) -> list[Any]:
    value = claims.get("scope", claims.get("scp"))
    if isinstance(value, str):
        return value.split()
    return value if isinstance(value, list) else []


def _unverified(token: bytes) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return header and claims of *token*, only to learn which key to look for."""
    parts = token.split(b".")
    if len(token) > _TOKEN_LIMIT or len(parts) != 3:
        return None
    try:
        header, payload = (json.loads(urlsafe_b64decode(part)) for part in parts[:2])
    except (ValueError, TypeError, RecursionError):
        return None
    if not isinstance(header, dict) or not isinstance(payload, dict):
        return None
    # RFC 7515 §4.1.11: we know no critical extension, so a token that has one is refused.
    return None if "crit" in header else (header, payload)


def _fits(key: Key, algorithm: str) -> bool:
    if key.get("use", "sig") != "sig" or key.get("alg", algorithm) != algorithm:
        return False
    match key:
        case RSAKey():
            return algorithm[:2] in {"RS", "PS"}
        case ECKey():
            return {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}.get(key.curve_name) == algorithm
        case OKPKey():
            return key.curve_name == algorithm
