"""The tables. On PostgreSQL they are in the schema `genserve`, on SQLite in the file's only one."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from jobs.clock import Moment

SCHEMA = "genserve"
VERSION = 2  # of the tables; raise it with every change, and say in `schema.MIGRATIONS` how to get there

_JSON = JSON(none_as_null=True)  # and not JSONB, which sorts a recipe's keys

metadata = MetaData(schema=SCHEMA)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, nullable=False),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("family", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("promotion", Text, nullable=False),
    Column("device", Text),
    Column("recipe", _JSON, nullable=False),
    Column("idempotency_key", Text, unique=True),
    Column("order_hash", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("updated_at", Moment, nullable=False),
    Column("holder", Text),  # instance that started the present attempt last; it may be gone
    Column("progress", _JSON),
    Column("progress_event_at", Moment),
    Column("result", _JSON),
    Column("failure", _JSON),
    Column("cancel_requested", Boolean, nullable=False),
    Column("publishing", Boolean, nullable=False, server_default=false()),  # its bundle may be in the store already
    Column("starts", Integer, nullable=False, server_default="0"),  # of the attempt, without getting beyond `reached`
    Column("reached", Integer, nullable=False, server_default="0"),  # step at the last start
    Column("last_event", BigInteger, nullable=False),
    Index("jobs_by_state", "state", "id"),
    Index("jobs_by_holder", "holder"),
)

events = Table(
    "events",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("kind", Text, nullable=False),
    Column("data", _JSON, nullable=False),
    Column("mark", Text, nullable=False),  # of the call that wrote it: a call that is repeated writes once
    UniqueConstraint("job", "mark"),
    Index("events_by_kind", "job", "kind", "id"),
)

pictures = Table(
    "pictures",
    metadata,
    Column("job", Text, ForeignKey(jobs.c.id), primary_key=True),
    Column("event", BigInteger, primary_key=True, autoincrement=False),
    Column("png", LargeBinary, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("instance", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("beat_at", Moment, nullable=False),
    Column("job", Text),
    Column("gone_at", Moment),  # left, or was declared dead
)
