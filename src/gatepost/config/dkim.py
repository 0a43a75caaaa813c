"""The keys of ``[dkim]``: whose mail is signed, and what of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from gatepost.config.values import Duration, Hostname, Table, wrong
from gatepost.message.dkim import SIGNABLE

__all__ = ["Dkim"]


def _check_field(value: str) -> str:
    name = value.lower()
    # RFC 6376 §5.4: From must be signed.
    if name == "from":
        raise wrong("is From, which must be signed; leave it out here")
    if name.encode() not in SIGNABLE:
        raise wrong("is no field that would be signed; leave it out here")
    return name


class Dkim(Table):
    """DKIM signatures (docs/dkim.md); the keys are made by ``gatepost dkim``."""

    domains: tuple[Hostname, ...] | None = Field(
        default=None,
        description="Domains of From whose mail is signed; each must have a key, or gatepost does not start. "
        "If not given, those that have one.",
        examples=[["example.org"]],
    )
    unsigned_fields: tuple[Annotated[str, AfterValidator(_check_field)], ...] = Field(
        default=(),
        description='Header fields that are not signed, for a next hop that changes them, such as "message-id" and '
        '"date" for Amazon SES.',
        examples=[["message-id", "date"]],
    )
    keep_records: Duration = Field(
        default=timedelta(days=14),
        description="How long the DNS record of a key must stay once another has taken over: mail that it signed may "
        "be under way as long.",
    )
