"""docs/ledger.md agrees with the tables."""

import re
from pathlib import Path

from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.tables import SCHEMA, metadata
from tests.jobs.samples import started
from tests.support.postgres import PostgresServer

PAGE = (Path(__file__).parents[2] / "docs/ledger.md").read_text()


def test_every_table_has_its_row_in_the_page() -> None:
    section = PAGE.partition("## Tables")[2].partition("```")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == {
        name.removeprefix(f"{SCHEMA}.") for name in metadata.tables
    }


def test_every_statement_of_the_page_finds_what_it_looks_for(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    database = open_database(postgres_url)
    job = started(Ledger(database))
    statements = re.findall(r"^SELECT .*;$", PAGE, re.MULTILINE)
    assert len(statements) == 3
    for statement in statements:
        assert postgres_server.run(statement.replace("…", job.id), postgres_url.rpartition("/")[2])
    database.close()
