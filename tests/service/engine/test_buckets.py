"""Buckets and what surrounds CUDA graphs, as far as the CPU provider takes them."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from bundle.manifest import GraphSpec, TensorSpec
from bundle.store import Bundle
from service.engine.devices import Device
from service.engine.runtimes import onnx
from service.engine.runtimes.buckets import Buckets, ladder
from tests.service.engine.fakes import Array
from tests.support.bundles import publish

CPU = Device("cpu")
SIZES = (1, 2, 4, 8)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return publish(tmp_path, kind="conv", labels=["cat", "dog"])


@pytest.fixture
def plain(bundle: Bundle) -> onnx.OnnxRuntime:
    return onnx.OnnxRuntime(bundle.path / "decode.onnx", bundle.manifest.graphs["decode"], CPU, 1, False, 16)


@pytest.fixture
def buckets(bundle: Bundle, plain: onnx.OnnxRuntime) -> Buckets:
    return Buckets(plain._session, bundle.manifest.graphs["decode"], CPU, SIZES)


def some(rows: int, seed: int = 0) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    return {"z": rng.standard_normal((rows, 4), dtype=np.float32), "label": np.arange(rows) % 2}


def contents(answer: Mapping[str, Array]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in answer.items()}


@pytest.mark.parametrize("rows", SIZES)
def test_bucket_gives_the_bytes_of_a_plain_run(plain: onnx.OnnxRuntime, buckets: Buckets, rows: int) -> None:
    inputs = some(rows)
    found = buckets.run(inputs, ["pixels", "image"], ort.RunOptions())
    assert contents(found) == contents(plain.run(inputs, ["pixels", "image"]))


def test_answers_are_memory_of_their_own(buckets: Buckets) -> None:
    first = buckets.run(some(4), ["image"], ort.RunOptions())["image"]
    before = first.tobytes()
    buckets.run(some(4, seed=1), ["image"], ort.RunOptions())
    assert first.tobytes() == before
    first[:] = 7
    assert buckets.run(some(4), ["image"], ort.RunOptions())["image"].tobytes() == before


def test_only_the_sizes_of_the_ladder_fit(buckets: Buckets) -> None:
    assert [rows for rows in range(1, 10) if buckets.fits(rows)] == [*SIZES]


def test_threads_that_share_a_bucket_get_their_own_answers(plain: onnx.OnnxRuntime, buckets: Buckets) -> None:
    expected = [contents(plain.run(some(4, seed), ["image"])) for seed in range(20)]
    found: dict[int, dict[str, bytes]] = {}

    def turn(first: int) -> None:
        for seed in range(first, 20, 2):
            found[seed] = contents(buckets.run(some(4, seed), ["image"], ort.RunOptions()))

    threads = [threading.Thread(target=turn, args=(first,)) for first in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(20)] == expected


def test_each_size_has_an_id_of_its_own_that_is_not_0(buckets: Buckets) -> None:
    class Options:
        def __init__(self) -> None:
            self.options = ort.RunOptions()

        def add_run_config_entry(self, key: str, value: str) -> None:
            ids.append((key, int(value)))

    ids: list[tuple[str, int]] = []
    buckets._session = type("Session", (), {"run_with_iobinding": lambda *_: None})()
    for rows in SIZES:
        buckets.run(some(rows), ["image"], Options())
    assert {key for key, _ in ids} == {"gpu_graph_id"}
    assert len({number for _, number in ids}) == len(SIZES)
    assert min(number for _, number in ids) > 0


def test_ladder_climbs_in_powers_of_two_to_the_largest_batch(bundle: Bundle) -> None:
    spec = bundle.manifest.graphs["decode"]
    assert ladder(spec, 1) == (1,)
    assert ladder(spec, 16) == (1, 2, 4, 8, 16)
    assert ladder(spec, 20) == (1, 2, 4, 8, 16, 20)


def test_graph_with_further_free_axes_has_no_ladder() -> None:
    tensor = TensorSpec(name="noise", dtype="float32", shape=("n", "k", 4))
    assert ladder(GraphSpec.model_construct(inputs=[tensor], outputs=[]), 8) == ()


@pytest.mark.parametrize("refuses", [True, False])
def test_session_records_cuda_graphs_unless_it_refuses_to(
    refuses: bool, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = onnx._session, []

    def on_cpu(model: str | bytes, threads: int, wanted: onnx.Providers) -> Any:
        asked.append(wanted[0][1].get("enable_cuda_graph"))
        if refuses and asked[-1]:
            raise RuntimeError("a node runs on the CPU")
        return plain(model, threads, onnx.providers(CPU, None))

    monkeypatch.setattr(onnx, "_session", on_cpu)
    wanted = onnx.providers(Device("cuda"), None)
    _, sizes = onnx._open(bundle.path / "decode.onnx", 1, wanted, SIZES)
    assert sizes == (() if refuses else SIZES)
    assert asked == (["1", None] if refuses else ["1"])


def test_cpu_runs_any_size_as_it_is(plain: onnx.OnnxRuntime) -> None:
    assert plain.ladder == ()
