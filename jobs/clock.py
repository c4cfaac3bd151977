"""The database's clock: the only one that times are taken from and compared by.

Hosts' clocks differ; the workers and the service share one database.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Dialect, Double
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

_SQLITE_NOW = "(julianday('now') - 2440587.5) * 86400.0"  # the Julian day of 1970-01-01; 40 µs fine


class Moment(TypeDecorator[float]):
    """A time: `timestamptz` on PostgreSQL, seconds since 1970 on SQLite, and as float seconds in Python."""

    impl = Double
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column's type in the database."""
        return dialect.type_descriptor(TIMESTAMP(timezone=True) if dialect.name == "postgresql" else Double())

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float | None:  # noqa: ARG002 (SQLAlchemy's)
        """Seconds since 1970, UTC."""
        return value.timestamp() if isinstance(value, datetime) else value


class now(FunctionElement[float]):  # noqa: N801 (reads as the SQL function that it is)
    """The present time in the database, moving on within a transaction."""

    type = Moment()
    inherit_cache = True


class age(FunctionElement[float]):  # noqa: N801
    """Seconds since a moment."""

    type = Double()
    inherit_cache = True


class silence(FunctionElement[float]):  # noqa: N801
    """Seconds since a beat in which the database could have been told of another.

    What it was itself down does not count: after a restart everybody's last beat is old, and nobody is dead for it.
    """

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return f"({_SQLITE_NOW})"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ARG001
    return "clock_timestamp()"


@compiles(age, "sqlite")
@compiles(silence, "sqlite")
def _age_sqlite(element: FunctionElement[float], compiler: SQLCompiler, **options: Any) -> str:
    return f"({_SQLITE_NOW} - {compiler.process(element.clauses, **options)})"


@compiles(age, "postgresql")
def _age_postgresql(element: age, compiler: SQLCompiler, **options: Any) -> str:
    return f"extract(epoch from clock_timestamp() - {compiler.process(element.clauses, **options)})::float8"


@compiles(silence, "postgresql")
def _silence_postgresql(element: silence, compiler: SQLCompiler, **options: Any) -> str:
    beat = compiler.process(element.clauses, **options)
    return f"extract(epoch from clock_timestamp() - greatest({beat}, pg_postmaster_start_time()))::float8"
