"""The tables of the accounts database, for those who write it: command line, migrations, admin page.

`gatepost serve` never imports this: it reads the same tables with plain statements (`stores.sqlite`).  Times are
seconds since the epoch; lists are JSON arrays of text; every change goes by way of a migration.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    false,
)

__all__ = ["METADATA", "accounts", "credentials", "verifiers"]

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

accounts: Final = Table(
    "accounts",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("login", Text, nullable=False, unique=True),
    Column("state", Text, CheckConstraint("state IN ('active', 'disabled')", name="state"), nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("senders", Text, nullable=False),
    Column("max_message_bytes", BigInteger),
    Column("max_recipients", Integer),
    Column("null_sender", Boolean),
    Column("salt", LargeBinary, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("suspended_until", Float),
    Column("contact", Text, nullable=False, server_default=""),
    # An id is never given out twice, so that a reader can follow it from one statement to the next.
    sqlite_autoincrement=True,
)

credentials: Final = Table(
    "credentials",
    METADATA,
    Column("id", Text, primary_key=True, nullable=False),
    Column("account_id", Integer, ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    Column("label", Text, nullable=False),
    Column("origin", Text, CheckConstraint("origin IN ('generated', 'chosen')", name="origin"), nullable=False),
    Column("mechanisms", Text, nullable=False),
    Column("listeners", Text, nullable=False),
    Column("networks", Text, nullable=False),
    Column("senders", Text, nullable=False),
    Column("expires", Float),
    Column("sandbox", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("revoked", Float),
    Column("not_before", Float),
    Column("recipients", Text, nullable=False, server_default="[]"),
    Column("messages_per_minute", Integer),
    Column("is_canary", Boolean, nullable=False, server_default=false()),
    # Of one that is being rotated: what takes its place, since when, and after how long without a login it may go.
    Column("successor", Text),
    Column("rotated", Float),
    Column("retire_unused", Float),
    Column("warned", Float),
    Index("ix_credentials_account_id", "account_id", "revoked"),
)

verifiers: Final = Table(
    "verifiers",
    METADATA,
    Column("credential_id", Text, ForeignKey("credentials.id", ondelete="CASCADE"), primary_key=True, nullable=False),
    Column("scheme", Text, primary_key=True, nullable=False),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
