"""What becomes of a bundle that a job has published."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle.errors import ReadOnlyStoreError
from bundle.manifest import Metric
from bundle.promotion import IN_USE
from bundle.store import Store
from jobs.database import Database, open_database
from jobs.ledger import Ledger
from jobs.model import Job, NewJob
from tests.bundle.factory import manifest, write_files
from tests.training.samples import recipe
from training.recipe import resolved
from training.worker import delivery
from training.worker.delivery import deliver
from training.worker.protocol import Published

HEADLINE = "frechet_distance"  # of a VAE


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(f"sqlite:///{tmp_path}/jobs.sqlite")
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def job(database: Database, promotion: str = "auto") -> Job:
    order = NewJob.model_validate({"recipe": resolved(recipe("vae", {"latent_dim": 2})), "promotion": promotion})
    return Ledger(database).submit(order)[0]


def published(
    store: Store, value: float, metric: str = HEADLINE, labels: tuple[str, ...] | None = ("cat", "dog")
) -> Published:
    """The next version, with this figure, from data with these labels."""
    figure = Metric(name=metric, value=value, unit="", protocol="10 samples", split="test")
    named = None if labels is None else [*labels]
    with store.stage("tiny") as staging:
        write_files(staging.path)
        made = staging.publish(manifest(staging.path).model_copy(update={"metrics": [figure], "labels": named}))
    return Published(name="tiny", version=made.manifest.version, digest=made.digest, metrics={metric: value})


def in_use(store: Store) -> int | None:
    return store.aliases("tiny").get(IN_USE)


def test_better_version_comes_into_use_and_a_worse_one_does_not(database: Database, store: Store) -> None:
    results = [deliver(store, database, job(database), published(store, value)) for value in (3.0, 2.0, 2.5)]
    assert [result.promoted for result in results] == [True, True, False]
    assert in_use(store) == 2
    assert [result.version for result in results] == [1, 2, 3]
    assert HEADLINE in results[2].reason


def test_versions_without_labels_are_compared_by_what_they_reconstruct(database: Database, store: Store) -> None:
    values = (20.0, 21.0, 20.5)
    results = [deliver(store, database, job(database), published(store, value, "psnr", None)) for value in values]
    assert [result.promoted for result in results] == [True, True, False]
    assert "psnr" in results[2].reason


def test_delivery_that_is_repeated_changes_nothing(database: Database, store: Store) -> None:
    order, bundle = job(database), published(store, 1.0)
    assert deliver(store, database, order, bundle) == deliver(store, database, order, bundle)
    assert in_use(store) == 1


def test_manual_promotion_is_left_to_people(database: Database, store: Store) -> None:
    result = deliver(store, database, job(database, "manual"), published(store, 1.0))
    assert (result.promoted, in_use(store)) == (False, None)
    assert "manual" in result.reason


def test_promotion_that_fails_says_why_and_the_bundle_stays(
    database: Database, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ReadOnlyStoreError("the store is mounted read-only")

    monkeypatch.setattr(delivery, "promote", refuse)
    result = deliver(store, database, job(database), published(store, 1.0))
    assert (result.promoted, result.version, store.versions("tiny")) == (False, 1, [1])
    assert "mounted read-only" in result.reason
