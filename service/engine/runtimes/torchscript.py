"""TorchScript, the reference runtime: the same graphs from a bundle's optional `.pt` files, by torch.

torch is an extra and is imported only when this runtime is asked for.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from bundle.manifest import GraphSpec
from service.engine.devices import Device
from service.engine.runtimes.base import Arrays, Runtime, RuntimeLoadError
from service.errors import StartupError

Array = NDArray[Any]


class TorchScriptRuntime(Runtime):
    """A traced graph, which takes its inputs and gives its outputs in the manifest's order.

    Args:
        path: The `.pt` file, hash already checked.
        spec: The graph's interface in the manifest.
        device: Where it runs.

    Raises:
        RuntimeLoadError: If torch cannot load the file.
    """

    def __init__(self, path: Path, spec: GraphSpec, device: Device) -> None:
        self._torch: Any = import_torch()
        self._device = self._torch.device(str(device))
        self._inputs = [tensor.name for tensor in spec.inputs]
        self._outputs = [tensor.name for tensor in spec.outputs]
        try:
            self._module = self._torch.jit.load(str(path), map_location=self._device).eval()
        except (RuntimeError, ValueError, OSError) as error:
            raise RuntimeLoadError(f"{path} cannot be loaded by torch: {error}") from error

    @property
    def provider(self) -> str:
        """Such as `torch:cpu`."""
        return f"torch:{self._device}"

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """See `Runtime`."""
        torch = self._torch
        # Where torch can fuse kernels (on a GPU), it starts after a few runs, and roundings change: the bytes may not.
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            tensors = [torch.from_numpy(inputs[name]).to(self._device) for name in self._inputs]
            found = self._module(*tensors)
            found = (found,) if isinstance(found, torch.Tensor) else found
            named = dict(zip(self._outputs, found, strict=True))
            return {name: named[name].cpu().numpy() for name in outputs}

    def out_of_memory(self, error: Exception) -> bool:
        """See `Runtime`: on a GPU torch has a class for it, on a CPU only a sentence."""
        known = (MemoryError, self._torch.OutOfMemoryError)
        return isinstance(error, known) or "can't allocate memory" in str(error)

    def close(self) -> None:
        """See `Runtime`."""
        del self._module


def import_torch() -> ModuleType:
    """torch, or a clear word that it is not installed.

    Raises:
        StartupError: If it is not.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise StartupError(
            f"runtime is 'torchscript', which needs torch ({error}); install it, or set runtime to 'onnxruntime'"
        ) from error


def why_not_cuda(index: int) -> str | None:
    """Why torch cannot use this CUDA device; None if it can."""
    torch: Any = import_torch()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return None if index < count else f"torch {torch.__version__} sees {count} CUDA devices, so there is no {index}"


def limit_threads(threads: int) -> None:
    """CPU threads of one run, for the whole process."""
    torch: Any = import_torch()
    torch.set_num_threads(threads)
