"""What tests of access tokens share: an issuer's keys, and tokens signed with them."""

from __future__ import annotations

import base64
import json
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

__all__ = ["AUDIENCE", "ISSUER", "Signer", "jwks", "unsigned"]

ISSUER = "https://login.example.org/"
AUDIENCE = "gatepost"
_SHAPES: dict[str, tuple[Any, Any]] = {
    "RS256": (RSAKey, 2048),
    "PS256": (RSAKey, 2048),
    "ES256": (ECKey, "P-256"),
    "ES384": (ECKey, "P-384"),
    "Ed25519": (OKPKey, "Ed25519"),
}


class Signer:
    """A key of an issuer."""

    def __init__(self, algorithm: str = "ES256", kid: str = "k1", size: Any = None) -> None:
        kind, usual = _SHAPES[algorithm]
        self.algorithm, self.kid = algorithm, kid
        self.key = kind.generate_key(size or usual, private=True)

    def public(self, **more: Any) -> dict[str, Any]:
        return {**self.key.as_dict(private=False), "kid": self.kid, **more}

    def token(self, now: float, *, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
        """Sign a token; a claim that is None is left out."""
        facts = {"iss": ISSUER, "aud": AUDIENCE, "sub": "tim@example.org", "exp": now + 300, **claims}
        facts = {name: value for name, value in facts.items() if value is not None}
        shown = {"alg": self.algorithm, "kid": self.kid, **(header or {})}
        shown = {name: value for name, value in shown.items() if value is not None}
        registry = JWSRegistry(algorithms=[self.algorithm], strict_check_header=False)
        return jwt.encode(shown, facts, self.key, [self.algorithm], registry, default_type=None).encode()


def jwks(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def unsigned(header: Any, claims: Any, signature: bytes = b"") -> bytes:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
