"""The table ``[queue]``: when mail is tried again, for how long, how much at once, and which mail goes first."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from gatepost.config.values import Duration, Login, Table, Whole, wrong

__all__ = ["Queue", "QueueRule", "Waits", "no_storm", "some_time"]

_Text = Annotated[str, StringConstraints(min_length=1)]

Waits = tuple[Duration, ...]
"""Waits after failed attempts."""


def no_storm(value: Waits | None) -> Waits | None:
    """Refuse waits that would trouble a next hop."""
    if value is not None and min(value) < timedelta(seconds=1):
        raise wrong("holds a wait shorter than a second; write longer ones")
    return value


def some_time(value: timedelta | None) -> timedelta | None:
    """Refuse to give up at once."""
    if value is not None and value < timedelta(seconds=1):
        raise wrong("is shorter than a second; write a longer time")
    return value


class QueueRule(Table):
    """What holds for the mail of some accounts or credentials."""

    accounts: tuple[Login, ...] = Field(default=(), description="Logins of accounts.", examples=[["shop@example.org"]])
    credentials: tuple[_Text, ...] = Field(
        default=(), description="Credentials, by id or label.", examples=[["password resets"]]
    )
    priority: Literal["high", "normal", "low"] = Field(
        default="normal",
        description='Which mail goes first where several wait: "high" for password resets, "low" for newsletters.',
    )
    retry: Waits | None = Field(
        default=None,
        min_length=1,
        description="Wait after each failed attempt; as the route or queue.retry says, if not given.",
        examples=[["30s", "2m", "10m"]],
    )
    give_up_after: Duration | None = Field(
        default=None,
        description="Age at which it is bounced; as the route or queue.give_up_after says, if not given.",
        examples=["1h"],
    )

    _no_storm = field_validator("retry")(no_storm)
    _some_time = field_validator("give_up_after")(some_time)


class Queue(Table):
    """When mail is tried again, and for how long."""

    retry: tuple[Duration, ...] = Field(
        default=tuple(timedelta(minutes=number) for number in (1, 5, 15, 30, 60, 120, 240)),
        min_length=1,
        description="Wait after each failed attempt; the last one holds for all that follow.",
    )
    give_up_after: Duration = Field(
        default=timedelta(days=5),
        description="Age at which mail is bounced; time in which only a route failed is not counted.",
    )
    delay_notice: Duration = Field(
        default=timedelta(hours=4),
        description="Age at which a sender hears, once, that mail still waits, unless the client wanted no such "
        'notice; "0s": never.',
    )
    attempts_at_once: Whole = Field(default=100, ge=1, le=10_000, description="Deliveries at once, over all routes.")
    attempts_per_route: Whole = Field(
        default=20, ge=1, le=10_000, description="Deliveries at once on one route: a slow one must not hold up others."
    )

    attempt_timeout: Duration = Field(
        default=timedelta(hours=1),
        # RFC 5321 §4.5.3.2: a next hop may take 10 minutes after the final dot alone, and minutes for each step before.
        ge=timedelta(minutes=30),
        le=timedelta(days=1),
        description="How long one delivery may take, however slowly it goes on; it is tried again then.",
    )
    rule: tuple[QueueRule, ...] = Field(
        default=(), description="What holds for the mail of some accounts or credentials; the first that names them."
    )

    _no_storm = field_validator("retry")(no_storm)
    _some_time = field_validator("give_up_after")(some_time)
