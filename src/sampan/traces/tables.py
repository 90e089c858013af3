"""The rows of traces. Times are Unix microseconds, lengths microseconds.

`traces.seq` counts in order of arrival, so what came first has the lowest and goes first. `low` and `high` are the
halves of the trace id as signed numbers; `high` is 0 while all spans came with 64-bit ids. `tokens` is what search
looks in (tokens.py), `services` msgpack of {service: [spans, errors]}. `trace_chunks.spans` are the spans of one
trace that came together (rows.py), `ids` 8 bytes for each, by which a span that comes twice is known.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, Table, Text

METADATA = MetaData()

traces = Table(
    "traces",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("low", BigInteger, nullable=False),
    Column("high", BigInteger, nullable=False),
    Column("arrived", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),  # bytes, with what belongs to it in the other tables
    Column("packed", BigInteger, nullable=False),  # bytes of its spans before compression
    Column("start", BigInteger, nullable=False),
    Column("duration", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False),  # earliest start of a span
    Column("last", BigInteger, nullable=False),  # latest end
    Column("rank", SmallInteger, nullable=False),  # of the span that stands for it (merging.rank)
    Column("root_start", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("function", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("spans", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("cold", SmallInteger, nullable=False),
    Column("services", LargeBinary, nullable=False),
    Column("tokens", LargeBinary, nullable=False),
    Index("traces_low", "low"),
    Index("traces_start", "start", "seq"),
)
trace_chunks = Table(
    "trace_chunks",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("trace", Integer, nullable=False),
    Column("ids", LargeBinary, nullable=False),
    Column("spans", LargeBinary, nullable=False),
    Index("trace_chunks_trace", "trace"),
)
trace_requests = Table(
    "trace_requests",
    METADATA,
    Column("request", BigInteger, primary_key=True, autoincrement=False),  # of its text (tokens.number)
    Column("trace", Integer, primary_key=True, autoincrement=False),
    Index("trace_requests_trace", "trace"),
    sqlite_with_rowid=False,
)
trace_operations = Table(
    "trace_operations",
    METADATA,
    Column("service", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("kind", SmallInteger, primary_key=True, autoincrement=False),
    Column("seen", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Services and what they do, for lists to choose from. `seen` is renewed once an hour."""
