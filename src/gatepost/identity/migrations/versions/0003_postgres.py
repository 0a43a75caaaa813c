"""What PostgreSQL needs besides the tables: a stamp that every change renews, and when nodes saw what is rotated used.

SQLite tells of changes itself, and has one node.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["branch_labels", "depends_on", "down_revision", "revision", "upgrade"]

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The tables are found beside the one that changed, wherever whoever changes it looks for tables.
_RENEW = """
    CREATE FUNCTION accounts_renew_stamp() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE format('UPDATE %I.accounts_stamp SET stamp = gen_random_uuid()::text', TG_TABLE_SCHEMA);
        RETURN NULL;
    END $$"""
_TRIGGER = """
    CREATE TRIGGER {table}_renew_stamp AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION accounts_renew_stamp()"""


def upgrade() -> None:
    """Make tables and triggers."""
    if op.get_context().dialect.name != "postgresql":
        return
    op.create_table(
        "accounts_stamp",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_accounts_stamp_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts_stamp")),
    )
    op.execute("INSERT INTO accounts_stamp VALUES (1, gen_random_uuid()::text)")
    op.execute(_RENEW)
    for table in ("accounts", "credentials", "verifiers"):
        op.execute(_TRIGGER.format(table=table))
    op.create_table(
        "credential_uses",
        sa.Column("credential_id", sa.Text(), nullable=False),
        sa.Column("time", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["credential_id"],
            ["credentials.id"],
            name=op.f("fk_credential_uses_credential_id_credentials"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_credential_uses")),
    )
