"""The meter's rows. Times are Unix nanoseconds unless a name says otherwise; a minute is a number since 1970, UTC.

A version here is a version's key, revision included: what a row's version was configured for never changes, so that
vCPU·s and GB·s are products of sums and stay exact.
"""

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text

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
invocations = Table(
    "invocations",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("request", String(64), nullable=False),
    Column("function", String(64), nullable=False),
    Column("version", String(160), nullable=False),
    Column("instance", String(64), nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("status", Integer, nullable=False),
    Column("received", BigInteger, nullable=False),
    Column("leased", BigInteger, nullable=False),
    Column("ended", BigInteger, nullable=False),
    Column("cold", Boolean, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("bytes_out", BigInteger, nullable=False),
    Column("qualifier", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("first_byte", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("trace", String(32), nullable=False),
    Index("invocations_by_end", "ended"),
    Index("invocations_by_function", "function", "ended"),
    Index("invocations_by_request", "request"),
)
"""One row per attempt, as long as single ones are kept."""

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
