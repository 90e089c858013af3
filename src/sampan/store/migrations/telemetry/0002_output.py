"""What functions printed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "output_functions",
        sa.Column("function", sa.String(64), primary_key=True),
        sa.Column("next", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("lost", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "output_instances",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(128), nullable=False),
        sa.Column("stdout", sa.BigInteger, nullable=False),
        sa.Column("stderr", sa.BigInteger, nullable=False),
        sa.Column("open", sa.Text, nullable=False),
        sa.Column("done", sa.Integer, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
    )
    op.create_index("output_instances_by_changed", "output_instances", ["done", "changed"])
    op.create_table(
        "output_blocks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("lines", sa.Integer, nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("level", sa.Integer, nullable=False),
        sa.Column("raw", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("sources", sa.Text, nullable=False),
        sa.Column("requests", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("output_blocks_by_seq", "output_blocks", ["function", "seq"], unique=True)
    op.create_index("output_blocks_by_last", "output_blocks", ["last"])
