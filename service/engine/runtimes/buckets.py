"""Batches of a few fixed sizes, each with buffers of its own at fixed addresses: what CUDA graphs ask for.

Launching a small network's kernels one by one costs a GPU more than running them. onnxruntime's CUDA provider records
them once for each id and replays the record, if shapes and addresses stay (`enable_cuda_graph` and `gpu_graph_id`,
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html#using-cuda-graphs-preview).

All of this runs on the CPU provider too, which is how it is tested; with CUDA it has never been run, nor measured. On
the CPU it gains nothing: see docs/decisions/0004-what-the-engine-spends.md.
"""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bundle.manifest import GraphSpec, TensorSpec
from service.engine.devices import Device
from service.engine.runtimes.base import Arrays

Array = NDArray[Any]

UNRECORDED = "-1"  # the id of runs that are neither recorded nor replayed
_EP = "CUDAExecutionProvider"
_log = logging.getLogger(__name__)


def ladder(spec: GraphSpec, max_batch_size: int) -> tuple[int, ...]:
    """Powers of two up to the largest batch, and that itself; none if the graph has further free axes."""
    if any(isinstance(axis, str) for tensor in (*spec.inputs, *spec.outputs) for axis in tensor.shape[1:]):
        return ()
    powers = [1 << power for power in range(max_batch_size.bit_length()) if 1 << power < max_batch_size]
    return (*powers, max_batch_size)


class Buckets:
    """Runs a session at the batch sizes of a ladder, one run at a time.

    Args:
        session: Of onnxruntime, with the option `enable_cuda_graph` if its provider is CUDA.
        spec: The graph's interface; all axes but the first are fixed.
        device: Where inputs and outputs live.
        sizes: The ladder.
    """

    def __init__(self, session: Any, spec: GraphSpec, device: Device, sizes: Sequence[int]) -> None:
        self._session = session
        self._lock = threading.Lock()  # a record is not safe in threads, and its buffers are shared
        self._buckets = {size: _Bucket(session, spec, device, size) for size in sizes}

    def fits(self, rows: int) -> bool:
        """Whether there is a bucket of exactly this size."""
        return rows in self._buckets

    def run(self, inputs: Arrays, outputs: Sequence[str], options: Any) -> dict[str, Array]:
        """Run a batch that fits. Answers are copies: the buffers are used again.

        Args:
            inputs: All inputs of the graph.
            outputs: Names of the outputs that are wanted.
            options: `RunOptions` of onnxruntime; they get the id.
        """
        bucket = self._buckets[len(next(iter(inputs.values())))]
        options.add_run_config_entry("gpu_graph_id", str(bucket.size))  # any number but 0, one for each size
        with self._lock:
            bucket.put(inputs)
            self._session.run_with_iobinding(bucket.binding, options)
            return bucket.get(outputs)


class _Bucket:
    """The buffers of one size: on the device, where the graph finds them, and beside them on the host."""

    def __init__(self, session: Any, spec: GraphSpec, device: Device, size: int) -> None:
        self.size = size
        self.binding = session.io_binding()
        self._inputs = {tensor.name: _Buffer(tensor, size, device) for tensor in spec.inputs}
        self._outputs = {tensor.name: _Buffer(tensor, size, device) for tensor in spec.outputs}
        for name, buffer in self._inputs.items():
            self.binding.bind_ortvalue_input(name, buffer.there)
        for name, buffer in self._outputs.items():
            self.binding.bind_ortvalue_output(name, buffer.there)

    def put(self, inputs: Arrays) -> None:
        for name, array in inputs.items():
            self._inputs[name].put(array)
        self.binding.synchronize_inputs()

    def get(self, outputs: Sequence[str]) -> dict[str, Array]:
        self.binding.synchronize_outputs()
        return {name: self._outputs[name].get() for name in outputs}


class _Buffer:
    """A tensor on the device, and pinned memory of the host through which it is copied."""

    def __init__(self, tensor: TensorSpec, size: int, device: Device) -> None:
        shape = (size, *(int(axis) for axis in tensor.shape[1:]))
        kind = np.dtype(tensor.dtype).type
        self.there = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, device.kind, device.index)
        self._here = _host_value(shape, kind, device)

    def put(self, array: Array) -> None:
        self._here.update_inplace(array)
        self.there.update_inplace(self._here)

    def get(self) -> Array:
        self._here.update_inplace(self.there)
        return np.array(self._here.numpy())


def _host_value(shape: tuple[int, ...], kind: type, device: Device) -> Any:
    if device.kind == "cuda":
        for found in ort.get_ep_devices():
            info = found.memory_info(ort.OrtDeviceMemoryType.HOST_ACCESSIBLE) if found.ep_name == _EP else None
            if info is not None and info.device_id == device.index:
                return ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, memory_info=info)
        _log.info("onnxruntime offers no pinned memory for %s; copies go through ordinary memory", device)
    return ort.OrtValue.ortvalue_from_shape_and_type(shape, kind, "cpu", 0)
