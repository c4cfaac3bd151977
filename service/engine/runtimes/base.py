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

    @property
    def ladder(self) -> Sequence[int]:
        """Batch sizes that it has prepared for, ascending: batches are padded up to the next of them. None: any."""
        return ()

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
        """Give the memory back; `run` must not be called any more. What runs meanwhile runs to its end."""

    def interrupt(self, thread: int) -> None:  # noqa: B027 (not every runtime can)
        """Ask the run of one thread, by its identity, to end soon by raising; other threads' runs go on."""

    def out_of_memory(self, error: Exception) -> bool:
        """Whether a run failed with this because memory ran out: fewer rows at once may do."""
        return isinstance(error, MemoryError)
