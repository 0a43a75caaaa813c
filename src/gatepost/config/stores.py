"""The keys of ``[[store]]``: who may log in, and where that is written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from gatepost.config.directory import LdapStore
from gatepost.config.postgres import PostgresStore
from gatepost.config.values import (
    Duration,
    Flag,
    HostAndPort,
    Location,
    Login,
    Name,
    SecretFileField,
    Table,
    Whole,
    check_networks,
    wrong,
)
from gatepost.errors import Malformed
from gatepost.model.identity import parse_sender_pattern

__all__ = ["DovecotStore", "HttpStore", "LdapStore", "PasswdFileStore", "SqliteStore", "StaticStore", "Store"]


def _check_sender(value: str) -> str:
    try:
        return str(parse_sender_pattern(value))
    except Malformed:
        raise wrong("is no sender; write name@domain, *@domain or *") from None


class SqliteStore(Table):
    """Accounts and credentials in an SQLite file, kept by `gatepost account` and `gatepost credential`."""

    type: Literal["sqlite"] = Field(
        description='Kind of store: "sqlite" is the database that gatepost account and gatepost credential keep.',
        examples=["sqlite"],
    )
    path: Location = Field(description="The database.", examples=["/var/lib/gatepost/accounts.db"])


class PasswdFileStore(Table):
    """Logins in a file of Dovecot's (passwd-file) or Apache's (htpasswd)."""

    type: Literal["passwd-file"] = Field(
        description="\"passwd-file\": a file of Dovecot's (passwd-file) or Apache's (htpasswd), read again when it "
        "changes.",
        examples=["passwd-file"],
    )
    path: Location = Field(
        description="The file; nobody but its owner may be allowed to write it.", examples=["/etc/gatepost/users"]
    )


class StaticStore(Table):
    """One login, whose secret is in a file."""

    type: Literal["static"] = Field(
        description='"static": one login, whose secret is in a file of its own, as Docker and Kubernetes hand secrets '
        "over.",
        examples=["static"],
    )
    login: Login = Field(description="The login.", examples=["app@example.org"])
    secret_file: Location = Field(
        description="File that holds the secret; read again when it changes.", examples=["/run/secrets/app"]
    )
    senders: tuple[Annotated[str, AfterValidator(_check_sender)], ...] | None = Field(
        default=None,
        description="Whom it may write as: name@domain, *@domain or *; its login if not given.",
        examples=[["app@example.org"]],
    )
    listeners: tuple[Name, ...] = Field(default=(), description="The only listeners it may come in by; all if empty.")
    networks: tuple[str, ...] = Field(
        default=(), description="The only addresses and networks it may come from; all if empty."
    )
    sandbox: Flag = Field(default=False, description="Whether its mail goes to the sandbox only.")

    _check_networks = field_validator("networks")(check_networks)


class HttpStore(Table):
    """A service that is asked over HTTP."""

    type: Literal["http"] = Field(
        description='"http": a service of yours that is told login and password, and says whose they are '
        "(docs/stores.md).",
        examples=["http"],
    )
    url: Annotated[str, StringConstraints(min_length=1, pattern="^https?://")] = Field(
        description="Where it is asked: https, or http on this machine.",
        examples=["https://login.example.org/gatepost"],
    )
    token_file: SecretFileField | None = Field(
        default=None,
        description="File that holds the bearer token it wants from us.",
        examples=["/etc/gatepost/store.token"],
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    certificate: Location | None = Field(
        default=None,
        description="Our certificate, if it wants one (mutual TLS), as PEM.",
        examples=["/etc/gatepost/tls/fullchain.pem"],
    )
    key: Location | None = Field(
        default=None,
        description="Key of our certificate; in the same file if not given.",
        examples=["/etc/gatepost/tls/privkey.pem"],
    )
    timeout: Duration = Field(
        default=timedelta(milliseconds=800),
        ge=timedelta(milliseconds=10),
        le=timedelta(seconds=30),
        description="How long an answer may take.  Above auth.failure_delay, a slow service shows which names it is "
        "asked for.",
    )
    cache_time: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description='How long a yes is remembered, and how often it is asked about who is logged in; "0s": never, and '
        "each second.",
    )
    cache_entries: Whole = Field(default=10_000, ge=0, le=1_000_000, description="How many answers are remembered.")
    connections: Whole = Field(default=20, ge=1, le=1000, description="Connections to it at once, of each worker.")


class DovecotStore(Table):
    """Dovecot's auth service."""

    type: Literal["dovecot"] = Field(
        description='"dovecot": Dovecot\'s auth service, the one that Postfix would ask (docs/stores.md).',
        examples=["dovecot"],
    )
    socket: Location | None = Field(
        default=None,
        description="Its auth-client socket, which checks passwords.",
        examples=["/run/dovecot/auth-client"],
    )
    address: HostAndPort | None = Field(
        default=None,
        description="Instead of socket: where it listens for that with TCP, on this machine.",
        examples=["127.0.0.1:12345"],
    )
    userdb_socket: Location | None = Field(
        default=None,
        description="Its auth-userdb socket, which knows names: needed for tokens, for stores after this one, and to "
        "notice that somebody who is logged in was removed.",
        examples=["/run/dovecot/auth-userdb"],
    )
    timeout: Duration = Field(
        default=timedelta(seconds=5),
        ge=timedelta(milliseconds=10),
        le=timedelta(seconds=60),
        description="How long an answer may take.  Dovecot holds back a no for its auth_failure_delay, 2 seconds.",
    )
    cache_time: Duration = Field(
        default=timedelta(minutes=1),
        le=timedelta(hours=1),
        description="How long a yes is remembered, and how often it is asked about who is logged in; "
        '"0s": never, and each second.',
    )
    cache_entries: Whole = Field(default=10_000, ge=1, le=1_000_000, description="How many users are remembered.")

    @property
    def where(self) -> Path | tuple[str, int]:
        """Where it is asked for passwords."""
        if self.socket is not None:
            return self.socket
        host, _, port = (self.address or "").rpartition(":")
        return host.strip("[]"), int(port)


Store = Annotated[
    SqliteStore | PostgresStore | PasswdFileStore | StaticStore | HttpStore | LdapStore | DovecotStore,
    Field(discriminator="type"),
]
