"""From a store to bundles that can serve, and the reasons why others cannot."""

import logging
from dataclasses import dataclass

from bundle.errors import BundleError, DamagedBundleError
from bundle.golden import load_golden
from bundle.manifest import GraphName
from bundle.store import Bundle, Store
from service.engine.backends import Backend
from service.engine.prepare import PreparedGraph, prepare
from service.engine.runtimes.base import RuntimeLoadError
from service.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle whose graphs are all prepared."""

    bundle: Bundle
    graphs: dict[GraphName, PreparedGraph]


def load_all(store: Store, backend: Backend, settings: Settings) -> tuple[list[LoadedBundle], dict[str, str]]:
    """Load every bundle of a store.

    Returns:
        Those that can serve; and for each of the others, as `name@version`, which file, what was found, what was
        expected.

    Raises:
        StartupError: If the runtime itself cannot be used.
    """
    listing = store.listing()
    problems = {ref: str(error) for ref, error in listing.problems.items()}
    loaded: list[LoadedBundle] = []
    for bundle in listing.bundles:
        ref = f"{bundle.manifest.name}@{bundle.manifest.version}"
        try:
            loaded.append(_load(bundle, backend, settings))
        except (BundleError, RuntimeLoadError, OSError) as error:
            problems[ref] = str(error)
    for ref, why in problems.items():
        _log.error("%s is refused: %s", ref, why)
    return loaded, problems


def _load(bundle: Bundle, backend: Backend, settings: Settings) -> LoadedBundle:
    bundle.verify()
    golden_file = bundle.path / bundle.manifest.golden.path
    golden = load_golden(golden_file)
    prepared: dict[GraphName, PreparedGraph] = {}
    try:
        for graph in bundle.manifest.graphs:
            if graph not in golden:
                raise DamagedBundleError(f"{golden_file} has nothing for graph {graph!r}; it has: {', '.join(golden)}")
            prepared[graph] = prepare(bundle, graph, golden[graph], backend, settings)
    except BaseException:
        for graph_ready in prepared.values():
            graph_ready.runtime.close()
        raise
    return LoadedBundle(bundle, prepared)
