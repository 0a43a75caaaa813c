"""What an account and a credential may be besides: suspended, with a contact; limited further, rotated, a canary.

Columns are added only: SQLite makes a table anew for any other change, and dropping the old one would take along all
that refers to it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["branch_labels", "depends_on", "down_revision", "revision", "upgrade"]

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("accounts", sa.Column("suspended_until", sa.Float()))
    op.add_column("accounts", sa.Column("contact", sa.Text(), nullable=False, server_default=""))
    op.add_column("credentials", sa.Column("not_before", sa.Float()))
    op.add_column("credentials", sa.Column("recipients", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("credentials", sa.Column("messages_per_minute", sa.Integer()))
    op.add_column("credentials", sa.Column("is_canary", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("credentials", sa.Column("successor", sa.Text()))
    op.add_column("credentials", sa.Column("rotated", sa.Float()))
    op.add_column("credentials", sa.Column("retire_unused", sa.Float()))
    op.add_column("credentials", sa.Column("warned", sa.Float()))
