"""The meter's rows. Times are Unix nanoseconds unless a name says otherwise; a minute is a number since 1970, UTC.

A version here is a version's key, revision included: what a row's version was configured for never changes, so that
vCPU·s and GB·s are products of sums and stay exact.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

lives = Table(
    "usage_lives",
    METADATA,
    Column("life", String(64), primary_key=True),
    Column("kept", BigInteger, nullable=False),
    Column("missing", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)
"""Gateway processes: number of the last record that is in, how many never came, and when it was heard of last."""
versions = Table(
    "usage_versions",
    METADATA,
    Column("version", String(160), primary_key=True),
    Column("memory_mb", Integer, nullable=False),
    Column("millicpu", Integer, nullable=False),
    Column("disk_mb", Integer, nullable=False),
    Column("concurrency", Integer, nullable=False),
    Column("timeout_ms", BigInteger, nullable=False),
)
blocks = Table(
    "invocation_blocks",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("function", String(64), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("records", Integer, nullable=False),
    Column("outcomes", Integer, nullable=False),
    Column("instances", Text, nullable=False),
    Column("requests", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Index("invocation_blocks_by_end", "last", "records"),
    Index("invocation_blocks_by_function", "function", "last", "records"),
)
"""Attempts one by one, many to a row (`meter/blocks.py`), as long as single ones are kept."""

SUMS = (
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
)
"""Columns of `usage` that add up. `covered_ns`: the part of the provisioned time in which requests were served."""

usage = Table(
    "usage",
    METADATA,
    Column("version", String(160), primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in (*SUMS, "memory_peak")),
    Index("usage_by_minute", "minute"),
)
"""What each version used in each minute, for ever. `memory_peak`: bytes, the highest that was measured."""
stretches = Table(
    "usage_stretches",
    METADATA,
    Column("instance", String(64), primary_key=True),
    Column("end", BigInteger, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, nullable=False),
    Index("usage_stretches_by_end", "end"),
)
"""When an instance had requests: disjoint, none touching the next. What comes late is joined to these."""
instances = Table(
    "usage_instances",
    METADATA,
    Column("instance", String(64), primary_key=True),
    Column("version", String(160), nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("booked", BigInteger, nullable=False),
    Column("frozen", Boolean, nullable=False),
    Column("provisioned", Boolean, nullable=False),
    Column("cpu_ns", BigInteger, nullable=False),
)
"""Those that live. `booked`: their time up to then is in `usage`; `cpu_ns`: of that the measured CPU time."""
provisioned = Table(
    "usage_provisioned",
    METADATA,
    Column("instance", String(64), primary_key=True),
    Column("end", BigInteger, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, nullable=False),
    Index("usage_provisioned_by_end", "end"),
)
"""When an instance was one of those kept whether or not anybody asks: disjoint, none touching the next."""
