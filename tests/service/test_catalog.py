"""Bundles are verified and tried before they serve; a bad one is refused with its reason, and the others go on."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bundle.golden import GoldenCase, load_golden
from bundle.store import Bundle, Store
from service.catalog import Catalog
from service.engine.runtimes.onnx import OnnxRuntime
from service.errors import (
    GraphMissingError,
    InvalidRequestError,
    ModelRefusedError,
    RuntimeFailedError,
    StartupError,
    StoppingError,
    UnknownModelError,
)
from service.settings import Settings
from tests.service.engine.fakes import run, until
from tests.support.bundles import images, publish, reference, spoil

Z = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)


def settings(store: Path, **others: object) -> Settings:
    return Settings(store=store, lanes=1, device="cpu", **others)  # type: ignore[arg-type]


def change_manifest(bundle: Bundle, change: Callable[[dict[str, object]], None]) -> None:
    path = bundle.path / "manifest.json"
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def truncate_manifest(bundle: Bundle) -> None:
    spoil(bundle.path / "manifest.json", truncate=True)


def unknown_schema(bundle: Bundle) -> None:
    change_manifest(bundle, lambda content: content.update(schema_version=99))


def unknown_key(bundle: Bundle) -> None:
    change_manifest(bundle, lambda content: content.update(colour="blue"))


def damage_graph(bundle: Bundle) -> None:
    spoil(bundle.path / "decode.onnx")


def truncate_weights(bundle: Bundle) -> None:
    spoil(bundle.path / "weights.safetensors", truncate=True)


def remove_golden(bundle: Bundle) -> None:
    (bundle.path / "golden.npz").unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate_manifest, r"manifest\.json is not JSON"),
        (unknown_schema, r"manifest\.json has schema_version 99; this program reads 1"),
        (unknown_key, r"manifest\.json: colour"),
        (damage_graph, r"decode\.onnx has sha256 \w+; the manifest says"),
        (truncate_weights, r"weights\.safetensors has \d+ bytes; the manifest says"),
        (remove_golden, r"golden\.npz is missing"),
    ],
)
def test_damaged_bundle_is_refused_and_the_others_serve(
    tmp_path: Path, damage: Callable[[Bundle], None], reason: str
) -> None:
    publish(tmp_path, "good")
    damage(publish(tmp_path, "bad"))

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        assert list(catalog.problems()) == ["bad@1"]
        for ref in ("bad", "bad@1"):
            with pytest.raises(ModelRefusedError, match=reason):
                catalog.get(ref)
        assert catalog.ready()[0]
        answer = await catalog.get("good").run("decode", {"z": Z}, ["pixels"])
        assert answer["pixels"].shape == (2, 8, 8, 1)
        await catalog.close(5)

    run(main())


def add_to(key: str, amount: float) -> Callable[[dict[str, GoldenCase]], dict[str, GoldenCase]]:
    def change(cases: dict[str, GoldenCase]) -> dict[str, GoldenCase]:
        case = cases["decode"]
        changed = np.asarray(case.outputs[key] + amount, dtype=case.outputs[key].dtype)
        return cases | {"decode": GoldenCase(case.inputs, {**case.outputs, key: changed})}

    return change


def forget_encode(cases: dict[str, GoldenCase]) -> dict[str, GoldenCase]:
    return {"decode": cases["decode"]}


def forget_pixels(cases: dict[str, GoldenCase]) -> dict[str, GoldenCase]:
    case = cases["decode"]
    return cases | {"decode": GoldenCase(case.inputs, {"image": case.outputs["image"]})}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (add_to("image", 0.01), r"golden\.npz: .*'image': differs .* at most 0\.0001 .* on CPUExecutionProvider"),
        (add_to("image", np.nan), r"golden\.npz: .*'image': differs"),
        (add_to("pixels", 3), r"golden\.npz: .*'pixels': differs"),
        (forget_encode, r"golden\.npz has nothing for graph 'encode'; it has: decode"),
        (forget_pixels, r"golden\.npz has inputs, outputs .*'pixels'"),
    ],
)
def test_bundle_that_disagrees_with_its_golden_outputs_is_refused(
    tmp_path: Path, change: Callable[[dict[str, GoldenCase]], dict[str, GoldenCase]], reason: str
) -> None:
    publish(tmp_path, "good")
    publish(tmp_path, "bad", change_golden=change)

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        with pytest.raises(ModelRefusedError, match=reason):
            catalog.get("bad")
        assert [model.name for model in catalog.models()] == ["good"]
        await catalog.close(5)

    run(main())


def test_half_published_bundle_is_not_seen(tmp_path: Path) -> None:
    bundle = publish(tmp_path, "good")

    async def main() -> None:
        with Store(tmp_path).stage("good") as staging:
            (staging.path / "manifest.json").write_bytes((bundle.path / "manifest.json").read_bytes())
            catalog = await Catalog.open(settings(tmp_path))
            assert [model.version for model in catalog.models()] == [1]
            assert catalog.problems() == {}
            await catalog.close(5)

    run(main())


def test_version_without_manifest_is_refused(tmp_path: Path) -> None:
    (publish(tmp_path, "bad").path / "manifest.json").unlink()

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        with pytest.raises(ModelRefusedError, match=r"manifest\.json"):
            catalog.get("bad@1")
        await catalog.close(5)

    run(main())


def test_name_version_and_alias_find_their_model(tmp_path: Path) -> None:
    digests = [publish(tmp_path, "many", seed=seed).digest for seed in range(3)]
    Store(tmp_path).set_alias("many", "stable", 2)

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        assert catalog.get("many").digest == digests[2]
        assert catalog.get("many@1").digest == digests[0]
        assert catalog.get("many@stable").digest == digests[1]
        assert [model.aliases for model in catalog.models()] == [[], ["stable"], []]
        with pytest.raises(UnknownModelError, match=r"no model 'other'; there are: many"):
            catalog.get("other")
        for ref in ("many@4", "many@01", "many@prod", "many@1@1"):
            with pytest.raises(UnknownModelError, match="it has: 1, 2, 3, stable"):
                catalog.get(ref)
        with pytest.raises(UnknownModelError, match="at most 130"):
            catalog.get("many@" + "9" * 5000)
        await catalog.close(5)

    run(main())


def test_name_means_the_newest_version_that_serves(tmp_path: Path) -> None:
    good = publish(tmp_path, "many", seed=1)
    damage_graph(publish(tmp_path, "many", seed=2))
    Store(tmp_path).set_alias("many", "new", 2)

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        assert catalog.get("many").digest == good.digest
        for ref in ("many@2", "many@new"):
            with pytest.raises(ModelRefusedError, match="the manifest says"):
                catalog.get(ref)
        await catalog.close(5)

    run(main())


def test_models_are_found_by_their_graphs(tmp_path: Path) -> None:
    publish(tmp_path, "vae")
    publish(tmp_path, "gan", graphs=["decode"])

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        assert catalog.with_graphs("decode") == ["gan", "vae"]
        assert catalog.with_graphs("decode", "encode") == ["vae"]
        with pytest.raises(GraphMissingError):
            await catalog.get("gan").run("encode", {"image": np.zeros((1, 1, 8, 8), np.float32)}, ["mean"])
        await catalog.close(5)

    run(main())


def test_every_graph_answers_as_the_reference_implementation_does(tmp_path: Path) -> None:
    bundle = publish(tmp_path, kind="conv", channels=3, labels=["cat", "dog"])
    inputs = {"z": Z, "label": np.array([1, 0])}
    pictures = {"image": images(bundle, 2)}

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        model = catalog.get("tiny")
        decoded = await model.run("decode", inputs, ["image"])
        encoded = await model.run("encode", pictures, ["mean", "logvar"])
        np.testing.assert_allclose(decoded["image"], reference(bundle, "decode", inputs)["image"], atol=1e-5)
        np.testing.assert_allclose(encoded["mean"], reference(bundle, "encode", pictures)["mean"], atol=1e-5)
        assert (model.runtime, model.provider) == ("onnxruntime", "CPUExecutionProvider")
        await catalog.close(5)

    run(main())


@pytest.mark.parametrize(
    ("inputs", "outputs", "reason"),
    [
        ({}, ["pixels"], "takes"),
        ({"z": Z, "label": Z}, ["pixels"], "takes"),
        ({"z": Z.astype(np.float64)}, ["pixels"], "float64"),
        ({"z": Z[:, :3]}, ["pixels"], r"\(2, 3\)"),
        ({"z": Z[0]}, ["pixels"], r"\(4,\)"),
        ({"z": np.float32(1)}, ["pixels"], r"float32\(\)"),
        ({"z": Z[:0]}, ["pixels"], "at least 1"),
        ({"z": Z}, [], "asked for"),
        ({"z": Z}, ["logvar"], "asked for"),
    ],
)
def test_arrays_that_do_not_fit_the_manifest_never_reach_the_queue(
    tmp_path: Path, inputs: dict[str, np.ndarray], outputs: list[str], reason: str
) -> None:
    publish(tmp_path)

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        with pytest.raises(InvalidRequestError, match=reason):
            await catalog.get("tiny").run("decode", inputs, outputs)
        await catalog.close(5)

    run(main())


def test_empty_store_starts_and_is_not_ready(tmp_path: Path) -> None:
    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        assert not catalog.ready()[0]
        with pytest.raises(UnknownModelError, match="there are: none"):
            catalog.get("any")
        await catalog.close(5)

    run(main())


def test_store_that_is_not_there_ends_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="nowhere"):
        run(open_only(settings(tmp_path / "nowhere")))


@pytest.mark.skipif("CUDAExecutionProvider" in ort.get_available_providers(), reason="CUDA is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_cuda_that_is_not_there_ends_the_start_and_names_what_is(tmp_path: Path, device: str) -> None:
    publish(tmp_path)
    with pytest.raises(StartupError, match=f"'{device}'.*CPUExecutionProvider"):
        run(open_only(Settings(store=tmp_path, device=device)))


def test_closed_catalog_is_not_ready_and_refuses(tmp_path: Path) -> None:
    publish(tmp_path)

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        model = catalog.get("tiny")
        under_way = [asyncio.create_task(model.run("decode", {"z": Z}, ["pixels"])) for _ in range(50)]
        await asyncio.sleep(0)
        await catalog.close(5)
        assert all(len(answer["pixels"]) == 2 for answer in await asyncio.gather(*under_way))
        assert not catalog.ready()[0]
        with pytest.raises(StoppingError):
            await model.run("decode", {"z": Z}, ["pixels"])

    run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_catalog_whose_lane_died_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path)

    def die(*_: object) -> None:
        raise SystemExit

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        monkeypatch.setattr(OnnxRuntime, "run", die)
        with pytest.raises(RuntimeFailedError):
            await catalog.get("tiny").run("decode", {"z": Z}, ["pixels"])
        await until(lambda: not catalog.ready()[0])
        assert "1 of 1 lanes have died" in catalog.ready()[1]
        await catalog.close(5)

    run(main())


def test_label_outside_the_classes_fails_alone(tmp_path: Path) -> None:
    publish(tmp_path, labels=["cat", "dog"])

    async def main() -> None:
        catalog = await Catalog.open(settings(tmp_path))
        model = catalog.get("tiny")
        calls = [model.run("decode", {"z": Z, "label": np.array([0, label])}, ["pixels"]) for label in (0, 1, 7, 1)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(answer, dict) for answer in found] == [True, True, False, True]
        await catalog.close(5)

    run(main())


def test_golden_inputs_of_the_factory_are_those_of_its_graphs(tmp_path: Path) -> None:
    bundle = publish(tmp_path, labels=["cat", "dog"], label_encode=True)
    cases = load_golden(bundle.path / "golden.npz")
    assert {graph: set(case.inputs) for graph, case in cases.items()} == {
        "decode": {"z", "label"},
        "encode": {"image", "label"},
    }


async def open_only(chosen: Settings) -> None:
    catalog = await Catalog.open(chosen)
    await catalog.close(0)
