"""A catalog follows its store: versions and aliases come and go while requests are answered."""

import asyncio
import gc
import shutil
from pathlib import Path

import numpy as np
import pytest

from bundle.store import Store
from service import leases
from service.catalog import Catalog
from service.engine.runtimes.onnx import OnnxRuntime
from service.errors import (
    InvalidRequestError,
    NotReadyError,
    UnknownModelError,
    VersionNotLoadedError,
)
from tests.service.engine.fakes import run, until
from tests.service.following import Gate, opened, remove, versions
from tests.support.bundles import publish, spoil

Z = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_published_version_serves_after_a_refresh_and_its_predecessor_by_its_number(tmp_path: Path) -> None:
    first = publish(tmp_path, seed=1)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            second = publish(tmp_path, seed=2)
            assert catalog.get("tiny").digest == first.digest
            await catalog.refresh()
            assert catalog.get("tiny").digest == second.digest
            assert catalog.get("tiny@1").digest == first.digest

    run(main())


def test_published_version_serves_without_being_asked_for_where_the_store_is_watched(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)

    async def main() -> None:
        async with opened(tmp_path, store_poll_s=0.05) as catalog:
            second = publish(tmp_path, seed=2)
            other = publish(tmp_path, "other")
            await until(lambda: len(catalog.models()) == 3)
            assert catalog.get("tiny").digest == second.digest
            assert catalog.get("other").digest == other.digest

    run(main())


def test_version_is_switched_to_only_when_it_can_serve(tmp_path: Path, gate: Gate) -> None:
    publish(tmp_path, seed=1)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            publish(tmp_path, seed=2)
            gate.opened.clear()
            refreshing = asyncio.create_task(catalog.refresh())
            await until(lambda: "tiny@2" in gate.attempts)
            assert catalog.get("tiny").version == 1
            assert len((await catalog.get("tiny").run("decode", {"z": Z}, ["pixels"]))["pixels"]) == 2
            with pytest.raises(NotReadyError, match="being loaded"):
                catalog.get("tiny@2")
            gate.opened.set()
            await refreshing
            assert catalog.get("tiny").version == 2

    run(main())


def test_alias_moves_together_with_the_version_that_it_is_set_to(tmp_path: Path, gate: Gate) -> None:
    publish(tmp_path, seed=1)
    Store(tmp_path).set_alias("tiny", "prod", 1)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            publish(tmp_path, seed=2)
            Store(tmp_path).set_alias("tiny", "prod", 2)
            gate.opened.clear()
            refreshing = asyncio.create_task(catalog.refresh())
            await until(lambda: "tiny@2" in gate.attempts)
            assert catalog.get("tiny@prod").version == 1
            gate.opened.set()
            await refreshing
            assert catalog.get("tiny@prod").version == 2
            assert [model.aliases for model in catalog.models()] == [[], ["prod"]]
            Store(tmp_path).set_alias("tiny", "prod", 1)
            await catalog.refresh()
            assert catalog.get("tiny@prod").version == 1
            assert [model.aliases for model in catalog.models()] == [["prod"], []]

    run(main())


def test_newest_versions_and_those_with_an_alias_stay_loaded_and_the_others_say_why_not(tmp_path: Path) -> None:
    for seed in range(4):
        publish(tmp_path, seed=seed)
    Store(tmp_path).set_alias("tiny", "old", 1)

    async def main() -> None:
        async with opened(tmp_path, keep_versions=2) as catalog:
            assert versions(catalog) == [1, 3, 4]
            with pytest.raises(VersionNotLoadedError, match=r"keep_versions = 2 .* Loaded: 1, 3, 4, old"):
                catalog.get("tiny@2")
            publish(tmp_path, seed=5)
            Store(tmp_path).set_alias("tiny", "old", 2)
            await catalog.refresh()
            assert versions(catalog) == [2, 4, 5]
            assert catalog.get("tiny@old").version == 2
            with pytest.raises(VersionNotLoadedError):
                catalog.get("tiny@1")

    run(main())


def test_refused_versions_do_not_count_among_those_that_stay(tmp_path: Path) -> None:
    for seed in range(3):
        publish(tmp_path, seed=seed)
    for version in (2, 3):
        spoil(tmp_path / "tiny" / str(version) / "decode.onnx")

    async def main() -> None:
        async with opened(tmp_path, keep_versions=1) as catalog:
            assert versions(catalog) == [1]

    run(main())


def test_removed_version_leaves_and_the_name_means_the_one_before(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    second = publish(tmp_path, seed=2)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            remove(second)
            await catalog.refresh()
            assert versions(catalog) == [1]
            assert catalog.get("tiny").version == 1
            shutil.rmtree(tmp_path / "tiny")
            await catalog.refresh()
            assert catalog.models() == []
            with pytest.raises(UnknownModelError):
                catalog.get("tiny")

    run(main())


def test_another_bundle_under_the_same_number_takes_the_place_of_the_first(tmp_path: Path) -> None:
    first = publish(tmp_path, seed=1)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            remove(first)
            second = publish(tmp_path, seed=2)
            assert (second.path, second.digest != first.digest) == (first.path, True)
            await catalog.refresh()
            assert [model.digest for model in catalog.models()] == [second.digest]

    run(main())


def test_request_that_holds_a_removed_version_runs_all_its_graphs_on_it_and_then_it_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path, seed=1)
    closed: list[str] = []
    close = OnnxRuntime.close

    def count(runtime: OnnxRuntime) -> None:
        closed.append(runtime.provider)
        close(runtime)

    monkeypatch.setattr(OnnxRuntime, "close", count)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            model = catalog.get("tiny")
            before = await model.run("decode", {"z": Z}, ["image"])
            remove(first)
            publish(tmp_path, "tiny", seed=2)
            await catalog.refresh()
            again = await model.run("decode", {"z": Z}, ["image"])
            assert again["image"].tobytes() == before["image"].tobytes()
            assert len(await model.run("encode", {"image": again["image"]}, ["mean"])) == 1
            assert closed == []
            del model
            await until(lambda: len(closed) == 2)

    run(main())


def test_version_that_only_the_traceback_of_a_failed_request_holds_is_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = publish(tmp_path, seed=1)
    monkeypatch.setattr(leases, "_PATIENCE_S", 0.0)

    async def fail(catalog: Catalog) -> None:
        model = catalog.get("tiny")
        try:
            await model.run("decode", {}, ["image"])
        except InvalidRequestError as error:
            cycle = [error]  # as anything does that keeps an error where its own frame can see it
            cycle.append(cycle)  # type: ignore[arg-type]

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            gc.disable()
            try:
                await fail(catalog)
                remove(first)
                publish(tmp_path, "tiny", seed=2)
                await catalog.refresh()
                assert len(catalog._leases._open) == 2
                await catalog.refresh()
                await until(lambda: len(catalog._leases._open) == 1)
            finally:
                gc.enable()

    run(main())


def test_refresh_that_finds_nothing_new_loads_nothing(tmp_path: Path, gate: Gate) -> None:
    publish(tmp_path)
    spoil(publish(tmp_path, "bad").path / "decode.onnx")

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            kept = catalog.get("tiny")
            for _ in range(3):
                await catalog.refresh()
            assert catalog.get("tiny") is kept
            assert gate.attempts == ["tiny@1"]

    run(main())
