"""A run is published once, whoever publishes it again, at the same time or after it was killed."""

import json
import signal
from pathlib import Path

import pytest

from bundle.manifest import parse_manifest
from bundle.store import MANIFEST, Store
from tests.bundle.factory import manifest, publish, write_files
from tests.bundle.processes import FORKSERVER, NAME, publish_and_die, publish_runs, running

PUBLISHERS = 4
RUNS = [f"run-{i}" for i in range(8)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def publish_at_once(store: Store, runs: list[list[str]]) -> list[dict[str, int]]:
    """A process for each list of runs; they publish their first at the same time, then their second, and so on."""
    together = FORKSERVER.Barrier(len(runs))
    pipes = [FORKSERVER.Pipe(duplex=False) for _ in runs]
    processes = [
        FORKSERVER.Process(target=publish_runs, args=(store.root, own, together, sender))
        for own, (_, sender) in zip(runs, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(runs)
    return [receiver.recv() for receiver, _ in pipes]


def test_processes_that_publish_one_run_at_once_get_one_version(store: Store) -> None:
    answers = publish_at_once(store, [RUNS] * PUBLISHERS)
    assert answers == [answers[0]] * PUBLISHERS
    assert store.versions(NAME) == list(range(1, len(RUNS) + 1))
    assert answers[0] == {run: version for version, run in enumerate(RUNS, start=1)}
    for found in store.listing().bundles:
        found.verify()


def test_processes_that_publish_different_runs_at_once_get_a_version_each(store: Store) -> None:
    answers = publish_at_once(store, [[f"{i} {run}" for run in RUNS] for i in range(PUBLISHERS)])
    versions = [version for answer in answers for version in answer.values()]
    assert sorted(versions) == list(range(1, PUBLISHERS * len(RUNS) + 1))
    assert store.versions(NAME) == sorted(versions)


def test_a_run_that_is_published_again_gives_the_bundle_that_is_there(store: Store) -> None:
    first = publish(store, content=b"first", run="a")
    publish(store, content=b"between")
    again = publish(store, content=b"again", run="a")
    assert (again.path, again.digest) == (first.path, first.digest)
    assert b"first" in (again.path / "weights.safetensors").read_bytes()
    assert store.versions(NAME) == [1, 2]
    assert list((store.root / NAME).glob(".*")) == []


def test_runs_without_a_name_are_all_published(store: Store) -> None:
    assert [publish(store).manifest.version for _ in range(3)] == [1, 2, 3]


def test_a_run_is_known_within_its_own_name(store: Store) -> None:
    publish(store, "tiny", run="a")
    assert publish(store, "other", run="a").manifest.name == "other"
    assert store.published("other", "a") is not None
    assert store.published("other", "b") is None
    assert store.published("nowhere", "a") is None
    assert store.published("../tiny", "a") is None


def test_a_version_that_cannot_be_read_does_not_keep_others_from_publication(store: Store) -> None:
    for _ in range(2):
        found = publish(store)
        (found.path / MANIFEST).write_text("damaged" if found.manifest.version == 1 else "")
    assert publish(store, run="a").manifest.version == 3
    assert publish(store, run="a").manifest.version == 3


def test_a_publisher_of_a_run_killed_before_any_step_is_published_once_by_the_next(tmp_path: Path) -> None:
    """The kill comes before the first access to the store, before the second, and so on until it comes too late."""
    published_before = []
    while True:
        store = Store(tmp_path / str(len(published_before)))
        with running(publish_and_die, store.root, len(published_before) + 1, "a") as process:
            process.join()
        published_before.append(len(store.versions(NAME)))
        assert publish(store, run="a").manifest.version == 1
        assert store.versions(NAME) == [1]
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert set(published_before[:-1]) == {0, 1}


def test_a_run_without_a_name_leaves_no_trace_in_the_manifest(tmp_path: Path) -> None:
    write_files(tmp_path)
    plain, named = manifest(tmp_path), manifest(tmp_path, run="0196-a")
    assert "run" not in json.loads(plain.to_json())["training"]
    assert json.loads(named.to_json())["training"]["run"] == "0196-a"
    assert parse_manifest(named.to_json(), tmp_path).training.run == "0196-a"


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "models").glob("*/*/manifest.json")), ids=lambda path: path.parts[-3]
)
def test_manifests_that_ship_keep_their_bytes(path: Path) -> None:
    raw = path.read_bytes()
    assert parse_manifest(raw, path).to_json() == raw
