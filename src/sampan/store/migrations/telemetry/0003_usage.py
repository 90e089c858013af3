"""Invocations and what they used."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "usage_lives",
        sa.Column("life", sa.String(64), primary_key=True),
        sa.Column("kept", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.BigInteger, nullable=False),
        sa.Column("seen", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_versions",
        sa.Column("version", sa.String(160), primary_key=True),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("millicpu", sa.Integer, nullable=False),
        sa.Column("disk_mb", sa.Integer, nullable=False),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("timeout_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "invocations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("instance", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("received", sa.BigInteger, nullable=False),
        sa.Column("leased", sa.BigInteger, nullable=False),
        sa.Column("ended", sa.BigInteger, nullable=False),
        sa.Column("cold", sa.Boolean, nullable=False),
        sa.Column("bytes_in", sa.BigInteger, nullable=False),
        sa.Column("bytes_out", sa.BigInteger, nullable=False),
        sa.Column("qualifier", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("first_byte", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("trace", sa.String(32), nullable=False),
    )
    op.create_index("invocations_by_end", "invocations", ["ended"])
    op.create_index("invocations_by_function", "invocations", ["function", "ended"])
    op.create_index("invocations_by_request", "invocations", ["request"])
    op.create_table(
        "usage",
        sa.Column("version", sa.String(160), primary_key=True),
        sa.Column("minute", sa.Integer, primary_key=True, autoincrement=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in (
                "calls",
                "billed",
                "function_error",
                "timed_out",
                "start_failed",
                "throttled",
                "refused",
                "client_gone",
                "platform_error",
                "cold",
                "active_ms",
                "bytes_in",
                "bytes_out",
                "ready_ns",
                "frozen_ns",
                "provisioned_ns",
                "covered_ns",
                "cpu_ns",
                "memory_peak",
            )
        ),
    )
    op.create_index("usage_by_minute", "usage", ["minute"])
    op.create_table(
        "usage_stretches",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("end", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("begin", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_stretches_by_end", "usage_stretches", ["end"])
    op.create_table(
        "usage_instances",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("booked", sa.BigInteger, nullable=False),
        sa.Column("frozen", sa.Boolean, nullable=False),
        sa.Column("provisioned", sa.Boolean, nullable=False),
        sa.Column("cpu_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "usage_provisioned",
        sa.Column("instance", sa.String(64), primary_key=True),
        sa.Column("end", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("begin", sa.BigInteger, nullable=False),
    )
    op.create_index("usage_provisioned_by_end", "usage_provisioned", ["end"])
