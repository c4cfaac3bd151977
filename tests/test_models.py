"""The bundles that ship keep every law that is asked of bundles."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.golden import check_golden, load_golden
from bundle.latents import latents
from bundle.store import Bundle, Store
from training.export.laws import check_no_paths
from training.export.onnx_file import ALLOWED_OPERATORS
from training.onnx_graph import OnnxGraph
from training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
STORE = Store(ROOT / "models")
BUNDLES = STORE.listing().bundles
MODEL_BYTES, STORE_BYTES = 6_000_000, 40_000_000
EXPECTED = {
    "avatars-gan": {"decode", "discriminate", "encode"},
    "fashion-gan": {"decode", "discriminate", "encode"},
    "fashion-vae": {"decode", "encode", "score"},
    "mnist-gan": {"decode", "discriminate"},
    "mnist-vae": {"decode", "encode", "score"},
}

each_bundle = pytest.mark.parametrize("bundle", BUNDLES, ids=lambda b: f"{b.manifest.name}@{b.manifest.version}")


def test_the_promised_models_are_there_with_their_graphs() -> None:
    assert not STORE.listing().problems
    found = {name: set(STORE.open(name).manifest.graphs) for name in STORE.names()}
    assert found == EXPECTED


@each_bundle
def test_files_are_those_of_the_manifest(bundle: Bundle) -> None:
    bundle.verify()


@each_bundle
def test_graphs_agree_with_their_golden_outputs(bundle: Bundle) -> None:
    golden = load_golden(bundle.path / bundle.manifest.golden.path)
    assert set(golden) == set(bundle.manifest.graphs)
    for name, spec in bundle.manifest.graphs.items():
        found = OnnxGraph(bundle.path / spec.file.path).run(**golden[name].inputs)
        check_golden(name, golden[name].outputs, found, spec.tolerance)


@each_bundle
def test_graphs_use_allowed_operators_and_name_no_folder(bundle: Bundle) -> None:
    for spec in bundle.manifest.graphs.values():
        raw = (bundle.path / spec.file.path).read_bytes()
        check_no_paths(spec.file.path, raw)
        model = onnx.load_from_string(raw)
        assert {node.op_type for node in model.graph.node} <= ALLOWED_OPERATORS
        assert not model.functions
        assert not any(node.metadata_props or node.doc_string for node in model.graph.node)


@each_bundle
@pytest.mark.parametrize("n", [1, 2, 3, 7, 64])
def test_each_row_of_a_drawing_depends_on_its_own_code(bundle: Bundle, n: int) -> None:
    prior = bundle.manifest.prior
    assert prior is not None
    decode = OnnxGraph(bundle.path / "decode.onnx")
    z = latents(prior, 5, 0, 64)
    everything = decode.run(z=z)["pixels"]
    assert np.array_equal(decode.run(z=z[64 - n :])["pixels"], everything[64 - n :])
    assert len({image.tobytes() for image in everything}) == 64


@each_bundle
def test_recipe_is_the_one_in_configs(bundle: Bundle) -> None:
    recipe = bundle.manifest.training.recipe
    model = recipe["model"]
    parent = model.get("parent", recipe)
    config = read_recipe(ROOT / "configs" / f"{bundle.manifest.name}.toml")
    assert parent["name"] == config.name
    assert parent["seed"] == config.seed
    assert parent["data"] == config.data.model_dump(mode="json")
    assert parent["train"] == config.train.model_dump(mode="json")
    assert {key: parent["model"][key] for key in config.model} == config.model


def test_models_are_small_enough_for_git() -> None:
    sizes = []
    for bundle in BUNDLES:
        files = [bundle.path / "manifest.json", *(bundle.path / file.path for file in bundle.manifest.files())]
        sizes.append(sum(file.stat().st_size for file in files))
    assert max(sizes) <= MODEL_BYTES
    assert sum(sizes) <= STORE_BYTES
