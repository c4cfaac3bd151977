"""The runtime that the settings ask for, on the device that they ask for."""

from abc import ABC, abstractmethod
from pathlib import Path

from bundle.hashing import check
from bundle.manifest import GraphName
from bundle.optional import read_optional
from bundle.store import Bundle
from service.engine.devices import Device, resolve_device
from service.engine.runtimes import onnx, torchscript
from service.engine.runtimes.base import Runtime, RuntimeLoadError
from service.errors import StartupError
from service.settings import Settings


class Backend(ABC):
    """Loads graphs of bundles, all in the same way."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The setting `runtime` that asks for it."""

    @property
    @abstractmethod
    def device(self) -> Device:
        """Where its graphs run."""

    @abstractmethod
    def load(self, bundle: Bundle, graph: GraphName, max_batch_size: int) -> Runtime:
        """Load one graph of a verified bundle.

        Raises:
            RuntimeLoadError: If this graph cannot be loaded.
            DamagedBundleError: If a file that is not in the manifest is damaged.
        """


class OnnxBackend(Backend):
    """onnxruntime.

    Raises:
        StartupError: If the device cannot be used, or TensorRT on it where it is asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self._device = resolve_device(settings.device, onnx.why_not_cuda)
        self._threads = settings.threads
        self._tensorrt = settings.tensorrt and self._device.kind == "cuda"
        reason = onnx.why_not_tensorrt(self._device.index) if self._tensorrt else None
        if reason is not None:
            raise StartupError(f"tensorrt is set, but {reason}; leave it off, or mend that")

    @property
    def name(self) -> str:
        """See `Backend`."""
        return "onnxruntime"

    @property
    def device(self) -> Device:
        """See `Backend`."""
        return self._device

    def load(self, bundle: Bundle, graph: GraphName, max_batch_size: int) -> Runtime:
        """See `Backend`."""
        spec = bundle.manifest.graphs[graph]
        path = bundle.path / spec.file.path
        return onnx.OnnxRuntime(path, spec, self._device, self._threads, self._tensorrt, max_batch_size)


class TorchScriptBackend(Backend):
    """torch, from the bundle's optional files.

    Raises:
        StartupError: If torch is not installed or the device cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        torchscript.limit_threads(settings.threads)
        self._device = resolve_device(settings.device, torchscript.why_not_cuda)

    @property
    def name(self) -> str:
        """See `Backend`."""
        return "torchscript"

    @property
    def device(self) -> Device:
        """See `Backend`."""
        return self._device

    def load(self, bundle: Bundle, graph: GraphName, max_batch_size: int) -> Runtime:  # noqa: ARG002
        """See `Backend`."""
        path = _torchscript_file(bundle, graph)
        return torchscript.TorchScriptRuntime(path, bundle.manifest.graphs[graph], self._device)


def open_backend(settings: Settings) -> Backend:
    """The backend for these settings.

    Raises:
        StartupError: If it cannot be had; the message says what there is instead.
    """
    return TorchScriptBackend(settings) if settings.runtime == "torchscript" else OnnxBackend(settings)


def _torchscript_file(bundle: Bundle, graph: GraphName) -> Path:
    name = f"{graph}.pt"
    optional = read_optional(bundle.path)
    found = optional.files.get(name) if optional else None
    if found is None:
        refused = optional.unavailable.get(name) if optional else None
        raise RuntimeLoadError(
            f"{bundle.path / name} is not there: {refused or 'the bundle came without it'}; "
            f"`python -m training export {bundle.manifest.name}` makes it, or set runtime to 'onnxruntime'"
        )
    check(bundle.path, found)
    return bundle.path / found.path
