"""From a version in a store to a bundle that can serve, or the reason why it cannot."""

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass

from bundle.errors import BundleError, DamagedBundleError
from bundle.golden import load_golden
from bundle.manifest import GraphName
from bundle.store import Bundle, Store
from service.engine.backends import Backend
from service.engine.prepare import PreparedGraph, prepare
from service.engine.runtimes.base import RuntimeLoadError
from service.errors import StartupError, StoppingError
from service.settings import Settings

_log = logging.getLogger(__name__)


class RefusedError(Exception):
    """A bundle cannot serve: which file, what was found, what was expected.

    Args:
        why: All that.
        passing: It was the machine's trouble and not the bundle's, so it is worth another try.
    """

    def __init__(self, why: str, *, passing: bool) -> None:
        super().__init__(why)
        self.passing = passing


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle whose graphs are all prepared."""

    bundle: Bundle
    graphs: dict[GraphName, PreparedGraph]


def load_bundle(
    store: Store, name: str, version: int, backend: Backend, settings: Settings, stopping: Callable[[], bool]
) -> LoadedBundle:
    """Check a bundle's hashes, open its graphs, compare them with their golden outputs, and warm them.

    Args:
        store, name, version: Which one.
        backend: Opens its graphs.
        settings: How they are to run.
        stopping: Asked between one graph and the next: nobody wants the bundle any more.

    Raises:
        RefusedError: If it cannot serve.
        StartupError: If the runtime itself cannot be used.
        StoppingError: If `stopping` said so.
    """
    try:
        bundle = store.open(f"{name}@{version}")
        bundle.verify()
        return LoadedBundle(bundle, _prepare_all(bundle, backend, settings, stopping))
    except (StartupError, StoppingError):
        raise
    except (BundleError, RuntimeLoadError, OSError) as error:
        raise RefusedError(str(error), passing=_may_pass(error)) from error
    except Exception as error:  # one bundle, whatever is wrong with it, must not stop the others from serving
        _log.exception("%s@%d cannot be loaded", name, version)
        reason = f"{type(error).__name__}: {error} (the log says where)"
        raise RefusedError(reason, passing=_may_pass(error)) from error


def _may_pass(error: BaseException | None) -> bool:
    """Whether it was the machine's trouble: no memory, too many open files, a disk or a mount that fails."""
    while error is not None:
        if isinstance(error, MemoryError) or "Failed to allocate memory" in str(error) or "bad_alloc" in str(error):
            return True
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return True
        error = error.__cause__
    return False


def _prepare_all(
    bundle: Bundle, backend: Backend, settings: Settings, stopping: Callable[[], bool]
) -> dict[GraphName, PreparedGraph]:
    golden_file = bundle.path / bundle.manifest.golden.path
    golden = load_golden(golden_file)
    prepared: dict[GraphName, PreparedGraph] = {}
    try:
        for graph in bundle.manifest.graphs:
            if stopping():
                raise StoppingError("the service is shutting down; it loads nothing any more")
            if graph not in golden:
                raise DamagedBundleError(f"{golden_file} has nothing for graph {graph!r}; it has: {', '.join(golden)}")
            prepared[graph] = prepare(bundle, graph, golden[graph], backend, settings)
    except BaseException:
        for graph_ready in prepared.values():
            graph_ready.runtime.close()
        raise
    return prepared
