"""The tables made where they are missing, and brought up to this program's version."""

from collections.abc import Callable

from sqlalchemy import Connection, func, insert, inspect, select, text, update
from sqlalchemy.schema import CreateSchema

from jobs.errors import SchemaError
from jobs.tables import SCHEMA, VERSION, metadata, schema_version


def _permission_and_starts(connection: Connection) -> None:
    table = f"{SCHEMA}.jobs" if connection.dialect.name == "postgresql" else "jobs"
    for column in (
        "publishing BOOLEAN NOT NULL DEFAULT false",
        "starts INTEGER NOT NULL DEFAULT 0",
        "reached INTEGER NOT NULL DEFAULT 0",
    ):
        connection.execute(text(f"ALTER TABLE {table} ADD COLUMN {column}"))


# MIGRATIONS[n] takes tables of version n to n + 1, in the transaction of `prepare`.
MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _permission_and_starts}

_LOCK = 0x67656E7365727665  # "genserve"; any number that nobody else locks in this database


def prepare(connection: Connection, shown: str) -> None:
    """Make the tables or migrate them; whoever else tries at the same time waits, then finds them there.

    Args:
        connection: In a writing transaction.
        shown: The database's name for messages.

    Raises:
        SchemaError: If the tables are newer than this program, or their version is not to be read.
    """
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    found = _version(connection, shown)
    if found is None:
        # A role that may not make schemas can still use one that was made for it.
        if postgresql and SCHEMA not in inspect(connection).get_schema_names():
            connection.execute(CreateSchema(SCHEMA))
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(version=VERSION))
        return
    if found > VERSION:
        raise SchemaError(
            f"{shown} has tables of version {found}, this program knows up to {VERSION}; "
            "update this program, or point GENSERVE_DATABASE at another database"
        )
    for version in range(found, VERSION):
        MIGRATIONS[version](connection)
        connection.execute(update(schema_version).values(version=version + 1))


def _version(connection: Connection, shown: str) -> int | None:
    schema = SCHEMA if connection.dialect.name == "postgresql" else None
    if not inspect(connection).has_table(schema_version.name, schema=schema):
        return None
    rows = connection.execute(select(schema_version.c.version)).scalars().all()
    if len(rows) != 1:
        raise SchemaError(
            f"{shown} has {len(rows)} rows in {schema_version.name}, expected one; "
            "restore it from a backup, or point GENSERVE_DATABASE at another database"
        )
    return int(rows[0])
