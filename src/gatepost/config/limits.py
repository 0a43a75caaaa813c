"""The table ``[limits]``: how much, how many, how long."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, field_validator

from gatepost.config.values import Duration, Size, Table, Whole, check_networks, wrong

__all__ = ["Limits"]

_KIB, _MIB = 1 << 10, 1 << 20


class Limits(Table):
    """How much, how many, how long."""

    message_bytes: Size = Field(
        default=25 * _MIB, ge=64 * _KIB, le=1024 * _MIB, description="Largest message, as sent."
    )
    header_bytes: Size = Field(default=256 * _KIB, ge=16 * _KIB, le=16 * _MIB, description="Largest header section.")
    line_bytes: Size = Field(
        default=_MIB,
        ge=_KIB,
        le=1024 * _MIB,
        description="Longest line of a message.  The standard says 998 octets, and much that people send has more.",
    )
    recipients: Whole = Field(default=100, ge=1, le=100_000, description="Recipients of one message.")
    connections: Whole = Field(default=1000, ge=1, le=1_000_000, description="Connections at once.")
    connections_per_address: Whole = Field(
        default=50, ge=1, le=1_000_000, description="Connections at once from one IPv4 address or IPv6 /64."
    )
    connections_per_minute: Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Connections a minute from one IPv4 address or IPv6 /64; 0: no limit.  If not given, 600, and no "
        "limit for clients on this machine.",
        examples=[600],
    )
    recipients_per_day: Whole = Field(
        default=1000, ge=0, le=1_000_000_000, description="Recipients of an account's mail in 24 hours; 0: no limit."
    )
    messages_per_minute: Whole | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="Messages of an account in a minute; 0: no limit.  If not given, half of recipients_per_day.",
        examples=[500],
    )
    failed_logins_per_address: Whole = Field(
        default=100,
        ge=0,
        le=1_000_000,
        description="Failed logins from one IPv4 address or IPv6 /64 after which none is judged, right or wrong, until "
        "they are older than failed_logins_window; counted over all workers; 0: no limit.",
    )
    failed_logins_per_network: Whole = Field(
        default=1000, ge=0, le=1_000_000, description="The same for one IPv4 /24 or IPv6 /48."
    )
    failed_logins_per_login: Whole = Field(
        default=200,
        ge=0,
        le=1_000_000,
        description="The same for one login, over all addresses.  One from which it succeeded in the last 30 days "
        "is counted by itself, so that strangers cannot lock out its owner there.",
    )
    failed_logins_window: Duration = Field(
        default=timedelta(hours=1), le=timedelta(days=7), description="How long a failed login is counted."
    )
    failed_logins_exempt: tuple[str, ...] = Field(
        default=(),
        description="Addresses and networks that many people share, such as a webmail's: only the logins there are "
        'counted; such as ["192.0.2.10", "2001:db8::/64"].',
    )
    handshake_timeout: Duration = Field(default=timedelta(seconds=30), description="How long a TLS handshake may take.")
    login_timeout: Duration = Field(
        default=timedelta(minutes=1), description="How long to wait for the next command before login."
    )
    login_deadline: Duration = Field(
        default=timedelta(minutes=3),
        description="How long after connecting a client that has not logged in is cut off.",
    )
    idle_timeout: Duration = Field(
        default=timedelta(minutes=5), description="How long to wait for the next command after login."
    )
    data_timeout: Duration = Field(default=timedelta(minutes=3), description="How long to wait for more of a message.")
    session_deadline: Duration = Field(
        default=timedelta(hours=1),
        description="How long after connecting a client is cut off; in a transaction it has as long again.",
    )

    _check_networks = field_validator("failed_logins_exempt")(check_networks)

    @field_validator("failed_logins_window")
    @classmethod
    def _worth_it(cls, value: timedelta) -> timedelta:
        if value < timedelta(minutes=1):
            raise wrong("is too short to stop anybody; write a minute at least")
        return value

    @field_validator(
        "handshake_timeout", "login_timeout", "login_deadline", "idle_timeout", "data_timeout", "session_deadline"
    )
    @classmethod
    def _long_enough(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise wrong("is too short for any client; write a second at least")
        return value
