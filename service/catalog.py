"""What is loaded: every version of every bundle in the store, verified and tried before it serves."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import GraphName, Manifest
from bundle.store import Store
from service.engine.backends import Backend, open_backend
from service.engine.batcher import Batcher
from service.engine.lanes import Lanes
from service.engine.loading import LoadedBundle, load_all
from service.engine.observer import EngineObserver, SilentObserver, Source
from service.engine.plan import lane_count
from service.engine.prepare import PreparedGraph
from service.errors import (
    GraphMissingError,
    InvalidRequestError,
    ModelRefusedError,
    StartupError,
    UnknownModelError,
)
from service.settings import Settings

Array = NDArray[Any]

_LONGEST_REF = 130  # name, @ and alias
_VERSION = re.compile(r"[1-9][0-9]*")


@dataclass(frozen=True)
class Model:
    """A bundle that serves.

    Attributes:
        manifest: What it is.
        digest: Stands for all of its files.
        aliases: Names of this version, sorted.
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

    async def run(
        self, graph: GraphName, inputs: Mapping[str, Array], outputs: Sequence[str], deadline: float | None = None
    ) -> dict[str, Array]:
        """Run a graph, in batches with whoever else asks for it.

        Row i of the answer depends on row i of the inputs alone, to the bit.

        Args:
            graph: Which one.
            inputs: All inputs of the graph, of the manifest's types and shapes, with the same first axis n >= 1.
            outputs: Names of the outputs that are wanted.
            deadline: Loop time after which nobody wants the answer.

        Returns:
            Those outputs, first axis n.

        Raises:
            GraphMissingError: If the model has no such graph.
            InvalidRequestError: If inputs or outputs do not fit the manifest.
            ServiceError: What `Batcher.run` raises.
        """
        batcher = self.batchers.get(graph)
        if batcher is None:
            raise GraphMissingError(f"model {self.name!r} has no graph {graph!r}; it has: {', '.join(self.batchers)}")
        return await batcher.run(self._checked(graph, inputs, outputs), outputs, deadline)

    def _checked(self, graph: GraphName, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        spec = self.manifest.graphs[graph]
        names = [tensor.name for tensor in spec.inputs]
        if inputs.keys() != set(names):
            raise InvalidRequestError(f"graph {graph!r} of {self.name!r} takes {names}; it was given {sorted(inputs)}")
        unknown = set(outputs) - {tensor.name for tensor in spec.outputs}
        if unknown or not outputs:
            known = [tensor.name for tensor in spec.outputs]
            raise InvalidRequestError(f"graph {graph!r} of {self.name!r} gives {known}; asked for {sorted(outputs)}")
        rows = len(inputs[names[0]]) if inputs[names[0]].ndim else 0
        for tensor in spec.inputs:
            array = inputs[tensor.name]
            axes = zip(array.shape[1:], tensor.shape[1:], strict=False)
            fits = all(found == wanted or isinstance(wanted, str) for found, wanted in axes)
            if array.dtype != np.dtype(tensor.dtype) or array.ndim != len(tensor.shape) or not fits:
                raise InvalidRequestError(
                    f"{tensor.name!r} is {array.dtype}{array.shape}; graph {graph!r} of {self.name!r} takes "
                    f"{tensor.dtype}({', '.join(str(axis) for axis in tensor.shape)})"
                )
            if len(array) != rows or not rows:
                raise InvalidRequestError(
                    f"{tensor.name!r} has {len(array)} rows, {names[0]!r} has {rows}; expected equally many, at least 1"
                )
        return {name: inputs[name] for name in names}


class Catalog:
    """The loaded models and the lanes that run them; made by `open`."""

    def __init__(self, store: Store, backend: Backend, lanes: Lanes, observer: EngineObserver) -> None:
        self._store = store
        self._backend = backend
        self._lanes = lanes
        self._observer = observer
        self._models: dict[tuple[str, int], Model] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._problems: dict[str, str] = {}
        self._prepared: list[PreparedGraph] = []

    @classmethod
    async def open(cls, settings: Settings, observer: EngineObserver | None = None) -> Self:
        """Load every bundle of the store: hashes, golden outputs, warm-up; damaged ones are kept as problems.

        Raises:
            StartupError: If there is no store, or the device or runtime cannot be used.
        """
        if not settings.store.is_dir():
            raise StartupError(f"store {str(settings.store)!r} is no folder; set `store` to the folder of the bundles")
        observer = observer or SilentObserver()
        backend = await asyncio.to_thread(open_backend, settings)
        store = Store(settings.store)
        loaded, problems = await asyncio.to_thread(load_all, store, backend, settings)
        catalog = cls(store, backend, Lanes(lane_count(settings, backend.device), observer), observer)
        catalog._problems = problems
        for one in loaded:
            catalog._add(one)
        return catalog

    def get(self, ref: str) -> Model:
        """The model that `name`, `name@3` or `name@alias` stands for; `name` is the newest version that serves.

        Raises:
            UnknownModelError: If there is none; names those that there are.
            ModelRefusedError: If its bundle was refused; says why.
        """
        if len(ref) > _LONGEST_REF:
            raise UnknownModelError(f"the model's name has {len(ref)} characters; at most {_LONGEST_REF} can be one")
        name, at, wanted = ref.partition("@")
        serving = sorted(version for known, version in self._models if known == name)
        refused = {key: why for key, why in self._problems.items() if key.partition("@")[0] == name}
        version = self._version(name, wanted) if at else max(serving, default=0)
        model = self._models.get((name, version))
        if model is not None:
            return model
        reasons = [refused.get(f"{name}@{version}")] if at else [*refused.values()]
        if any(reasons):
            why = "; ".join(filter(None, reasons))
            raise ModelRefusedError(
                f"model {ref!r} was refused when it was loaded: {why}; publish it again, or ask for another version"
            )
        if not serving and not refused:
            names = sorted({model.name for model in self.models()})
            known = ", ".join(names) or "none"
            raise UnknownModelError(f"there is no model {name!r}; there are: {known}", models=names)
        choices = [*(str(found) for found in serving), *self._aliases.get(name, {})]
        raise UnknownModelError(f"model {name!r} has no version or alias {wanted!r}; it has: {', '.join(choices)}")

    def models(self) -> list[Model]:
        """All that serve, by name and version."""
        return [self._models[key] for key in sorted(self._models)]

    def problems(self) -> dict[str, str]:
        """`name@version` of every bundle that was refused, and why."""
        return dict(self._problems)

    def with_graphs(self, *graphs: GraphName) -> list[str]:
        """Names of the models whose newest version has all of these graphs, sorted."""
        newest = {model.name: model for model in self.models()}
        return [name for name, model in newest.items() if model.manifest.graphs.keys() >= set(graphs)]

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served now, and why or why not."""
        if self._lanes.stopping:
            return False, "the service is shutting down"
        if self._lanes.alive < self._lanes.count:
            return False, f"{self._lanes.count - self._lanes.alive} of {self._lanes.count} lanes have died; restart it"
        if not self._models:
            refused = f", {len(self._problems)} were refused" if self._problems else ""
            return False, f"store {str(self._store.root)!r} has no model that can serve{refused}"
        return True, f"{len(self._models)} models on {self._lanes.count} lanes, {self._backend.device}"

    async def close(self, drain_s: float) -> None:
        """Refuse new work, finish what is under way or waits for up to `drain_s` seconds, and stop."""
        self._lanes.refuse()
        batchers = [batcher for model in self._models.values() for batcher in model.batchers.values()]
        await asyncio.gather(*(batcher.drained(drain_s) for batcher in batchers))
        await self._lanes.close()
        for graph in self._prepared:
            graph.runtime.close()

    def _add(self, loaded: LoadedBundle) -> None:
        manifest = loaded.bundle.manifest
        batchers: dict[GraphName, Batcher] = {}
        for name, graph in loaded.graphs.items():
            source = Source(manifest.name, manifest.version, name)
            batchers[name] = Batcher(source, graph.runtime, self._lanes, graph.limits, self._observer)
            batchers[name].forecast.learn(graph.limits.max_batch_size, graph.seconds)
        self._prepared += loaded.graphs.values()
        aliases = self._aliases.setdefault(manifest.name, self._store.aliases(manifest.name))
        self._models[manifest.name, manifest.version] = Model(
            manifest=manifest,
            digest=loaded.bundle.digest,
            aliases=[alias for alias, version in aliases.items() if version == manifest.version],
            runtime=self._backend.name,
            provider=next(iter(loaded.graphs.values())).runtime.provider,
            batchers=batchers,
        )

    def _version(self, name: str, wanted: str) -> int:
        """0, which no version has, if there is no such alias."""
        return int(wanted) if _VERSION.fullmatch(wanted) else self._aliases.get(name, {}).get(wanted, 0)
