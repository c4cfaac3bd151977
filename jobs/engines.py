"""SQLAlchemy engines, set up so that nothing waits for ever and nothing that was committed is lost."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event

from jobs.tables import SCHEMA

WRITES = "genserve_writes"  # execution option: the transaction is going to write

BUSY_S = 10.0  # how long SQLite waits for another writer
_POOL_WAIT_S = 10.0
_PRAGMAS = (
    f"PRAGMA busy_timeout = {int(BUSY_S * 1000)}",
    "PRAGMA journal_mode = WAL",  # readers and the writer do not wait for each other
    "PRAGMA synchronous = FULL",  # a commit outlives a power cut
    "PRAGMA foreign_keys = ON",
)


def sqlite_engine(url: URL) -> Engine:
    """An engine on a file that several processes read and write."""
    engine = create_engine(url, hide_parameters=True, pool_timeout=_POOL_WAIT_S, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin transactions itself, and late
        for pragma in _PRAGMAS:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later cannot wait for another writer: SQLite refuses it at once.
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine.execution_options(schema_translate_map={SCHEMA: None})


def postgresql_engine(url: URL) -> Engine:
    """An engine on a server that may go away and come back."""
    return create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,  # connections from before a restart are replaced, not met as errors
        pool_timeout=_POOL_WAIT_S,
        connect_args={key: value for key, value in _CONNECT_ARGS.items() if key not in url.query},
    )


# A server that vanished without a word (a pulled cable) is noticed in seconds rather than in the system's hours.
_CONNECT_ARGS: dict[str, Any] = {
    "application_name": "genserve",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "options": "-c lock_timeout=10s -c statement_timeout=30s -c idle_in_transaction_session_timeout=60s",
}
