"""What every family promises, checked for each recipe of one table."""

import io
import itertools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from bundle.manifest import GraphName
from tests.training.family_cases import CASES, EXPORTED, Case
from tests.training.samples import ROOT, digits
from training.averaged import averaged_family, draw
from training.data.stream import Batch, to_float
from training.export.inputs import trial_inputs
from training.export.laws import check_laws, run_torch
from training.export.onnx_file import to_onnx
from training.export.prepare import prepared
from training.export.torch_files import load_program, load_torchscript, to_program, to_torchscript
from training.families.base import Family, Graph, build_family
from training.loop import Loop
from training.onnx_graph import OnnxGraph
from training.recipe import ExportRecipe

BATCHES = [1, 2, 3, 7]
HALF = ExportRecipe(storage="float16")
Folders = Callable[[], Path]


@dataclass(frozen=True)
class Trained:
    """A run that was never stopped."""

    loop: Loop
    terms: list[dict[str, float]]
    start: dict[str, Tensor]

    def exported_family(self) -> Family:
        family = averaged_family(self.loop.family.context, self.loop.ema.state)
        family.fit(digits())
        return family


@dataclass(frozen=True)
class Exported:
    """One graph in all its forms."""

    name: GraphName
    graph: Graph
    family: Family
    module: nn.Module
    raw: bytes
    script: bytes
    program: bytes

    @property
    def files(self) -> dict[str, bytes]:
        return {"onnx": self.raw, "pt": self.script, "pt2": self.program}


def train(case: Case, folder: Path) -> Trained:
    loop = new_loop(case, folder)
    start = {name: value.clone() for name, value in loop.family.networks.state_dict().items()}
    terms: list[dict[str, float]] = []
    assert loop.run(lambda progress: terms.append(progress.scalars()))
    return Trained(loop, terms, start)


def new_loop(case: Case, folder: Path) -> Loop:
    torch.manual_seed(12345)  # whatever the process did before
    return Loop(build_family(case.context()), digits().train, folder)


def export(name: GraphName, graph: Graph, family: Family) -> Exported:
    module = prepared(graph, HALF)
    raw = to_onnx(module, graph, half=True)
    return Exported(name, graph, family, module, raw, to_torchscript(module, graph), to_program(module, graph))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return lambda: tmp_path_factory.mktemp("run")


@pytest.fixture(scope="session")
def trained(folders: Folders) -> Callable[[str], Trained]:
    return cache(lambda name: train(CASES[name], folders()))


@pytest.fixture(scope="session")
def exported(trained: Callable[[str], Trained]) -> Callable[[str], list[Exported]]:
    def make(name: str) -> list[Exported]:
        family = trained(name).exported_family()
        return [export(graph_name, graph, family) for graph_name, graph in family.graphs().items()]

    return cache(make)


def fit_inputs(item: Exported, n: int) -> dict[str, Any]:
    return trial_inputs(item.graph, item.family, digits(), n, start=5)


def a_batch(n: int = 8) -> Batch:
    data = digits().train
    assert data.labels is not None
    return Batch(to_float(data.images[:n]), torch.from_numpy(data.labels[:n]))


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, through dictionaries and lists."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def everything(loop: Loop) -> dict[str, Any]:
    return {
        "round": loop.round,
        "position": loop.stream.position,
        "networks": dict(loop.family.networks.state_dict()),
        "ema": loop.ema.state,
        "optimizers": {name: optimizer.state_dict() for name, optimizer in loop.optimizers.items()},
        "torch": torch.get_rng_state(),
        "generator": loop.family.generator.get_state(),
    }


@pytest.mark.parametrize("name", CASES)
def test_each_player_gives_a_finite_gradient_to_every_parameter_that_it_moves(name: str) -> None:
    torch.manual_seed(0)
    family = build_family(CASES[name].context())
    family.networks.train()
    names = {id(parameter): key for key, parameter in family.networks.named_parameters()}
    for optimizer, adam in family.optimizers().items():
        reached: set[str] = set()
        for player in itertools.chain.from_iterable(stage.players for stage in family.stages()):
            if player.optimizer != optimizer:
                continue
            family.networks.zero_grad(set_to_none=True)
            player.loss(a_batch())["loss"].backward()  # type: ignore[no-untyped-call]
            gradients = {names[id(p)]: p.grad for p in adam.parameters if p.grad is not None}
            assert all(torch.isfinite(gradient).all() for gradient in gradients.values())
            reached |= {key for key, gradient in gradients.items() if gradient.any()}
        own = {names[id(p)] for p in adam.parameters}
        assert own - reached <= CASES[name].flat


@pytest.mark.parametrize("name", CASES)
def test_training_moves_what_players_own_and_nothing_else(name: str, trained: Callable[[str], Trained]) -> None:
    run = trained(name)
    own = {id(p) for adam in run.loop.family.optimizers().values() for p in adam.parameters}
    for key, parameter in run.loop.family.networks.named_parameters():
        moved = not torch.equal(parameter, run.start[key])
        if key not in CASES[name].flat:
            assert moved == (id(parameter) in own), key


@pytest.mark.parametrize("name", CASES)
def test_same_seed_gives_the_same_result_to_the_bit(
    name: str, trained: Callable[[str], Trained], folders: Folders
) -> None:
    again = train(CASES[name], folders())
    assert again.terms == trained(name).terms
    assert same(dict(again.loop.family.networks.state_dict()), dict(trained(name).loop.family.networks.state_dict()))
    assert same(again.loop.ema.state, trained(name).loop.ema.state)


@pytest.mark.parametrize("stopped_after", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed_equals_never_stopped(
    name: str, stopped_after: int, trained: Callable[[str], Trained], folders: Folders
) -> None:
    case, folder = CASES[name], folders()
    straight = train(case, folders())
    whole = everything(straight.loop)
    first = new_loop(case, folder)
    rest: list[dict[str, float]] = []
    assert not first.run(lambda _: None, stop=lambda: first.round == stopped_after)
    second = new_loop(case, folder)
    assert second.round == stopped_after
    assert second.run(lambda progress: rest.append(progress.scalars()))
    assert rest == straight.terms[stopped_after:] == trained(name).terms[stopped_after:]
    assert same(everything(second), whole)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].family == "vae"])
def test_rate_is_never_negative_and_the_terms_add_up(name: str, trained: Callable[[str], Trained]) -> None:
    beta = trained(name).loop.family.recipe.model_dump()["beta"]
    for terms in trained(name).terms:
        assert terms["vae.rate"] >= 0
        assert math.isclose(terms["vae.loss"], terms["vae.distortion"] + beta * terms["vae.rate"], rel_tol=1e-5)
        assert math.isclose(terms["vae.elbo"], -terms["vae.distortion"] - terms["vae.rate"], rel_tol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_averaged_family_has_the_graphs_of_the_table_and_draws_where_it_has_a_prior(
    name: str, trained: Callable[[str], Trained]
) -> None:
    family = trained(name).exported_family()
    assert set(family.graphs()) == CASES[name].graphs
    pixels = draw(family, 5)
    assert (pixels is None) == (family.prior is None)
    if pixels is not None:
        assert pixels.shape == (5, *digits().train.images.shape[1:])
        again, other = draw(family, 5), draw(family, 5, seed=1)
        assert again is not None
        assert other is not None
        assert np.array_equal(again, pixels)
        assert not np.array_equal(other, pixels)


@pytest.mark.parametrize("n", BATCHES)
@pytest.mark.parametrize("name", EXPORTED)
def test_exported_files_equal_torch(name: str, n: int, exported: Callable[[str], list[Exported]]) -> None:
    for item in exported(name):
        inputs = fit_inputs(item, n)
        want = run_torch(item.module, item.graph, inputs)
        found = {
            "onnx": OnnxGraph(item.raw).run(**inputs),
            "pt": run_torch(load_torchscript(io.BytesIO(item.script)), item.graph, inputs),
            "pt2": run_torch(load_program(io.BytesIO(item.program)), item.graph, inputs),
        }
        for kind, outputs in found.items():
            for spec in item.graph.outputs:
                shape = tuple(want[spec.name].shape[i] if isinstance(a, str) else a for i, a in enumerate(spec.shape))
                assert outputs[spec.name].shape == shape
                assert outputs[spec.name].shape[0] == n
                assert str(outputs[spec.name].dtype) == spec.dtype
                near = 1.0 if spec.dtype == "uint8" else 1e-4 * max(1.0, float(np.abs(want[spec.name]).max()))
                np.testing.assert_allclose(
                    outputs[spec.name].astype(float), want[spec.name].astype(float), atol=near, rtol=0, err_msg=kind
                )


@pytest.mark.parametrize("name", EXPORTED)
def test_folded_and_rounded_module_stays_near_the_family(name: str, exported: Callable[[str], list[Exported]]) -> None:
    """Folding batch norm and dropping parametrisations changes no more than the rounding of weights to half does."""
    for item in exported(name):
        inputs = fit_inputs(item, 7)
        plain = run_torch(item.graph.module.eval(), item.graph, inputs)
        full = run_torch(prepared(item.graph, ExportRecipe()), item.graph, inputs)
        half = run_torch(item.module, item.graph, inputs)
        for spec in item.graph.outputs:
            if spec.dtype == "float32":
                size = max(1.0, float(np.abs(plain[spec.name]).max()))
                np.testing.assert_allclose(full[spec.name], plain[spec.name], atol=1e-5 * size, rtol=0)
                np.testing.assert_allclose(half[spec.name], plain[spec.name], atol=1e-2 * size, rtol=0)


@pytest.mark.parametrize("name", EXPORTED)
def test_exported_graphs_keep_the_laws(name: str, exported: Callable[[str], list[Exported]]) -> None:
    for item in exported(name):
        assert 0 < check_laws(item.name, item.graph, item.module, item.raw, item.family, digits()) < 0.1


@pytest.mark.parametrize("name", EXPORTED)
def test_decode_gives_images_in_range_and_their_pixels_by_the_rule(
    name: str, exported: Callable[[str], list[Exported]]
) -> None:
    for item in exported(name):
        if item.name != "decode":
            continue
        found = OnnxGraph(item.raw).run(**fit_inputs(item, 7))
        image, pixels = found["image"], found["pixels"]
        assert np.abs(image).max() <= 1
        assert np.ptp(image) > 0
        by_rule = np.clip(np.rint((image + np.float32(1)) * np.float32(127.5)), 0, 255).astype(np.uint8)
        np.testing.assert_array_equal(pixels, by_rule.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("name", ["vae-mlp-gaussian", "gan-hinge-spectral", "inference-cycle"])
def test_same_weights_give_the_same_bytes(
    name: str, trained: Callable[[str], Trained], exported: Callable[[str], list[Exported]]
) -> None:
    family = trained(name).exported_family()
    for item in exported(name):
        again = export(item.name, family.graphs()[item.name], family)
        assert {kind: raw == item.files[kind] for kind, raw in again.files.items()} == dict.fromkeys(again.files, True)


@pytest.mark.parametrize("name", EXPORTED)
def test_files_name_no_folder_of_this_machine(name: str, exported: Callable[[str], list[Exported]]) -> None:
    folders = {str(ROOT), str(Path.cwd()), sys.prefix, sys.base_prefix + "/lib", str(Path(torch.__file__).parent)}
    for item, folder in itertools.product(exported(name), folders):
        for kind, raw in item.files.items():
            assert folder.encode() not in raw, f"{item.name}.{kind} holds {folder}"


@pytest.mark.parametrize("name", ["ae-mixture", "gan-paper-mlp"])
def test_half_precision_storage_loses_nothing(name: str, exported: Callable[[str], list[Exported]]) -> None:
    for item in exported(name):
        full = to_onnx(item.module, item.graph, half=False)
        inputs = fit_inputs(item, 3)
        stored, computed = OnnxGraph(item.raw).run(**inputs), OnnxGraph(full).run(**inputs)
        assert all(np.array_equal(stored[key], computed[key]) for key in computed)
        large = [numpy_helper.to_array(t) for t in onnx.load_from_string(full).graph.initializer]
        halves = [t for t in onnx.load_from_string(item.raw).graph.initializer if t.data_type == 10]
        assert len(halves) == sum(array.dtype == np.float32 and array.size >= 64 for array in large) > 0
        assert len(item.raw) < len(full)


def test_another_seed_gives_another_start() -> None:
    case = CASES["gan-non-saturating"].context()
    other = case.recipe.model_copy(update={"seed": 4})
    a, b = build_family(case), build_family(type(case)(other, case.image, case.label_names))
    assert not torch.equal(next(a.networks.parameters()), next(b.networks.parameters()))


def test_building_a_family_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    build_family(CASES["inference-cycle"].context())
    assert torch.equal(torch.get_rng_state(), before)
