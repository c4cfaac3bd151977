"""Versions come and go under a running service: nobody notices but by the digest, and nothing piles up."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import psutil

from bundle.store import Bundle, Store
from tests.service.support import base64_of, file_of, picture, plain_environment, pngs_of, process, until
from tests.support.bundles import publish, spoil

NEW = 6  # versions published under load
ROUNDS = 50
QUIET = {"GENSERVE_LOG_LEVEL": "error"}  # nobody reads the log of a process while it runs: its pipe would fill up
UPLOAD = base64_of(file_of(picture(16, 16)))
# More than 32 MB in one tensor: glibc gives it back at once. What is smaller may stay for the next model to be loaded.
HEAVY: dict[str, Any] = {"graphs": ("decode",), "kind": "mlp", "size": 32, "latent_dim": 16, "hidden": 9_000}


@dataclass(frozen=True)
class Answer:
    begun: float
    ended: float
    version: int
    digest: str


@dataclass
class Clients:
    """Threads that ask the service again and again, each on a connection of its own."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self, ask: Callable[[httpx.Client], httpx.Response]) -> None:
        """One more, that asks this."""
        self._threads.append(threading.Thread(target=self._run, args=(ask,)))
        self._threads[-1].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait until every one has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def saw(self, version: int) -> bool:
        """Whether one was answered by this version."""
        return any(answer.version == version for answer in self.answers[-100:])

    def _run(self, ask: Callable[[httpx.Client], httpx.Response]) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    response = ask(http)
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    continue
                ended = time.monotonic()
                if response.status_code != 200:
                    self.failures.append(response.text)
                    continue
                model = response.json()["model"]
                self.answers.append(Answer(begun, ended, model["version"], model["digest"]))


def sample(ref: str, n: int) -> Callable[[httpx.Client], httpx.Response]:
    return lambda http: http.post("/sample", json={"model": ref, "n": n, "seed": 1})


def reconstruct(http: httpx.Client) -> httpx.Response:
    return http.post("/reconstruct", json={"model": "tiny", "images": [UPLOAD]})


def serves(url: str, ref: str, version: int) -> bool:
    return bool(httpx.get(f"{url}/models/{ref}", timeout=60).json().get("version") == version)


def went_backwards(answers: list[Answer]) -> list[tuple[Answer, Answer]]:
    """Pairs of which the later, begun when the earlier had ended, has an older version."""
    by_begin = sorted(answers, key=lambda answer: answer.begun)
    by_end = sorted(answers, key=lambda answer: answer.ended)
    found, newest, done = [], by_end[0], 0
    for later in by_begin:
        while by_end[done].ended < later.begun:
            newest = max(newest, by_end[done], key=lambda answer: answer.version)
            done += 1
        if done and later.version < newest.version:
            found.append((newest, later))
    return found


def test_versions_come_and_go_under_load_without_one_failed_request(tmp_path: Path) -> None:
    shape: dict[str, Any] = {"size": 16, "latent_dim": 8, "kind": "mlp", "hidden": 64}
    bundles = [publish(tmp_path, **shape, seed=0)]
    born = {1: time.monotonic()}
    Store(tmp_path).set_alias("tiny", "prod", 1)
    with process(tmp_path, **QUIET, GENSERVE_STORE_POLL_S="0.1", GENSERVE_KEEP_VERSIONS="2") as (running, url):
        weights = []
        with Clients(url) as by_name, Clients(url) as by_alias:
            for n in (1, 1, 100):
                by_name.start(sample("tiny", n))
            by_name.start(reconstruct)
            by_alias.start(sample("tiny@prod", 2))
            for version in range(2, 2 + NEW):
                until(lambda: by_name.saw(version - 1) and by_alias.saw(version - 1))  # noqa: B023
                born[version] = time.monotonic()
                bundles.append(publish(tmp_path, **shape, seed=version))
                Store(tmp_path).set_alias("tiny", "prod", version)
                shutil.rmtree(bundles[-2].path)  # at once: the new one is not loaded yet
                until(lambda: serves(url, "tiny@prod", version))  # noqa: B023
                weights.append((psutil.Process(running.pid).num_threads(), psutil.Process(running.pid).num_fds()))
            until(lambda: by_name.saw(1 + NEW) and by_alias.saw(1 + NEW))
        last = httpx.post(f"{url}/sample", json={"model": "tiny"}).json()["model"]
    assert by_name.failures + by_alias.failures == []
    assert last == {**last, "version": 1 + NEW, "digest": bundles[-1].digest}
    for answers in (by_name.answers, by_alias.answers):
        assert {answer.version for answer in answers} == {*range(1, 2 + NEW)}
        assert all(answer.digest == bundles[answer.version - 1].digest for answer in answers)
        assert all(born[answer.version] < answer.ended for answer in answers)
        assert went_backwards(answers) == []
    threads, files = zip(*weights, strict=True)
    assert max(threads[1:]) <= threads[0] + 1  # the pool that compresses images may not have been full
    assert max(files[1:]) <= files[0] + 1  # the connection of `serves`


def publish_damaged(store: Path) -> None:
    """A version 2 whose damage is there from the first moment on."""
    folder = publish(store / "elsewhere", seed=2).path
    spoil(folder / "decode.onnx")
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))
    folder.rename(store / "tiny" / "2")


def test_damaged_version_published_under_load_changes_nothing(tmp_path: Path) -> None:
    first = publish(tmp_path)
    with process(tmp_path, **QUIET, GENSERVE_STORE_POLL_S="0.05") as (_, url), Clients(url) as clients:
        clients.start(sample("tiny", 2))
        publish_damaged(tmp_path)
        until(lambda: "tiny@2" in httpx.get(f"{url}/health/ready").json()["problems"])
        assert httpx.get(f"{url}/health/ready").status_code == 200
        assert "decode.onnx" in httpx.get(f"{url}/models/tiny@2").json()["detail"]
    assert clients.failures == []
    assert {answer.digest for answer in clients.answers} == {first.digest}


def test_memory_threads_and_files_stay_as_they_are_over_many_rounds_of_loading_and_unloading(tmp_path: Path) -> None:
    store = tmp_path / "store"
    bundles = [publish(store, **HEAVY, seed=seed) for seed in (1, 2)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.service.swap_rounds", str(store), str(ROUNDS)],
        cwd=Path(__file__).parents[2],
        env=plain_environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    weighed = json.loads(done.stdout.splitlines()[-1])
    settled = weighed[5:]  # the first rounds fill caches and pools
    for what in ("loaded", "unloaded"):
        bytes_per_round, _ = np.polyfit(range(len(settled)), [one[what] for one in settled], 1)
        assert bytes_per_round < 0.01 * weight(bundles[1])
    assert np.median([one["loaded"] - one["unloaded"] for one in settled]) > 0.7 * weight(bundles[1])
    for what in ("threads", "files"):
        assert max(one[what] for one in settled) <= settled[0][what]


def weight(bundle: Bundle) -> int:
    return sum((bundle.path / f"{graph}.onnx").stat().st_size for graph in bundle.manifest.graphs)


def test_images_of_a_seed_are_the_same_after_a_version_was_unloaded_and_loaded_again(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    publish(tmp_path, seed=2)
    with process(tmp_path, GENSERVE_STORE_POLL_S="0.05", GENSERVE_KEEP_VERSIONS="1") as (_, url):
        body = {"model": "tiny@1", "n": 5, "seed": 3}
        assert httpx.post(f"{url}/sample", json=body).json()["code"] == "version_not_loaded"
        drawn = []
        for _ in range(2):
            Store(tmp_path).set_alias("tiny", "old", 1)
            until(lambda: serves(url, "tiny@old", 1))
            drawn.append(pngs_of(httpx.post(f"{url}/sample", json=body)))
            (tmp_path / "tiny" / "aliases" / "old").unlink()
            until(lambda: not serves(url, "tiny@1", 1))
        assert drawn[0] == drawn[1]
