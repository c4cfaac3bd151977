"""onnxruntime: interfaces, provider options and IO binding, as far as the CPU provider takes them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from bundle.golden import load_golden
from bundle.manifest import GraphSpec, TensorSpec
from bundle.store import Bundle
from service.engine.backends import open_backend
from service.engine.devices import Device
from service.engine.runtimes import onnx
from service.engine.runtimes.base import RuntimeLoadError
from service.errors import StartupError
from service.settings import Settings
from tests.support.bundles import publish, reference

HAS_CUDA = "CUDAExecutionProvider" in ort.get_available_providers()
CPU = Device("cpu")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return publish(tmp_path, kind="conv", labels=["cat", "dog"])


def load(bundle: Bundle, spec: GraphSpec | None = None, device: Device = CPU) -> onnx.OnnxRuntime:
    spec = spec or bundle.manifest.graphs["decode"]
    return onnx.OnnxRuntime(bundle.path / "decode.onnx", spec, device, 1, False, 16)


def test_answers_are_those_of_the_reference_implementation(bundle: Bundle) -> None:
    inputs = {"z": np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4), "label": np.array([0, 1, 0, 1, 1])}
    found = load(bundle).run(inputs, ["image", "pixels"])
    expected = reference(bundle, "decode", inputs)
    np.testing.assert_allclose(found["image"], expected["image"], atol=1e-5)
    assert found["pixels"].dtype == np.uint8
    assert np.abs(found["pixels"].astype(int) - expected["pixels"]).max() <= 1


def test_only_the_outputs_that_are_wanted_come_back_in_their_order(bundle: Bundle) -> None:
    inputs = load_golden(bundle.path / "golden.npz")["decode"].inputs
    assert list(load(bundle).run(inputs, ["pixels"])) == ["pixels"]
    assert list(load(bundle).run(inputs, ["pixels", "image"])) == ["pixels", "image"]


def test_io_binding_gives_the_same_bytes_as_a_plain_run(bundle: Bundle) -> None:
    inputs = load_golden(bundle.path / "golden.npz")["decode"].inputs
    runtime = load(bundle)
    plain = runtime.run(inputs, ["pixels", "image"])
    bound = onnx.run_bound(runtime._session, inputs, ["pixels", "image"], CPU)
    assert {name: array.tobytes() for name, array in bound.items()} == {
        name: array.tobytes() for name, array in plain.items()
    }


def test_arrays_of_an_earlier_bound_run_are_not_written_to_by_a_later_one(bundle: Bundle) -> None:
    inputs = load_golden(bundle.path / "golden.npz")["decode"].inputs
    runtime = load(bundle)
    first = onnx.run_bound(runtime._session, inputs, ["image"], CPU)["image"]
    before = first.tobytes()
    onnx.run_bound(runtime._session, {**inputs, "z": inputs["z"] + 1}, ["image"], CPU)
    assert first.tobytes() == before


def test_file_that_is_no_graph_is_named(tmp_path: Path, bundle: Bundle) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(b"no graph at all")
    with pytest.raises(RuntimeLoadError, match=r"noise\.onnx"):
        onnx.OnnxRuntime(path, bundle.manifest.graphs["decode"], CPU, 1, False, 16)


def test_graph_with_another_interface_than_the_manifest_says_is_refused(bundle: Bundle) -> None:
    spec = bundle.manifest.graphs["decode"]
    other = spec.model_copy(update={"inputs": [TensorSpec(name="w", dtype="float32", shape=("n", 4))]})
    with pytest.raises(RuntimeLoadError, match="the manifest says"):
        load(bundle, other)


def test_cuda_options_pin_the_device_and_leave_out_low_precision() -> None:
    (name, options), *rest = onnx.providers(Device("cuda", 2), None)
    assert name == "CUDAExecutionProvider"
    assert options["device_id"] == "2"
    assert options["use_tf32"] == "0"
    assert rest == []


def test_tensorrt_comes_first_with_a_profile_for_every_batch_size(bundle: Bundle) -> None:
    profile = onnx.tensorrt_profile(bundle.manifest.graphs["decode"], 32)
    names = [name for name, _ in onnx.providers(Device("cuda", 1), profile)]
    assert names == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    options = onnx.providers(Device("cuda", 1), profile)[0][1]
    assert options["device_id"] == "1"
    assert options["trt_fp16_enable"] == "0"
    assert options["trt_profile_min_shapes"] == "z:1x4,label:1"
    assert options["trt_profile_max_shapes"] == "z:32x4,label:32"


def test_graph_with_further_free_axes_gets_no_tensorrt_profile() -> None:
    tensor = TensorSpec(name="tokens", dtype="int64", shape=("n", "length"))
    spec = GraphSpec.model_construct(inputs=[tensor])
    assert onnx.tensorrt_profile(spec, 8) == {}


def test_session_that_fell_back_to_another_provider_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = onnx._session

    def fall_back(model: str | bytes, threads: int, _: onnx.Providers) -> object:
        return plain(model, threads, onnx.providers(CPU, None))

    monkeypatch.setattr(onnx, "_session", fall_back)
    with pytest.raises(RuntimeLoadError, match="was loaded on CPUExecutionProvider; expected CUDAExecutionProvider"):
        load(bundle, device=Device("cuda"))


def test_session_has_its_threads_and_never_falls_back_by_itself(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[ort.SessionOptions, dict[str, object]]] = []
    plain = ort.InferenceSession

    def remember(model: str, options: ort.SessionOptions, **others: object) -> object:
        made.append((options, others))
        return plain(model, options, **others)

    monkeypatch.setattr(ort, "InferenceSession", remember)
    onnx.OnnxRuntime(bundle.path / "decode.onnx", bundle.manifest.graphs["decode"], CPU, 3, False, 16)
    ((options, others),) = made
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    assert others == {"providers": [("CPUExecutionProvider", {})], "enable_fallback": 0}


@pytest.mark.parametrize("reason", [onnx.why_not_cuda, onnx.why_not_tensorrt])
def test_listed_provider_whose_libraries_are_missing_is_not_usable(
    reason: Callable[[int], str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = onnx._session
    monkeypatch.setattr(ort, "get_available_providers", lambda: [onnx.TENSORRT, onnx.CUDA, onnx.CPU])
    monkeypatch.setattr(onnx, "_session", lambda model, threads, _: plain(model, threads, onnx.providers(CPU, None)))
    assert "libraries or its driver are missing" in str(reason(0))


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_tensorrt_that_is_missing_where_cuda_is_there_ends_the_start(
    device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "why_not_cuda", lambda _: None)
    with pytest.raises(StartupError, match="tensorrt is set, but there is no TensorrtExecutionProvider"):
        open_backend(Settings(device=device, tensorrt=True))


@pytest.mark.skipif(HAS_CUDA, reason="CUDA is there")
def test_missing_cuda_is_explained_with_the_providers_there_are() -> None:
    reason = onnx.why_not_cuda(0)
    assert reason is not None
    assert "CUDAExecutionProvider" in reason
    assert "CPUExecutionProvider" in reason


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_CUDA, reason="needs CUDAExecutionProvider")
def test_cuda_agrees_with_the_golden_outputs(bundle: Bundle) -> None:
    golden = load_golden(bundle.path / "golden.npz")["decode"]
    runtime = load(bundle, device=Device("cuda"))
    found = runtime.run(golden.inputs, ["image", "pixels"])
    assert runtime.provider == "CUDAExecutionProvider"
    np.testing.assert_allclose(found["image"], golden.outputs["image"], atol=1e-4)
