"""The keys of ``[route.oauth]``: how a route gets the access tokens with which it logs in (RFC 6749, RFC 8628)."""

from __future__ import annotations

import datetime as dt
import re
from datetime import timedelta
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo, field_validator

from gatepost.config.values import Duration, Location, SecretField, SecretFileField, Table, wrong
from gatepost.model.identity import Secret
from gatepost.relay.oauth_client import OAuthClient

__all__ = ["PRESETS", "Preset", "RouteOAuth"]

_Text = Annotated[str, StringConstraints(min_length=1)]
_Url = Annotated[str, StringConstraints(min_length=1, pattern="^https?://")]

# RFC 6749 §3.3: printable ASCII without space, quote and backslash.
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")


def _check_scopes(values: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_SCOPE.fullmatch, values)):
        raise wrong("holds what is no scope; write each on its own, without spaces")
    return values


def _check_tenant(value: str) -> str:
    if _TENANT.fullmatch(value) is None:
        raise wrong("is no tenant; write its id or domain")
    return value


def _check_day(value: object) -> object:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return value
    try:
        return dt.date.fromisoformat(str(value))
    except ValueError:
        raise wrong("is no day; write it as 2028-12-31") from None


_Scopes = Annotated[tuple[str, ...], AfterValidator(_check_scopes)]
_Tenant = Annotated[str, AfterValidator(_check_tenant)]
_Day = Annotated[dt.date, BeforeValidator(_check_day)]


class Preset(NamedTuple):
    """What is known of an issuer.

    Args:
        token_url: where tokens are asked for; ``{tenant}`` stands for the tenant.
        authorize_url: where somebody grants access in a browser.
        device_url: where that is begun without one; empty if it has none that gives tokens for mail.
        scopes: of a token that somebody grants.
        own_scopes: of a token that the client gets as itself; none if it gets none.
        redirect_host: what its applications for this machine may come back to, on any port.
        extra: what it needs to give a refresh token.
    """

    token_url: str
    authorize_url: str
    device_url: str
    scopes: tuple[str, ...]
    own_scopes: tuple[str, ...]
    redirect_host: str
    extra: tuple[tuple[str, str], ...]


_MICROSOFT: Final = "https://login.microsoftonline.com/{tenant}/oauth2/v2.0"
PRESETS: Final = {
    "google": Preset(
        "https://oauth2.googleapis.com/token",
        "https://accounts.google.com/o/oauth2/v2/auth",
        "",
        ("https://mail.google.com/",),
        (),
        "127.0.0.1",
        (("access_type", "offline"), ("prompt", "consent")),
    ),
    "microsoft": Preset(
        f"{_MICROSOFT}/token",
        f"{_MICROSOFT}/authorize",
        f"{_MICROSOFT}/devicecode",
        ("https://outlook.office.com/SMTP.Send", "offline_access"),
        ("https://outlook.office365.com/.default",),
        "localhost",
        (("prompt", "select_account"),),
    ),
}
_OTHER: Final = Preset("", "", "", (), (), "127.0.0.1", ())


class RouteOAuth(Table):
    """Where a route gets its access tokens."""

    provider: Literal["google", "microsoft"] | None = Field(
        default=None,
        description="Whose tokens: addresses and scopes are known for these; for another issuer give token_url.",
        examples=["microsoft"],
    )
    tenant: _Tenant | None = Field(
        default=None,
        description='Tenant at Microsoft: its id or domain; "consumers" for Outlook.com.',
        examples=["example.onmicrosoft.com"],
    )
    grant: Literal["refresh_token", "client_credentials"] = Field(
        default="refresh_token",
        description='How tokens are got: "refresh_token" after somebody ran gatepost oauth login, '
        '"client_credentials" by the client itself, with its secret alone.',
    )
    client_id: _Text = Field(
        description="Our application at the issuer.", examples=["11111111-2222-3333-4444-555555555555"]
    )
    client_secret: SecretField | None = Field(
        default=None,
        description="Its secret, if it has one.  Better kept in a file of its own: client_secret_file.",
        examples=["…"],
    )
    client_secret_file: SecretFileField | None = Field(
        default=None, description="File that holds the secret.", examples=["/etc/gatepost/route.oauth.secret"]
    )
    client_secret_expires: _Day | None = Field(
        default=None,
        description="Day on which the secret ends; it is warned of from two weeks before.",
        examples=["2028-12-31"],
    )
    scopes: _Scopes = Field(
        default=(),
        description="What the tokens shall be good for; those of the provider if empty.",
        examples=[("https://outlook.office.com/SMTP.Send", "offline_access")],
    )
    token_url: _Url | None = Field(
        default=None, description="Where tokens are asked for.", examples=["https://login.example.org/token"]
    )
    authorize_url: _Url | None = Field(
        default=None,
        description="Where somebody grants access in a browser.",
        examples=["https://login.example.org/authorize"],
    )
    device_url: _Url | None = Field(
        default=None,
        description="Where that is begun without a browser on this machine (device code).",
        examples=["https://login.example.org/device"],
    )
    client_auth: Literal["basic", "post"] | None = Field(
        default=None,
        description='How the secret is shown: "basic" in the header, "post" in the form; "post" for the providers '
        'above, else "basic".',
        examples=["post"],
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates of the issuer to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=10),
        le=timedelta(seconds=60),
        description="How long an answer of the issuer may take.",
    )

    @field_validator("client_secret_file")
    @classmethod
    def _one_secret(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("client_secret") is not None:
            raise wrong("stands beside client_secret; keep one of the two")
        return value

    @property
    def preset(self) -> Preset:
        """What is known of the issuer."""
        return PRESETS.get(self.provider or "", _OTHER)

    @property
    def secret(self) -> Secret | None:
        """The client secret, wherever it was written."""
        return self.client_secret_file.secret if self.client_secret_file is not None else self.client_secret

    @property
    def client(self) -> OAuthClient:
        """What we are to the issuer."""
        preset, is_itself = self.preset, self.grant == "client_credentials"
        ends = self.client_secret_expires
        return OAuthClient(
            token_url=self._url(self.token_url, preset.token_url),
            client_id=self.client_id,
            secret=self.secret,
            scopes=self.scopes or (preset.own_scopes if is_itself else preset.scopes),
            is_itself=is_itself,
            secret_in_body=(self.client_auth or ("post" if self.provider else "basic")) == "post",
            secret_expires=None if ends is None else dt.datetime(*ends.timetuple()[:3], tzinfo=dt.UTC).timestamp(),
            authorize_url=self._url(self.authorize_url, preset.authorize_url),
            device_url=self._url(self.device_url, preset.device_url),
            redirect_host=preset.redirect_host,
            extra=preset.extra,
            ca_file=self.ca_file,
            timeout=self.timeout.total_seconds(),
        )

    def _url(self, written: str | None, known: str) -> str:
        return written or known.replace("{tenant}", self.tenant or "")
