"""The catalog's rows. Times are Unix microseconds; nested things are JSON of msgspec structs.

`functions.current` is the revision that serves LATEST, `functions.pending` the one being prepared. A revision is
kept while it is current, pending or published. `functions.disabled` is the reason given, NULL while enabled.
"""

from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, String, Table, Text

METADATA = MetaData()


def _function() -> "Column[str]":
    return Column("function", String(64), ForeignKey("functions.name", ondelete="CASCADE"), primary_key=True)


functions = Table(
    "functions",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("id", String(36), nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
    Column("description", Text, nullable=False),
    Column("current", Integer),
    Column("pending", Integer),
    Column("next_revision", Integer, nullable=False),
    Column("next_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("state_code", String(64), nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("update_status", String(16), nullable=False),
    Column("update_code", String(64), nullable=False),
    Column("update_reason", Text, nullable=False),
    Column("disabled", Text),
    Column("disabled_at", BigInteger),
)
revisions = Table(
    "revisions",
    METADATA,
    _function(),
    Column("revision", Integer, primary_key=True, autoincrement=False),
    Column("configuration", Text, nullable=False),
    Column("image", Text),
    Column("created", BigInteger, nullable=False),
)
versions = Table(
    "versions",
    METADATA,
    _function(),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("description", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
)
aliases = Table(
    "aliases",
    METADATA,
    _function(),
    Column("name", String(64), primary_key=True),
    Column("version", String(16), nullable=False),
    Column("weights", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
)
triggers = Table(
    "triggers",
    METADATA,
    _function(),
    Column("name", String(128), primary_key=True),
    Column("id", String(36), nullable=False),
    Column("type", String(32), nullable=False),
    Column("qualifier", String(64), nullable=False),
    Column("config", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
)
concurrency = Table("concurrency", METADATA, _function(), Column("reserved", Integer, nullable=False))
provision = Table(
    "provision",
    METADATA,
    _function(),
    Column("qualifier", String(64), primary_key=True),
    Column("config", Text, nullable=False),
)
scaling = Table(
    "scaling",
    METADATA,
    _function(),
    Column("qualifier", String(64), primary_key=True),
    Column("config", Text, nullable=False),
)
tags = Table(
    "tags",
    METADATA,
    _function(),
    Column("key", String(64), primary_key=True),
    Column("value", String(128), nullable=False),
)
domains = Table(
    "domains",
    METADATA,
    Column("name", String(255), primary_key=True),
    Column("config", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("modified", BigInteger, nullable=False),
)
"""Custom domains. `config` holds the private key of the certificate, as `revisions.configuration` may hold a
registry's password."""
access_keys = Table(
    "access_keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("secret", Text, nullable=False),
    Column("account", String(32), nullable=False),
    Column("created", BigInteger, nullable=False),
)
retired = Table(
    "retired",
    METADATA,
    Column("name", String(64), primary_key=True),
    Column("next_revision", Integer, nullable=False),
)
"""Where a deleted function's revisions ended: one made anew under its name goes on from there, so that no version
key ever means two things and no sandbox left over from the old one can be taken for the new one's."""
