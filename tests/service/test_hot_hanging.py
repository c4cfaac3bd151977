"""Loads that do not end: a catalog gives them up and goes on, and a service starts and ends all the same."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from bundle.store import MANIFEST, Bundle
from service import catalog as catalog_module
from service import inventory, watching
from service.engine.runtimes.onnx import OnnxRuntime
from service.errors import ModelRefusedError
from service.watching import Look
from tests.service.engine.fakes import PATIENCE_S, run, until
from tests.service.following import Gate, opened, versions
from tests.service.support import process
from tests.service.support import until as until_now
from tests.support.bundles import publish


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


class Loading:
    """Threads that load, of catalogs that are opened from now on: other tests may have left some behind."""

    def __init__(self) -> None:
        self._before = {*threading.enumerate()}

    def threads(self) -> int:
        """Those that live."""
        return sum(thread.name == "loading" for thread in {*threading.enumerate()} - self._before)


def make_it_hang(bundle: Bundle) -> Path:
    """Reading its manifest waits for a writer, as for a server of files that does not answer; returns the manifest."""
    file = bundle.path / MANIFEST
    file.rename(file.with_suffix(".kept"))
    os.mkfifo(file)
    return file


def let_go(file: Path) -> None:
    """The server answers again: whoever waits reads nothing, and the file is as it was."""
    with file.open("wb"):
        pass
    file.with_suffix(".kept").replace(file)


def test_load_that_hangs_is_given_up_and_tried_again_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(inventory, "_LONGEST_PAUSE_S", 0.01)
    publish(tmp_path, seed=1)
    loading = Loading()

    async def main() -> None:
        async with opened(tmp_path, load_timeout_s=0.05) as catalog:
            file = make_it_hang(publish(tmp_path, seed=2))
            publish(tmp_path, name="other")
            await catalog.refresh()  # behind what hangs, others are loaded
            assert [model.ref for model in catalog.models()] == ["other@1", "tiny@1"]
            with pytest.raises(ModelRefusedError, match=r"still being loaded after 0\.05 s"):
                catalog.get("tiny@2")
            assert loading.threads() == 2
            for _ in range(3):
                await asyncio.sleep(0.02)
                await catalog.refresh()
            assert loading.threads() == 2
            let_go(file)
            await until(lambda: loading.threads() == 1)
            while catalog.problems():
                await catalog.refresh()
                await asyncio.sleep(0.01)
            assert versions(catalog) == [1, 1, 2]

    run(main())


def test_bundle_that_is_loaded_after_it_was_given_up_is_closed_and_loaded_again(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_FIRST_PAUSE_S", 0.01)
    publish(tmp_path)
    closed: list[str] = []
    close = OnnxRuntime.close
    monkeypatch.setattr(OnnxRuntime, "close", lambda runtime: (closed.append(runtime.provider), close(runtime))[1])

    async def main() -> None:
        gate.opened.clear()
        async with opened(tmp_path, load_timeout_s=0.05) as catalog:
            for _ in range(3):
                await catalog.refresh()
                await asyncio.sleep(0.02)
            assert catalog.models() == []
            assert closed == []
            gate.opened.set()
            await until(lambda: len(closed) == 2)  # encode and decode
            while not catalog.models():  # though nothing has changed
                await catalog.refresh()
                await asyncio.sleep(0.01)
            assert len(closed) == 2

    run(main())


def test_store_that_does_not_answer_is_said_so_and_all_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    held, loading = threading.Event(), Loading()
    look_at = watching.look_at

    def hang(*given: Any) -> Look:
        assert held.wait(PATIENCE_S)
        return look_at(*given)

    async def main() -> None:
        async with opened(tmp_path, load_timeout_s=0.2) as catalog:
            monkeypatch.setattr(catalog_module, "look_at", hang)
            for _ in range(2):
                with pytest.raises(OSError, match=r"did not answer within 0\.2 s"):
                    await catalog.refresh()
            assert versions(catalog) == [1]
            publish(tmp_path, seed=2)
            held.set()
            await until(lambda: loading.threads() == 1)
            await catalog.refresh()
            assert versions(catalog) == [1, 2]

    try:
        run(main())
    finally:
        held.set()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_service_starts_without_the_bundle_that_hangs_and_ends_with_0(tmp_path: Path, workers: str) -> None:
    publish(tmp_path)
    publish(tmp_path, name="other")
    make_it_hang(publish(tmp_path, seed=2))
    with process(tmp_path, GENSERVE_WORKERS=workers, GENSERVE_LOAD_TIMEOUT_S="1") as (running, url):
        ready = httpx.get(f"{url}/health/ready", timeout=60)
        assert ready.status_code == 200
        assert list(ready.json()["problems"]) == ["tiny@2"]
        assert httpx.post(f"{url}/sample", json={"model": "other", "n": 1}, timeout=60).status_code == 200
        running.terminate()
        assert running.wait(60) == 0


def test_service_that_still_loads_what_hangs_ends_with_0(tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    publish(store)
    publish(other)
    hanging = publish(other, seed=2)
    make_it_hang(hanging)
    with process(store, GENSERVE_STORE_POLL_S="0.02", GENSERVE_DRAIN_S="1") as (running, url):
        hanging.path.rename(store / "tiny" / "2")
        until_now(lambda: httpx.get(f"{url}/models/tiny@2", timeout=60).json().get("code") == "not_ready")
        running.terminate()
        assert running.wait(60) == 0
