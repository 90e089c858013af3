"""Single invocations many to a row, as `sampan.meter.blocks` packs them."""

import zlib
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
import zstandard
from alembic import op

revision = "0005"
down_revision = "0004"

MOST = 5_000  # records of a block
OUTCOMES = (
    "ok",
    "function_error",
    "timed_out",
    "start_failed",
    "throttled",
    "refused",
    "client_gone",
    "platform_error",
)
COLUMNS = (
    "request, version, instance, outcome, status, received, leased, ended, cold, bytes_in, bytes_out, qualifier, "
    "method, path, client, first_byte, error, trace"
)


def upgrade() -> None:
    op.create_table(
        "invocation_blocks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("function", sa.String(64), nullable=False),
        sa.Column("first", sa.BigInteger, nullable=False),
        sa.Column("last", sa.BigInteger, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
        sa.Column("outcomes", sa.Integer, nullable=False),
        sa.Column("instances", sa.Text, nullable=False),
        sa.Column("requests", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    op.create_index("invocation_blocks_by_end", "invocation_blocks", ["last", "records"])
    op.create_index("invocation_blocks_by_function", "invocation_blocks", ["function", "last", "records"])
    connection = op.get_bind()
    for function in connection.execute(sa.text("SELECT DISTINCT function FROM invocations")).scalars().all():
        asked = sa.text(f"SELECT {COLUMNS} FROM invocations WHERE function = :function ORDER BY ended")
        for rows in connection.execute(asked, {"function": function}).partitions(MOST):
            connection.execute(
                sa.text(
                    "INSERT INTO invocation_blocks"
                    " (function, first, last, records, outcomes, instances, requests, data)"
                    " VALUES (:function, :first, :last, :records, :outcomes, :instances, :requests, :data)"
                ),
                _block(function, rows),
            )
    op.drop_table("invocations")


def _block(function: str, rows: Sequence[Any]) -> dict[str, object]:
    records = [[*row[:8], bool(row.cold), *row[9:17], [row.trace, "", ""] if row.trace else None] for row in rows]
    return {
        "function": function,
        "first": rows[0].ended,
        "last": rows[-1].ended,
        "records": len(rows),
        "outcomes": sum(1 << OUTCOMES.index(outcome) for outcome in {row.outcome for row in rows}),
        "instances": "\n".join(["", *{row.instance for row in rows}, ""]),
        "requests": array("I", [zlib.crc32(row.request.encode()) for row in rows]).tobytes(),
        "data": b"\x01" + zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(records)),
    }
