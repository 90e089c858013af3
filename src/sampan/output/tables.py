"""Rows of what functions print. Times are Unix nanoseconds.

A block holds the lines `seq` … `seq + lines - 1` of its function. Lines are counted from 1, for ever: a number is
not used again, so that it says where a reader was. An instance's row says up to where its streams are in blocks;
it changes in the transaction that adds them.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table, Text

METADATA = MetaData()

functions = Table(
    "output_functions",
    METADATA,
    Column("function", String(64), primary_key=True),
    Column("next", BigInteger, nullable=False),  # number of the next line
    Column("bytes", BigInteger, nullable=False),  # ever kept
    Column("lost", BigInteger, nullable=False),  # bytes that were gone before they could be read
)
instances = Table(
    "output_instances",
    METADATA,
    Column("instance", String(64), primary_key=True),
    Column("version", String(128), nullable=False),
    Column("stdout", BigInteger, nullable=False),  # position
    Column("stderr", BigInteger, nullable=False),
    Column("open", Text, nullable=False),  # requests under way at the position of stdout, blanks between
    Column("done", Integer, nullable=False),  # 1: it has ended and all of it is read
    Column("changed", BigInteger, nullable=False),
)
blocks = Table(
    "output_blocks",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("function", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Column("level", Integer, nullable=False),  # the gravest
    Column("raw", Integer, nullable=False),  # bytes of text
    Column("size", Integer, nullable=False),  # bytes of all that is kept of the block
    Column("sources", Text, nullable=False),  # instances and versions between blanks
    Column("requests", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),  # last: what is before it is read without it
)
Index("output_blocks_by_seq", blocks.c.function, blocks.c.seq, unique=True)
Index("output_blocks_by_last", blocks.c.last)
Index("output_instances_by_changed", instances.c.done, instances.c.changed)
