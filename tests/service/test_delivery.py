"""What is published, promoted and rolled back while the service runs: at once where it is told, without a failure."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.store import Store
from jobs.database import open_database
from jobs.notify import announce_published
from tests.service.support import Client, process, serving, until
from tests.service.test_hot_swap import QUIET, Clients, sample
from tests.support.bundles import publish
from tests.support.postgres import PostgresServer


def settings(url: str) -> dict[str, Any]:
    """Nobody looks at the store unless somebody says that there is something."""
    return {"database": url, "default_model": "tiny", "lanes": 1, "store_poll_s": 0}


def drawn_by(client: Client, ref: str) -> int:
    answer = client.post("/sample", {"model": ref})
    return int(answer.json()["model"]["version"]) if answer.status_code == 200 else 0


def test_published_version_is_served_when_the_database_tells_of_it(tmp_path: Path, postgres_url: str) -> None:
    publish(tmp_path, seed=1)
    database = open_database(postgres_url)
    with serving(tmp_path, **settings(postgres_url)) as client:
        for version in (2, 3):
            publish(tmp_path, seed=version)
            announce_published(database, "tiny", version)
            until(lambda: drawn_by(client, "tiny") == version)  # noqa: B023
    database.close()


def test_alias_that_one_service_changes_is_served_by_another_on_the_same_store(
    tmp_path: Path, postgres_url: str
) -> None:
    for seed in (1, 2):
        publish(tmp_path, seed=seed)
    with serving(tmp_path, **settings(postgres_url)) as one, serving(tmp_path, **settings(postgres_url)) as other:
        for version in (1, 2):
            assert one.post("/models/tiny/aliases/production", {"version": version}).status_code == 200
            until(lambda: drawn_by(other, "tiny@production") == version)  # noqa: B023
        assert other.post("/models/tiny/aliases/production/rollback").json()["version"] == 1
        until(lambda: drawn_by(one, "tiny@production") == 1)


def test_service_hears_what_was_published_while_the_database_was_away(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    publish(tmp_path, seed=1)
    own_postgres.stop()
    with serving(tmp_path, **settings(own_postgres.url())) as client:
        assert client.get("/health/ready").status_code == 200
        publish(tmp_path, seed=2)
        assert client.post("/models/tiny/aliases/production", {"version": 1}).json()["everywhere"]
        assert drawn_by(client, "tiny@production") == 1
        publish(tmp_path, seed=3)
        own_postgres.start()
        until(lambda: drawn_by(client, "tiny") == 3)


def test_service_whose_password_file_is_missing_serves_all_the_same(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    url = "postgresql://nobody@127.0.0.1:1/none"
    with serving(tmp_path, **settings(url), database_password_file=tmp_path / "none") as client:
        assert drawn_by(client, "tiny") == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_promotions_and_rollbacks_under_load_fail_no_request(tmp_path: Path, workers: str) -> None:
    shape: dict[str, Any] = {"size": 16, "latent_dim": 8, "kind": "mlp", "hidden": 64}
    bundles = [publish(tmp_path, **shape, seed=seed) for seed in (1, 2, 3)]
    store = Store(tmp_path)
    store.set_alias("tiny", "production", 1)
    environment = QUIET | {"GENSERVE_WORKERS": workers, "GENSERVE_KEEP_VERSIONS": "1", "GENSERVE_STORE_POLL_S": "0.1"}
    with process(tmp_path, **environment) as (_, url), Clients(url) as clients:
        for n in (1, 1, 50):
            clients.start(sample("tiny@production", n))
        with httpx.Client(base_url=url, timeout=60) as operator:
            for path, version in [("", 2), ("", 3), ("/rollback", 2), ("/rollback", 1), ("", 3), ("/rollback", 1)]:
                answer = operator.post(
                    f"/models/tiny/aliases/production{path}", json={} if path else {"version": version}
                )
                assert (answer.status_code, answer.json()["version"]) == (200, version)
                assert answer.json()["everywhere"], answer.json()
                known = len(clients.answers)
                until(lambda: len(clients.answers) > known + 20)  # noqa: B023
                assert {one.version for one in clients.answers[known + 10 :]} == {version}
    assert clients.failures == []
    assert all(answer.digest == bundles[answer.version - 1].digest for answer in clients.answers)
