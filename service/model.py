"""A model that serves: what it is, and the queues of its graphs."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import GraphName, Manifest
from service.engine.batcher import Batcher, Refused
from service.engine.places import Place
from service.engine.rows import Rows
from service.engine.timings import Timings
from service.errors import GraphMissingError, InvalidRequestError, OverloadedError
from service.formats.render import Identity

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Model:
    """A bundle that serves.

    Whoever uses it holds it until the last graph has been run, and no longer: a version that the catalog has let go of
    is unloaded when nobody holds it any more.

    Attributes:
        manifest: What it is.
        digest: Stands for all of its files.
        aliases: Names of this version, sorted; the catalog keeps them up to date.
        runtime: What runs its graphs, as in the settings.
        provider: What they really run on, as the runtime says.
        batchers: The queue of each graph.
    """

    manifest: Manifest
    digest: str
    aliases: list[str]
    runtime: str
    provider: str
    batchers: Mapping[GraphName, Batcher] = field(repr=False)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """The model's version."""
        return self.manifest.version

    @cached_property
    def ref(self) -> str:
        """name@version."""
        return f"{self.name}@{self.version}"

    @cached_property
    def identity(self) -> Identity:
        """How answers name it."""
        return Identity(self.name, self.version, self.digest, self.runtime, self.provider)

    @cached_property
    def values(self) -> int:
        """Of one image: channels x height x width."""
        image = self.manifest.image
        return image.channels * image.height * image.width

    @cached_property
    def inputs(self) -> dict[GraphName, frozenset[str]]:
        """Names of what each graph takes."""
        return {name: frozenset(tensor.name for tensor in spec.inputs) for name, spec in self.manifest.graphs.items()}

    @cached_property
    def _outputs(self) -> dict[GraphName, frozenset[str]]:
        return {name: frozenset(tensor.name for tensor in spec.outputs) for name, spec in self.manifest.graphs.items()}

    @cached_property
    def _rows(self) -> dict[GraphName, dict[str, tuple[np.dtype[Any], tuple[int | str, ...]]]]:
        """Type and shape of a row of each input, in order."""
        return {
            name: {tensor.name: (np.dtype(tensor.dtype), tuple(tensor.shape[1:])) for tensor in spec.inputs}
            for name, spec in self.manifest.graphs.items()
        }

    def admit(self, graph: GraphName, rows: int, deadline: float | None) -> None:
        """Refuse at once, before anything is drawn or decoded, what `run` would refuse.

        Raises:
            ServiceError: What `Batcher.admit` raises.
        """
        self._batcher(graph).admit(rows, deadline)

    def promise(self, graph: GraphName, rows: int, left: float | None) -> Place | OverloadedError | None:
        """What `Batcher.promise` says; None if the model has no such graph."""
        batcher = self.batchers.get(graph)
        return None if batcher is None else batcher.promise(rows, left)

    def backlog_s(self, graph: GraphName) -> float:
        """What `Batcher.left_to_do_s` says; 0 if the model has no such graph."""
        batcher = self.batchers.get(graph)
        return 0.0 if batcher is None else batcher.left_to_do_s()

    def refused(self, graph: GraphName, error: Refused) -> Refused:
        """Count an error that `run` does not know of as one of the graph's; for whoever asks to raise, or to answer."""
        return self._batcher(graph).refused(error)

    def run(
        self,
        graph: GraphName,
        inputs: Mapping[str, Rows],
        outputs: Sequence[str],
        deadline: float | None = None,
        timings: Timings | None = None,
        *,
        alone: bool = False,
        place: Place | None = None,
    ) -> Awaitable[dict[str, Array]]:
        """Run a graph, in batches with whoever else asks for it.

        Row i of the answer depends on row i of the inputs alone, to the bit.

        Args:
            graph: Which one.
            inputs: All inputs of the graph, of the manifest's types and shapes, with the same first axis n >= 1. They
                are arrays, or what makes them when they run.
            outputs: Names of the outputs that are wanted.
            deadline: Loop time after which nobody wants the answer.
            timings: What the run takes is added to them.
            alone, place: As for `Batcher.run`.

        Returns:
            Those outputs, first axis n.

        Raises:
            GraphMissingError: If the model has no such graph.
            InvalidRequestError: If inputs or outputs do not fit the manifest.
            ServiceError: What `Batcher.run` raises.
        """
        batcher = self._batcher(graph)
        checked = self._checked(graph, inputs, outputs)
        return batcher.run(checked, outputs, deadline, timings, alone=alone, place=place)

    def _batcher(self, graph: GraphName) -> Batcher:
        batcher = self.batchers.get(graph)
        if batcher is None:
            raise GraphMissingError(f"model {self.name!r} has no graph {graph!r}; it has: {', '.join(self.batchers)}")
        return batcher

    def _checked(self, graph: GraphName, inputs: Mapping[str, Rows], outputs: Sequence[str]) -> dict[str, Rows]:
        rows = self._rows[graph]
        if inputs.keys() != rows.keys():
            raise InvalidRequestError(
                f"graph {graph!r} of {self.name!r} takes {[*rows]}; it was given {sorted(inputs)}"
            )
        if not outputs or not self._outputs[graph].issuperset(outputs):
            known = sorted(self._outputs[graph])
            raise InvalidRequestError(f"graph {graph!r} of {self.name!r} gives {known}; asked for {sorted(outputs)}")
        found = {name: inputs[name] for name in rows}
        n = 0
        for name, (dtype, row) in rows.items():
            array = found[name]
            shape = array.shape
            if array.dtype != dtype or not shape or (shape[1:] != row and not _fits(shape[1:], row)):
                raise InvalidRequestError(
                    f"{name!r} is {array.dtype}{array.shape}; graph {graph!r} of {self.name!r} takes "
                    f"{dtype}({', '.join(map(str, ('n', *row)))})"
                )
            n = n or shape[0]
            if shape[0] != n or not n:
                raise InvalidRequestError(
                    f"{name!r} has {shape[0]} rows, {next(iter(rows))!r} has {n}; expected equally many, at least 1"
                )
        return found


def _fits(row: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    pairs = zip(row, wanted, strict=False)
    return len(row) == len(wanted) and all(isinstance(axis, str) or axis == size for size, axis in pairs)
