"""The keys of ``[oauth]``: whose access tokens are taken, and how they are judged."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from gatepost.config.values import Duration, Location, SecretFileField, Table, wrong

__all__ = ["Issuer", "OAuth"]

_Text = Annotated[str, StringConstraints(min_length=1)]
_Url = Annotated[str, StringConstraints(min_length=1, pattern="^https?://")]
_Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class Issuer(Table):
    """Somebody whose access tokens we take."""

    issuer: _Text = Field(
        description="Issuer, exactly as in the token.  Its configuration is read below this address (OpenID Connect "
        "Discovery, RFC 8414), and its keys from where that says, unless something below says otherwise.",
        examples=["https://login.example.org/"],
    )
    audience: _Text = Field(description="Audience that a token must name.", examples=["gatepost"])
    discovery_url: _Url | None = Field(
        default=None,
        description="Where its configuration is, if not at the usual place below its address.",
        examples=["https://login.example.org/.well-known/openid-configuration"],
    )
    jwks_file: Location | None = Field(
        default=None,
        description="Its keys, as a JWK set; nothing is asked of it then.",
        examples=["/etc/gatepost/jwks.json"],
    )
    jwks_url: _Url | None = Field(
        default=None,
        description="Where it publishes its keys, for one without a configuration.",
        examples=["https://login.example.org/.well-known/jwks.json"],
    )
    client_id: _Text | None = Field(
        default=None,
        description="Our own client there.  If given, no keys are used: the issuer is asked about each token "
        "(introspection, RFC 7662), also about opaque ones, and notices those that were revoked.",
        examples=["gatepost"],
    )
    client_secret_file: SecretFileField | None = Field(
        default=None, description="File that holds the secret of client_id.", examples=["/etc/gatepost/oauth.secret"]
    )
    introspection_url: _Url | None = Field(
        default=None,
        description="Where it is asked about tokens, if its configuration does not say.",
        examples=["https://login.example.org/introspect"],
    )
    identity_claim: Annotated[tuple[_Text, ...], BeforeValidator(_as_list)] = Field(
        default=("sub",),
        min_length=1,
        description='Claim that names the account, or several: the first that is there and counts.  "email" counts '
        'only with "email_verified", Microsoft\'s "oid" only with the "tid" of the issuer.',
    )
    scope: str = Field(default="", description="Scope that a token must hold; none if empty.", examples=["smtp.send"])
    algorithms: tuple[_Algorithm, ...] = Field(
        default=("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"),
        min_length=1,
        description="What it may sign with.",
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    timeout: Duration = Field(
        default=timedelta(seconds=3),
        ge=timedelta(milliseconds=10),
        le=timedelta(seconds=30),
        description="How long an answer of it may take.",
    )
    keys_last: Duration = Field(
        default=timedelta(days=1),
        ge=timedelta(minutes=1),
        le=timedelta(days=30),
        description="How long its keys go on while it is away; they are looked at every hour.",
    )
    cache_time: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="How long its yes to a token is remembered, and how often it is asked about the tokens of open "
        'sessions, with client_id; "0s": never, and each second.',
    )

    @field_validator("jwks_url")
    @classmethod
    def _one_source(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("jwks_file") is not None:
            raise wrong("stands beside jwks_file; keep one of the two")
        return value


class OAuth(Table):
    """Access tokens that clients bring."""

    issuers: tuple[Issuer, ...] = Field(
        default=(), description="Whose tokens are taken; OAUTHBEARER and XOAUTH2 are offered when there is one."
    )
