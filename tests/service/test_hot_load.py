"""A catalog follows its store: versions and aliases come and go while requests are answered."""

import asyncio
import contextlib
import errno
import gc
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.store import Bundle, Store
from service import inventory, leases, watching
from service.catalog import Catalog
from service.engine import loading
from service.engine.runtimes.onnx import OnnxRuntime
from service.errors import (
    InvalidRequestError,
    ModelRefusedError,
    NotReadyError,
    StartupError,
    StoppingError,
    UnknownModelError,
    VersionNotLoadedError,
)
from service.settings import Settings
from tests.service.engine.fakes import PATIENCE_S, run, until
from tests.support.bundles import publish, spoil

Z = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@contextlib.asynccontextmanager
async def opened(store: Path, **others: Any) -> AsyncIterator[Catalog]:
    """A catalog that looks at its store when it is told to."""
    catalog = await Catalog.open(Settings(store=store, lanes=1, device="cpu", **{"store_poll_s": 0, **others}))
    try:
        yield catalog
    finally:
        await catalog.close(5)


def versions(catalog: Catalog) -> list[int]:
    return [model.version for model in catalog.models()]


def remove(bundle: Bundle) -> None:
    shutil.rmtree(bundle.path)


class Gate:
    """Holds loading up until it is opened; counts what was loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts: list[str] = []
        self.opened = threading.Event()
        self.opened.set()
        self._real = loading._prepare_all
        monkeypatch.setattr(loading, "_prepare_all", self._wait)

    def _wait(self, bundle: Bundle, *rest: Any) -> Any:
        self.attempts.append(f"{bundle.manifest.name}@{bundle.manifest.version}")
        assert self.opened.wait(PATIENCE_S)
        return self._real(bundle, *rest)


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


def test_damaged_version_is_a_problem_and_is_tried_again_only_when_its_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, seed=1)
    tried: list[str] = []
    verify = Bundle.verify

    def count(bundle: Bundle) -> None:
        tried.append(bundle.path.name)
        verify(bundle)

    monkeypatch.setattr(Bundle, "verify", count)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            bad = publish(tmp_path, seed=2)
            whole = (bad.path / "decode.onnx").read_bytes()
            spoil(bad.path / "decode.onnx")
            for _ in range(3):
                await catalog.refresh()
                assert catalog.get("tiny").version == 1
                with pytest.raises(ModelRefusedError, match=r"decode\.onnx has sha256"):
                    catalog.get("tiny@2")
            assert list(catalog.problems()) == ["tiny@2"]
            assert tried == ["1", "2"]
            (bad.path / "decode.onnx").write_bytes(whole)
            await catalog.refresh()
            assert catalog.get("tiny").version == 2
            assert catalog.problems() == {}
            assert tried == ["1", "2", "2"]

    run(main())


def test_removed_problem_is_no_problem_any_more(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    bad = publish(tmp_path, seed=2)
    spoil(bad.path / "decode.onnx")

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            assert list(catalog.problems()) == ["tiny@2"]
            remove(bad)
            await catalog.refresh()
            assert catalog.problems() == {}
            with pytest.raises(UnknownModelError):
                catalog.get("tiny@2")

    run(main())


def test_bundle_that_breaks_the_loading_itself_is_refused_and_the_others_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "good")
    real = loading._prepare_all

    def prepare(bundle: Bundle, *rest: Any) -> Any:
        if bundle.manifest.name == "strange":
            raise ZeroDivisionError("nobody thought of this")
        return real(bundle, *rest)

    monkeypatch.setattr(loading, "_prepare_all", prepare)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            publish(tmp_path, "strange")
            await catalog.refresh()
            assert catalog.get("good").version == 1
            with pytest.raises(ModelRefusedError, match="ZeroDivisionError: nobody thought of this"):
                catalog.get("strange")

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


def test_alias_that_is_set_to_a_damaged_version_goes_on_meaning_what_it_meant(tmp_path: Path) -> None:
    publish(tmp_path, seed=1)
    Store(tmp_path).set_alias("tiny", "prod", 1)

    async def main() -> None:
        async with opened(tmp_path, keep_versions=1) as catalog:
            spoil(publish(tmp_path, seed=2).path / "decode.onnx")
            Store(tmp_path).set_alias("tiny", "prod", 2)
            await catalog.refresh()
            publish(tmp_path, seed=3)
            await catalog.refresh()
            assert catalog.get("tiny@prod").version == 1
            assert versions(catalog) == [1, 3]
            assert list(catalog.problems()) == ["tiny@2"]

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


def test_version_that_was_replaced_by_a_damaged_one_goes_on_serving_without_its_folder(tmp_path: Path) -> None:
    first = publish(tmp_path, seed=1)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            spoil(publish(tmp_path, seed=2).path / "decode.onnx")
            remove(first)
            await catalog.refresh()
            assert catalog.get("tiny").digest == first.digest
            third = publish(tmp_path, seed=3)
            await catalog.refresh()
            assert versions(catalog) == [3]
            assert catalog.get("tiny").digest == third.digest

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


def test_store_that_cannot_be_read_for_a_while_takes_nothing_away(tmp_path: Path) -> None:
    store = tmp_path / "store"
    publish(store)

    async def main() -> None:
        async with opened(store, store_poll_s=0.02) as catalog:
            store.rename(tmp_path / "unplugged")
            with pytest.raises(FileNotFoundError, match="no folder any more"):
                await catalog.refresh()
            assert catalog.get("tiny").version == 1
            (tmp_path / "unplugged").rename(store)
            publish(store, seed=2)
            await until(lambda: catalog.get("tiny").version == 2)

    run(main())


def test_empty_folder_that_a_volume_was_mounted_on_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    publish(store)

    async def main() -> None:
        async with opened(store) as catalog:
            store.rename(tmp_path / "unplugged")
            store.mkdir()
            with monkeypatch.context() as patched:
                patched.setattr(watching, "device_of", lambda _: 77)
                with pytest.raises(FileNotFoundError, match="is it mounted"):
                    await catalog.refresh()
                assert catalog.get("tiny").version == 1
            await catalog.refresh()  # the same device as before: somebody emptied it
            with pytest.raises(UnknownModelError):
                catalog.get("tiny")

    run(main())


def test_alias_that_cannot_be_read_at_one_moment_goes_on_meaning_what_it_meant(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, seed=2)
    Store(tmp_path).set_alias("tiny", "prod", 1)

    async def main() -> None:
        async with opened(tmp_path, keep_versions=1) as catalog:
            (tmp_path / "tiny" / "aliases" / "prod").write_text("")  # as between two steps of a careless editor
            publish(tmp_path, seed=3)
            await catalog.refresh()
            assert catalog.get("tiny@prod").version == 1
            assert catalog.get("tiny").version == 3
            (tmp_path / "tiny" / "aliases" / "prod").unlink()
            await catalog.refresh()
            with pytest.raises(UnknownModelError):
                catalog.get("tiny@prod")

    run(main())


def test_version_that_was_refused_for_the_machines_trouble_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    real, calls = loading._prepare_all, []

    def prepare(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.EIO, "the disk stutters")
        return real(*arguments)

    monkeypatch.setattr(loading, "_prepare_all", prepare)
    monkeypatch.setattr(inventory, "_FIRST_PAUSE_S", 0.01)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            publish(tmp_path, seed=2)
            await catalog.refresh()
            assert catalog.get("tiny").version == 1
            assert "the disk stutters" in catalog.problems()["tiny@2"]
            await asyncio.sleep(0.02)
            await catalog.refresh()
            assert catalog.get("tiny").version == 2
            assert catalog.problems() == {}

    run(main())


def test_store_that_cannot_be_read_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Any:
        raise PermissionError(13, "Permission denied")

    async def main() -> None:
        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(StartupError, match=r"cannot be read: .*Permission denied"):
            await Catalog.open(Settings(store=tmp_path, lanes=1, device="cpu"))

    run(main())


def test_name_whose_folder_cannot_be_read_for_a_while_goes_on_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    Store(tmp_path).set_alias("tiny", "prod", 1)
    listed = Path.iterdir

    def refuse(path: Path) -> Any:
        if path.name == "tiny":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            with monkeypatch.context() as patch:
                patch.setattr(Path, "iterdir", refuse)
                await catalog.refresh()
                assert catalog.get("tiny@prod").version == 1
                assert "Permission denied" in catalog.problems()["tiny"]
            await catalog.refresh()
            assert catalog.problems() == {}

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


def test_closing_ends_a_load_under_way(tmp_path: Path, gate: Gate) -> None:
    publish(tmp_path)

    async def main() -> None:
        async with opened(tmp_path, store_poll_s=0.02) as catalog:
            gate.opened.clear()
            publish(tmp_path, seed=2)
            await until(lambda: "tiny@2" in gate.attempts)
            await catalog.close(0)
            gate.opened.set()
            assert versions(catalog) == [1]
            with pytest.raises(StoppingError):
                await catalog.refresh()

    run(main())


def test_start_that_is_given_up_leaves_no_lane_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)
    catalogs: list[Catalog] = []
    refresh = Catalog.refresh

    async def remember(catalog: Catalog) -> None:
        catalogs.append(catalog)
        await refresh(catalog)

    monkeypatch.setattr(Catalog, "refresh", remember)

    async def main() -> None:
        gate = Gate(monkeypatch)
        gate.opened.clear()
        opening = asyncio.create_task(Catalog.open(Settings(store=tmp_path, lanes=1, device="cpu")))
        await until(lambda: gate.attempts != [])
        opening.cancel()
        gate.opened.set()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert catalogs[0].lanes.alive == 0

    run(main())


def test_unhealthy_graph_makes_the_catalog_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            assert catalog.ready()[0]
            batcher = catalog.get("tiny").batchers["encode"]
            monkeypatch.setattr(type(batcher), "healthy", property(lambda one: (one is not batcher, "it hangs")))
            assert catalog.ready() == (False, "it hangs")

    run(main())
