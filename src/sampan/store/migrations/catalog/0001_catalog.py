"""The catalog: functions, their revisions and versions, and what hangs on them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "functions",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("current", sa.Integer),
        sa.Column("pending", sa.Integer),
        sa.Column("next_revision", sa.Integer, nullable=False),
        sa.Column("next_version", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("state_code", sa.String(64), nullable=False),
        sa.Column("state_reason", sa.Text, nullable=False),
        sa.Column("update_status", sa.String(16), nullable=False),
        sa.Column("update_code", sa.String(64), nullable=False),
        sa.Column("update_reason", sa.Text, nullable=False),
        sa.Column("disabled", sa.Text),
        sa.Column("disabled_at", sa.BigInteger),
    )

    def function() -> sa.Column[str]:
        parent = sa.ForeignKey("functions.name", ondelete="CASCADE")
        return sa.Column("function", sa.String(64), parent, primary_key=True)

    op.create_table(
        "revisions",
        function(),
        sa.Column("revision", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("configuration", sa.Text, nullable=False),
        sa.Column("image", sa.Text),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "versions",
        function(),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "aliases",
        function(),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("weights", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "triggers",
        function(),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("qualifier", sa.String(64), nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("modified", sa.BigInteger, nullable=False),
    )
    op.create_table("concurrency", function(), sa.Column("reserved", sa.Integer, nullable=False))
    for table in ("provision", "scaling"):
        op.create_table(
            table,
            function(),
            sa.Column("qualifier", sa.String(64), primary_key=True),
            sa.Column("config", sa.Text, nullable=False),
        )
    op.create_table(
        "tags",
        function(),
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(128), nullable=False),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("account", sa.String(32), nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "retired",
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("next_revision", sa.Integer, nullable=False),
    )
