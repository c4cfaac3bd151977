"""onnxruntime: the CPU provider, and CUDA or TensorRT with IO binding.

The GPU half is written from the documentation of onnxruntime and has been run only as far as the CPU provider takes
it: see docs/decisions for what is unmeasured.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bundle.manifest import GraphSpec
from service.engine.devices import Device
from service.engine.runtimes.base import Arrays, Runtime, RuntimeLoadError
from service.engine.runtimes.buckets import UNRECORDED, Buckets, ladder

Array = NDArray[Any]
Providers = list[tuple[str, dict[str, str]]]

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_log = logging.getLogger(__name__)
_FATAL_ONLY = 4  # errors are raised too: the log would say them twice
# y = -x, opset 17: the smallest graph that shows whether a provider works, without a need for the onnx package.
_NEGATION = bytes.fromhex(
    "080812003a340a0b0a017812017922034e65671201675a100a0178120b0a09080112050a0312016e62100a0179120b0a09080112050a0312016e"
    "42040a001011"
)


class OnnxRuntime(Runtime):
    """A graph in one session, which all lanes share: onnxruntime allows concurrent runs.

    Args:
        path: The graph's file, hash already checked.
        spec: Its interface in the manifest.
        device: Where it runs.
        threads: CPU threads of one run.
        tensorrt: On CUDA, let TensorRT compile it.
        max_batch_size: Largest batch that TensorRT prepares for.

    Raises:
        RuntimeLoadError: If the file is no graph, has another interface, or the provider is not the one asked for.
    """

    def __init__(
        self, path: Path, spec: GraphSpec, device: Device, threads: int, tensorrt: bool, max_batch_size: int
    ) -> None:
        profile = tensorrt_profile(spec, max_batch_size) if tensorrt else None
        # TensorRT records graphs in another way, for one size only.
        sizes = ladder(spec, max_batch_size) if device.kind == "cuda" and not tensorrt else ()
        wanted = providers(device, profile)
        self._session, self._ladder = _open(path, threads, wanted, sizes)
        self._device = device
        self._running: dict[int, ort.RunOptions] = {}  # by thread
        self._check_provider(path, wanted[0][0])
        self._check_interface(path, spec)
        self._buckets = Buckets(self._session, spec, device, self._ladder)

    @property
    def provider(self) -> str:
        """The first of the session's providers: the others only take what it cannot run."""
        return str(self._session.get_providers()[0])

    @property
    def ladder(self) -> Sequence[int]:
        """See `Runtime`: sizes for which CUDA graphs are recorded."""
        return self._ladder

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """See `Runtime`."""
        thread = threading.get_ident()
        options = self._running[thread] = ort.RunOptions()
        try:
            if self._device.kind == "cpu":
                return dict(zip(outputs, self._session.run(list(outputs), dict(inputs), options), strict=True))
            if self._buckets.fits(len(next(iter(inputs.values())))):
                return self._buckets.run(inputs, outputs, options)
            options.add_run_config_entry("gpu_graph_id", UNRECORDED)
            return run_bound(self._session, inputs, outputs, self._device, options)
        finally:
            del self._running[thread]

    def interrupt(self, thread: int) -> None:
        """See `Runtime`: onnxruntime looks between two operators, and at each turn of a loop."""
        options = self._running.get(thread)
        if options is not None:
            options.terminate = True

    def out_of_memory(self, error: Exception) -> bool:
        """See `Runtime`."""
        return isinstance(error, MemoryError) or any(word in str(error).lower() for word in _OUT_OF_MEMORY)

    def close(self) -> None:
        """See `Runtime`."""
        del self._buckets, self._session

    def _check_provider(self, path: Path, wanted: str) -> None:
        if self.provider != wanted:
            raise RuntimeLoadError(f"{path} was loaded on {self.provider}; expected {wanted}")

    def _check_interface(self, path: Path, spec: GraphSpec) -> None:
        for side, found, expected in (
            ("inputs", self._session.get_inputs(), spec.inputs),
            ("outputs", self._session.get_outputs(), spec.outputs),
        ):
            has = {tensor.name: (_ONNX_TYPES.get(tensor.type, tensor.type), len(tensor.shape)) for tensor in found}
            lists = {tensor.name: (tensor.dtype, len(tensor.shape)) for tensor in expected}
            if has != lists:
                raise RuntimeLoadError(f"{path} has the {side} {has} (type, axes); the manifest says {lists}")


# onnxruntime has no error class of its own for this: what its allocators, C++ and CUDA say.
_OUT_OF_MEMORY = (
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "available memory of",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)
_ONNX_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8"}


def why_not_cuda(index: int) -> str | None:
    """Why onnxruntime cannot use this CUDA device; None if it can.

    It is tried, since a provider that is listed may lack its libraries or its driver.
    """
    return _why_not(CUDA, providers(Device("cuda", index), None))


def why_not_tensorrt(index: int) -> str | None:
    """Why onnxruntime cannot use TensorRT on this CUDA device; None if it can."""
    return _why_not(TENSORRT, providers(Device("cuda", index), {}))


def providers(device: Device, profile: Mapping[str, str] | None) -> Providers:
    """Providers for a session, most wanted first, with every option that matters said outright.

    Args:
        device: CPU or a CUDA device.
        profile: Batch sizes for TensorRT, from `tensorrt_profile`; None leaves TensorRT out.
    """
    if device.kind == "cpu":
        return [(CPU, {})]
    index = str(device.index)
    cuda = {
        "device_id": index,
        "use_tf32": "0",  # 10 bits of mantissa would move pixels beyond the golden tolerance
        "cudnn_conv_algo_search": "HEURISTIC",  # EXHAUSTIVE times algorithms, so that two starts may choose differently
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
    }
    if profile is None:
        return [(CUDA, cuda)]
    return [(TENSORRT, {"device_id": index, "trt_fp16_enable": "0", "trt_int8_enable": "0", **profile}), (CUDA, cuda)]


def tensorrt_profile(spec: GraphSpec, max_batch_size: int) -> dict[str, str]:
    """TensorRT's least, usual and largest shapes, so that it compiles once and not at every new batch size.

    Graphs with further free axes get no profile: TensorRT then builds one from what it sees.
    """
    if any(isinstance(axis, str) for tensor in spec.inputs for axis in tensor.shape[1:]):
        return {}

    def shapes(batch: int) -> str:
        return ",".join(f"{t.name}:{'x'.join(str(axis) for axis in (batch, *t.shape[1:]))}" for t in spec.inputs)

    return {
        "trt_profile_min_shapes": shapes(1),
        "trt_profile_opt_shapes": shapes(max_batch_size),
        "trt_profile_max_shapes": shapes(max_batch_size),
    }


def run_bound(
    session: Any, inputs: Arrays, outputs: Sequence[str], device: Device, options: Any = None
) -> dict[str, Array]:
    """One run with IO binding: inputs are copied to the device once, outputs stay there until all are done."""
    binding = session.io_binding()
    for name, array in inputs.items():
        value = ort.OrtValue.ortvalue_from_numpy(array, device.kind, device.index)
        binding.bind_ortvalue_input(name, value)
    for name in outputs:
        binding.bind_output(name, device.kind, device.index)
    binding.synchronize_inputs()
    session.run_with_iobinding(binding, options)
    binding.synchronize_outputs()
    return dict(zip(outputs, binding.copy_outputs_to_cpu(), strict=True))


def _why_not(provider: str, wanted: Providers) -> str | None:
    available = ort.get_available_providers()
    offer = f"onnxruntime {ort.__version__} offers: {', '.join(available)}"
    if provider not in available:
        return f"there is no {provider} ({offer}; onnxruntime-gpu has more)"
    try:
        session = _session(_NEGATION, 1, wanted)
        session.run(None, {"x": np.ones(1, dtype=np.float32)})
    except Exception as error:  # onnxruntime has a class for each status code, with no common base of its own
        return f"{provider} does not work with {wanted[0][1]}: {error} ({offer})"
    if provider not in session.get_providers():
        return f"{provider} does not load, its libraries or its driver are missing ({offer})"
    return None


def _open(path: Path, threads: int, wanted: Providers, sizes: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """A session, and the sizes for which it records CUDA graphs: none if it refuses to."""
    (provider, options), *rest = wanted
    try:
        if sizes:
            try:
                recording = {**options, "enable_cuda_graph": "1"}
                return _session(str(path), threads, [(provider, recording), *rest]), sizes
            except Exception as error:  # such as: a node runs on the CPU
                _log.info("%s is run without CUDA graphs: %s", path, error)
        return _session(str(path), threads, wanted), ()
    except Exception as error:  # onnxruntime has a class for each status code, with no common base of its own
        raise RuntimeLoadError(f"{path} cannot be loaded by onnxruntime: {error}") from error


def _session(model: str | bytes, threads: int, wanted: Providers) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = _FATAL_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads must cost nothing
    # Without prepacked weights a batch of one goes through another kernel, with another order of summation.
    options.add_session_config_entry("session.disable_prepacking", "0")
    return ort.InferenceSession(model, options, providers=wanted, enable_fallback=0)
