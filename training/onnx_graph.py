"""One exported graph, run by onnxruntime on the CPU: arrays in, arrays out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

Array = NDArray[Any]

_ERRORS_ONLY = 3


class OnnxGraph:
    """An ONNX graph with named inputs and outputs, whose first axes are the batch.

    Args:
        source: Path of a self-contained ONNX file, or its bytes.
        threads: CPU threads of one run.

    Attributes:
        inputs, outputs: Names, in the order of the graph.
        shapes: Shape of each input; a free axis is a name or None.
    """

    def __init__(self, source: Path | str | bytes, threads: int = 1) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        content = source if isinstance(source, bytes) else str(source)
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs: tuple[str, ...] = tuple(tensor.name for tensor in self._session.get_inputs())
        self.shapes: dict[str, tuple[int | str | None, ...]] = {
            tensor.name: tuple(tensor.shape) for tensor in self._session.get_inputs()
        }
        self.outputs: tuple[str, ...] = tuple(tensor.name for tensor in self._session.get_outputs())

    @property
    def metadata(self) -> dict[str, str]:
        """The key-value pairs that the file carries about itself."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, **arrays: Array) -> dict[str, Array]:
        """Run the graph once on the whole of `arrays`.

        Args:
            arrays: One array for each of `inputs`, all with the same first axis.

        Returns:
            One array for each of `outputs`.

        Raises:
            ValueError: If an input is missing, unknown, or of another length than the others.
        """
        self._check(arrays)
        return dict(zip(self.outputs, self._session.run(None, arrays), strict=True))

    def batches(self, batch_size: int, **arrays: Array) -> Iterator[dict[str, Array]]:
        """Run the graph on slices of `batch_size` rows, one after the other; arguments and errors as for `run`."""
        self._check(arrays)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; expected at least 1")
        length = len(next(iter(arrays.values())))
        for start in range(0, length, batch_size):
            yield self.run(**{name: array[start : start + batch_size] for name, array in arrays.items()})

    def run_batched(self, batch_size: int, **arrays: Array) -> dict[str, Array]:
        """Run the graph on slices of `batch_size` rows and join the outputs; arguments and errors as for `run`."""
        parts = list(self.batches(batch_size, **arrays))
        if not parts:
            return self.run(**arrays)
        return {name: np.concatenate([part[name] for part in parts]) for name in self.outputs}

    def _check(self, arrays: dict[str, Array]) -> None:
        if set(arrays) != set(self.inputs):
            raise ValueError(f"graph takes inputs {sorted(self.inputs)}; it was given {sorted(arrays)}")
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"inputs of a graph must have equally many rows; they have {lengths}")
