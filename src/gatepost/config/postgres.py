"""The keys of a ``[[store]]`` of type postgres: where the server is, and how we log in there."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo, field_validator

from gatepost.config.values import (
    Duration,
    Location,
    SecretField,
    SecretFileField,
    Table,
    Whole,
    check_host,
    wrong,
)
from gatepost.identity.stores.postgres_server import PostgresServer
from gatepost.model.identity import Secret

__all__ = ["PostgresStore"]

# PostgreSQL cuts longer ones off without a word.
_LONGEST_NAME = 63


def _check_server(value: str) -> str:
    return value if value.startswith("/") and value.isprintable() else check_host(value)


def _check_word(value: str) -> str:
    if not value.isprintable() or len(value.encode(errors="replace")) > _LONGEST_NAME:
        raise wrong(f"is no name in PostgreSQL; write {_LONGEST_NAME} octets at most, without control characters")
    return value


_Word = Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_word)]


class PostgresStore(Table):
    """Accounts and credentials in a PostgreSQL database, which several nodes may share."""

    type: Literal["postgres"] = Field(
        description='"postgres": a database of PostgreSQL that gatepost account and gatepost credential keep, and that '
        "several nodes may share (docs/stores.md).",
        examples=["postgres"],
    )
    host: Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_server)] = Field(
        description="Name or address of the server; or the folder of its Unix socket, such as /run/postgresql.",
        examples=["db.example.org"],
    )
    port: Whole = Field(default=5432, ge=1, le=65535, description="Its port.")
    database: _Word = Field(default="gatepost", description="The database.")
    user: _Word = Field(default="gatepost", description="As whom gatepost logs in there.")
    password: SecretField | None = Field(
        default=None, description="Password.  Better kept in a file of its own: password_file.", examples=["…"]
    )
    password_file: SecretFileField | None = Field(
        default=None, description="File that holds the password.", examples=["/etc/gatepost/postgres.password"]
    )
    tls: Literal["verify", "none"] = Field(
        default="verify",
        description='Whether the connection is encrypted and the server\'s certificate verified; "none" only for a '
        "server on the same machine or wire.  It means nothing with a Unix socket.",
    )
    ca_file: Location | None = Field(
        default=None,
        description="Certificates to trust instead of the system's, as PEM.",
        examples=["/etc/gatepost/ca.pem"],
    )
    certificate: Location | None = Field(
        default=None,
        description="Our certificate, if it wants one, as PEM.",
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
        description="How long a look-up may take.",
    )
    connections: Whole = Field(default=4, ge=1, le=100, description="Connections to it at once, of each worker.")

    @field_validator("password_file")
    @classmethod
    def _one_secret(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("password") is not None:
            raise wrong("stands beside password; keep one of the two")
        return value

    @property
    def is_local(self) -> bool:
        """Whether it is asked over a Unix socket."""
        return self.host.startswith("/")

    @property
    def password_secret(self) -> Secret | None:
        """The password, wherever it was written."""
        return self.password_file.secret if self.password_file is not None else self.password

    @property
    def server(self) -> PostgresServer:
        """Where it is, and how we log in."""
        return PostgresServer(
            host=self.host,
            port=self.port,
            database=self.database,
            user=self.user,
            password=self.password_secret,
            has_tls=self.tls == "verify",
            ca_file=self.ca_file,
            certificate=self.certificate,
            key=self.key,
            timeout=self.timeout.total_seconds(),
        )
