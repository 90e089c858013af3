"""The history's rows.

`history` has one row per function and minute, and one per minute of all functions together under the name "".
`history_journal` holds what was counted since these rows were brought up to date: each entry is a list of
(function, minute, numbers). Numbers are `minutes.Minute`; both are MessagePack.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, String, Table

METADATA = MetaData()

history = Table(
    "history",
    METADATA,
    Column("function", String(64), primary_key=True),
    Column("minute", Integer, primary_key=True, autoincrement=False),  # Unix minutes
    Column("numbers", LargeBinary, nullable=False),
)
Index("history_by_minute", history.c.minute)
journal = Table(
    "history_journal",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("minutes", LargeBinary, nullable=False),
)
