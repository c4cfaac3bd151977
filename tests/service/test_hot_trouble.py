"""A catalog goes on serving whatever happens to its store, and says what is wrong."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from bundle.store import Bundle, Store
from service import catalog as catalog_module
from service import inventory, watching
from service.catalog import Catalog
from service.engine import loading
from service.errors import (
    ModelRefusedError,
    StartupError,
    StoppingError,
    UnknownModelError,
)
from service.settings import Settings
from tests.service.engine.fakes import run, until
from tests.service.following import Gate, opened, remove, versions
from tests.support.bundles import publish, spoil

Z = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


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


def test_load_that_does_not_end_is_told_once_it_took_long(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "_LONG_LOAD_S", 0.02)
    publish(tmp_path)

    async def main() -> None:
        async with opened(tmp_path) as catalog:
            publish(tmp_path, seed=2)
            gate.opened.clear()
            with structlog.testing.capture_logs() as logs:
                refreshing = asyncio.create_task(catalog.refresh())
                await until(lambda: any(line["log_level"] == "error" for line in logs))
            gate.opened.set()
            await refreshing
            assert [line["bundle"] for line in logs if line["log_level"] == "error"] == ["tiny@2"]
            assert versions(catalog) == [1, 2]

    run(main())
