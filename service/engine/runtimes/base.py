"""The one interface behind which a graph runs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = Mapping[str, Array]


class RuntimeLoadError(Exception):
    """A graph's file cannot be loaded by this runtime; the message says which file and why."""


class Runtime(ABC):
    """One graph, loaded. `run` may be called from several threads at once."""

    @property
    @abstractmethod
    def provider(self) -> str:
        """What the graph really runs on, such as `CPUExecutionProvider`."""

    @abstractmethod
    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        """Run the graph once.

        Args:
            inputs: All inputs of the graph, contiguous, with the same first axis n.
            outputs: Names of the outputs that are wanted.

        Returns:
            Those outputs, first axis n, in memory that nobody else writes to.

        Raises:
            Exception: Whatever the runtime raises on inputs that it cannot run.
        """

    @abstractmethod
    def close(self) -> None:
        """Give the memory back; `run` must not be called any more."""
