"""What is loaded: the versions of the store that serve, each verified and tried before, and how they come and go."""

import asyncio
import errno
import math
import threading
import time
from typing import Self

import structlog

from bundle.manifest import GraphName
from bundle.store import Store
from service.aside import Aside, OverdueError
from service.engine.backends import Backend, open_backend
from service.engine.batcher import Batcher
from service.engine.lanes import Lanes
from service.engine.loading import LoadedBundle, RefusedError, load_bundle
from service.engine.neighbours import Neighbours
from service.engine.observer import EngineObserver, SilentObserver, Source
from service.engine.plan import lane_count, lanes_at_once, shared_cores
from service.errors import StartupError, StoppingError
from service.inventory import CannotServe, Inventory, Loaded
from service.leases import Leases
from service.memory import give_back
from service.model import Model
from service.settings import Settings
from service.watching import Follower, Key, Look, NoFollower, Stamp, close_stamp, look_at, stamp, watch

_LONG_LOAD_S = 60.0
_log = structlog.get_logger("service")


class Catalog:
    """The loaded models and the lanes that run them; made by `open`.

    Everything but the loading itself happens on the event loop, and what requests see is the `Shelf`, which is
    replaced as a whole. So a request finds either all of a change or nothing of it.

    Attributes:
        lanes: What runs the graphs.
        lanes_at_once: Of all workers' long batches that run at once, the share of this one.
        seen: The store is served as it was at this moment (monotonic seconds), or later.
    """

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        observer: EngineObserver,
        follower: Follower,
        neighbours: Neighbours | None,
    ) -> None:
        self.lanes = Lanes(lane_count(settings, backend.device), shared_cores(settings, backend.device), neighbours)
        self.lanes_at_once = lanes_at_once(settings, backend.device)
        self.seen = -math.inf
        self._settings = settings
        self._store = Store(settings.store)
        self._backend = backend
        self._observer = observer
        self._inventory = Inventory(settings.keep_versions)
        self._look: Look | None = None
        self._turn = asyncio.Lock()
        # One thread: loading takes one core from the requests, never more.
        self._aside = Aside("loading", settings.load_timeout_s)
        self._stopping = threading.Event()
        self._leases = Leases(self._aside.run)
        self._follower = follower
        self._called = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        settings: Settings,
        observer: EngineObserver | None = None,
        follower: Follower | None = None,
        neighbours: Neighbours | None = None,
    ) -> Self:
        """Load the store and watch it; bundles that cannot serve are kept as problems.

        Raises:
            StartupError: If there is no store, or the device or runtime cannot be used.
        """
        if not settings.store.is_dir():
            raise StartupError(f"store {str(settings.store)!r} is no folder; set `store` to the folder of the bundles")
        backend = await asyncio.to_thread(open_backend, settings)
        catalog = cls(settings, backend, observer or SilentObserver(), follower or NoFollower(), neighbours)
        try:
            await catalog.refresh()
        except BaseException as error:
            await catalog.close(0)
            if isinstance(error, OSError):
                raise StartupError(f"store {str(settings.store)!r} cannot be read: {error}") from error
            raise
        catalog._watching = asyncio.create_task(
            watch(catalog.refresh, settings.store_poll_s, catalog._called, catalog._follower.found_change)
        )
        return catalog

    def get(self, ref: str) -> Model:
        """The model that `name`, `name@3` or `name@alias` stands for; `name` is the newest version that serves.

        Hold it until the request is answered and no longer: see `Model`.

        Raises:
            UnknownModelError: If there is none; names those that there are.
            ModelRefusedError: If its bundle was refused; says why.
            VersionNotLoadedError: If it is in the store, but too old to stay loaded.
            NotReadyError: If it is being loaded.
        """
        model = self.find(ref)
        if model is None:
            raise self._inventory.shelf.refusal(ref)
        return model

    def find(self, ref: str) -> Model | None:
        """The same; None if there is none."""
        return self._inventory.shelf.by_ref.get(ref)

    def models(self) -> list[Model]:
        """All that serve, by name and version."""
        return [*self._inventory.shelf.models]

    def aliases(self, name: str) -> dict[str, int]:
        """What the aliases of a name mean here, each to a version that serves."""
        return self._inventory.shelf.aliases_of(name)

    def aliases_digest(self) -> str:
        """The same for processes to which all aliases mean the same."""
        return self._inventory.shelf.aliases_digest

    def problems(self) -> dict[str, str]:
        """`name@version` of every bundle that was refused, and why."""
        return dict(self._inventory.shelf.problems)

    def with_graphs(self, *graphs: GraphName) -> list[str]:
        """Names of the models whose newest version has all of these graphs, sorted."""
        return [
            name for name, model in self._inventory.shelf.newest.items() if model.manifest.graphs.keys() >= set(graphs)
        ]

    def ready(self) -> tuple[bool, str]:
        """Whether requests can be served now, and why or why not."""
        lanes = self.lanes
        if lanes.stopping:
            return False, "the service is shutting down"
        if lanes.alive < lanes.count:
            return False, f"{lanes.count - lanes.alive} of {lanes.count} lanes have died; restart it"
        models = self._inventory.shelf.models
        if not models:
            problems = self._inventory.shelf.problems
            refused = f", {len(problems)} were refused" if problems else ""
            return False, f"store {str(self._store.root)!r} has no model that can serve{refused}"
        for model in models:
            for batcher in model.batchers.values():
                healthy, reason = batcher.healthy
                if not healthy:
                    return False, reason
        return True, f"{len(models)} models on {lanes.count} lanes, {self._backend.device}"

    def hurry(self) -> None:
        """Let the watcher refresh now, or once more if it is about it; from the event loop."""
        self._called.set()

    async def refresh(self) -> bool:
        """Look at the store now, and come to serve what it holds; returns whether there was anything to do.

        New versions are verified, compared with their golden outputs and warmed on a thread, one after the other,
        newest first, while the others go on serving; each serves from the moment that it is ready. What should not stay
        loaded leaves the shelf then, and the memory when the last request that holds it is answered. It returns when
        all that is done, but for those requests.

        Raises:
            OSError: If the store cannot be read; all that is loaded goes on serving.
            StartupError: If the runtime itself cannot be used.
            StoppingError: If the catalog was closed meanwhile.
        """
        async with self._turn:
            if self._stopping.is_set():
                raise StoppingError("the service is shutting down; it loads nothing any more")
            self._leases.collect()
            closely = {*self._inventory.refused}
            begun = time.monotonic()
            look = await self._look_at(closely)
            changed = look != self._look or self._inventory.has_second_chances()
            if changed:
                self._inventory.pardon(look)
                self._inventory.shelve(look)
                for name in self._inventory.names(look):
                    await self._refresh_name(name, look)
                self._look = look
            self.seen = begun
            self._follower.refreshed()
            return changed

    async def close(self, drain_s: float) -> None:
        """Refuse new work, finish what is under way, waits or is being loaded for up to `drain_s` seconds, and stop."""
        self.lanes.refuse()
        self._stopping.set()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait((self._watching,))
        until = time.monotonic() + drain_s
        await self._leases.drained(drain_s)
        await self.lanes.close()
        await self._leases.close()
        await self._aside.close(max(0.0, until - time.monotonic()))

    async def _look_at(self, closely: set[Key]) -> Look:
        try:
            return await self._aside.run(lambda: look_at(self._store, closely, self._look), "look")
        except OverdueError as error:
            within = f"did not answer within {self._aside.patience_s:g} s"
            raise OSError(errno.ETIMEDOUT, f"the file system {within}", str(self._store.root)) from error

    async def _refresh_name(self, name: str, look: Look) -> None:
        inventory = self._inventory
        tried: set[int] = set()
        while coming := [version for version in inventory.coming(name, look) if version not in tried]:
            tried.add(coming[-1])
            await self._load((name, coming[-1]), look)
            inventory.shelve(look)
        for key in inventory.surplus(name, look):
            self._leases.retire(inventory.loaded.pop(key).model)
            _log.info("model unloaded", model=f"{key[0]}@{key[1]}")
        inventory.shelve(look)
        if tried:
            await self._aside.run(give_back)

    async def _load(self, key: Key, look: Look) -> None:
        inventory = self._inventory
        ref, begun = f"{key[0]}@{key[1]}", time.perf_counter()
        slow = asyncio.get_running_loop().call_later(_LONG_LOAD_S, _tell_of_slow, ref)
        found: Stamp
        outcome: LoadedBundle | CannotServe
        try:
            found, outcome = await self._aside.run(lambda: self._attempt(key), key, _close_late)
        except OverdueError:
            found, outcome = look.versions[key[0]][key[1]], self._overdue()
        finally:
            slow.cancel()
        if isinstance(outcome, CannotServe):
            inventory.refuse(key, outcome, found)
            _log.error("bundle refused", bundle=ref, reason=outcome.why)
            return
        inventory.accept(key)
        if key in inventory.loaded:
            self._leases.retire(inventory.loaded[key].model)
        inventory.loaded[key] = Loaded(self._serve(outcome), found)
        took = round(time.perf_counter() - begun, 3)
        _log.info("model loaded", model=ref, digest=outcome.bundle.digest, seconds=took)

    def _attempt(self, key: Key) -> tuple[Stamp, LoadedBundle | CannotServe]:
        """On the thread: what was there, then the bundle or why it cannot serve."""
        name, version = key
        folder = self._store.root / name / str(version)
        before, closely = stamp(folder), close_stamp(folder)
        try:
            return before, load_bundle(self._store, name, version, self._backend, self._settings, self._stopping.is_set)
        except RefusedError as error:
            return closely, CannotServe(str(error), error.passing)

    def _serve(self, loaded: LoadedBundle) -> Model:
        manifest = loaded.bundle.manifest
        batchers: dict[GraphName, Batcher] = {}
        for name, graph in loaded.graphs.items():
            source = Source(manifest.name, manifest.version, name)
            batchers[name] = Batcher(
                source, graph.runtime, self.lanes, graph.limits, self._observer, graph.cost, graph.reopen
            )
        model = Model(
            manifest=manifest,
            digest=loaded.bundle.digest,
            aliases=[],
            runtime=self._backend.name,
            provider=next(iter(loaded.graphs.values())).runtime.provider,
            batchers=batchers,
        )
        self._leases.hold(model)
        return model

    def _overdue(self) -> CannotServe:
        why = (
            f"it was still being loaded after {self._aside.patience_s:g} s (`load_timeout_s`), and was given up; it is "
            "tried again once that attempt has ended: look at the disk or mount that it lies on, or restart the service"
        )
        return CannotServe(why, passing=True)


def _close_late(attempt: tuple[Stamp, LoadedBundle | CannotServe]) -> None:
    """It was loaded after all, when nobody waited for it any more."""
    if isinstance(attempt[1], LoadedBundle):
        for graph in attempt[1].graphs.values():
            graph.runtime.close()


def _tell_of_slow(ref: str) -> None:
    """Such as a runtime that hangs: nothing else would show why no new version is served."""
    _log.error("bundle is still being loaded, and the store is not watched meanwhile", bundle=ref, seconds=_LONG_LOAD_S)
