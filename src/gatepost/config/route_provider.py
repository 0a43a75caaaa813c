"""The keys of a smart host route that have to do with its provider, and with how much it takes (`config.providers`).

What `provider` sets fills the keys that the route does not write itself, before anything is checked: from there on
nobody can tell a preset from a key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from gatepost.config.providers import EVERY_REGION, PROVIDERS, Provider
from gatepost.config.values import SecretField, SecretFileField, Size, Table, Whole, wrong

__all__ = ["ProviderKeys"]

_REGION = re.compile(r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}|[a-z]{2,6}")
# Visible characters, as in a header field's value, without any that could begin another.
_STREAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class ProviderKeys(Table):
    """Who takes the mail onward, and how much of it."""

    provider: str = Field(
        default="",
        description="Provider whose host, login, limits and replies are known (docs/providers.md); what else is "
        "written here counts before them.",
        examples=["mta"],
    )
    region: str = Field(
        default="",
        description='Region of the provider\'s host: of "ses" one such as "eu-central-1", of "mailgun" "us" or "eu", '
        'of "sendgrid" "global" or "eu".',
        validate_default=True,
    )
    secret_access_key: SecretField | None = Field(
        default=None,
        description='With "ses": secret access key of the IAM user whose access key is the login, instead of a '
        "password, which is made of it.  Better kept in a file: secret_access_key_file.",
        examples=["…"],
    )
    secret_access_key_file: SecretFileField | None = Field(
        default=None,
        description="File that holds the secret access key.",
        examples=["/etc/gatepost/ses.secret_access_key"],
    )
    message_stream: str = Field(
        default="",
        description='With "postmark": the message stream of mail that names none itself.',
    )
    mechanisms: tuple[Annotated[str, StringConstraints(min_length=1, to_upper=True)], ...] = Field(
        default=(), description="SASL mechanisms to log in with; the best of these that is offered, of all if empty."
    )
    messages_per_second: Whole | None = Field(
        default=None,
        ge=0,
        le=100_000,
        description='Messages in a second over all workers, with "ses" recipients; 0 for no limit.',
        examples=[0],
    )
    messages_per_minute: Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description='Messages in a minute, with "ses" recipients; 0 for no limit.',
        examples=[0],
    )
    messages_per_day: Whole | None = Field(
        default=None, ge=0, le=1_000_000_000, description="Messages in any 24 hours; 0 for no limit.", examples=[0]
    )
    recipients_per_day: Whole | None = Field(
        default=None, ge=0, le=1_000_000_000, description="Recipients in any 24 hours; 0 for no limit.", examples=[0]
    )
    recipients_per_message: Whole = Field(
        default=100, ge=1, le=10_000, description="Recipients of one message at the next hop; more are sent as several."
    )
    message_bytes: Size | None = Field(
        default=None,
        description="Longest message for this route, whatever the next hop says; a longer one goes back.",
        examples=["25MiB"],
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("provider"), str):
            return data
        provider = PROVIDERS.get(data["provider"])
        if provider is None:
            return data
        keys = {**provider.keys, **_host(provider, data.get("region", ""))}
        if "hosts" in data:
            keys.pop("host", None)
        return {**keys, **data}

    @field_validator("provider")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value and value not in PROVIDERS:
            raise wrong(f"is none that is known; write one of: {', '.join(PROVIDERS)}")
        return value

    @field_validator("region")
    @classmethod
    def _has_host(cls, value: str, info: ValidationInfo) -> str:
        provider = PROVIDERS.get(info.data.get("provider", ""))
        if provider is None or not provider.hosts:
            if value and "provider" in info.data:
                raise wrong("has no effect without a provider that has regions; remove it")
            return value
        if not value and not provider.region:
            raise wrong(f'is missing; add the region of your account at {provider.title}, such as "eu-central-1"')
        if value and value not in provider.hosts and not (EVERY_REGION in provider.hosts and _REGION.fullmatch(value)):
            known = ", ".join(each for each in provider.hosts if each != EVERY_REGION) or "one such as eu-central-1"
            raise wrong(f"is no region of {provider.title}; write {known}")
        return value

    @field_validator("message_stream")
    @classmethod
    def _is_field_value(cls, value: str) -> str:
        if value and _STREAM.fullmatch(value) is None:
            raise wrong("is no name of a stream; write letters, digits, '-', '_' and '.'")
        return value

    @property
    def preset(self) -> Provider | None:
        """What is known of the provider."""
        return PROVIDERS.get(self.provider)


def _host(provider: Provider, region: Any) -> dict[str, str]:
    """Return the host in *region*; a region that is none is told at its own key."""
    if not provider.hosts:
        return {}
    name = region if isinstance(region, str) and _REGION.fullmatch(region) else provider.region
    host = provider.hosts.get(name) or provider.hosts.get(EVERY_REGION) or provider.hosts[provider.region]
    return {"host": host.format(region=name or "region")}
