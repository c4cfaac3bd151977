"""What is loaded and what was refused, held against what the store has: what to load, what to let go, what to show."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from service.model import Model
from service.retention import effective_aliases, kept_versions
from service.shelf import Shelf
from service.watching import Key, Look, Stamp

_FIRST_PAUSE_S = 5.0
_LONGEST_PAUSE_S = 300.0


@dataclass(frozen=True)
class Loaded:
    """A version that serves, and the stamp that its bundle had before it was read."""

    model: Model
    stamp: Stamp


class CannotServe(NamedTuple):
    """Why a version cannot serve, and whether that may pass."""

    why: str
    passing: bool


@dataclass(frozen=True)
class Refused:
    """Why a version cannot serve, and the close stamp that its bundle had before it was read."""

    why: str
    stamp: Stamp
    again_at: float = math.inf  # when it is tried again though nothing has changed (monotonic seconds)


class Inventory:
    """The books of the catalog. Lives on the event loop.

    Attributes:
        shelf: What requests see.
        loaded: Versions that serve.
        refused: Versions whose bundle, as it is now, cannot. One may be loaded all the same, from the bundle that had
            its number before.

    Args:
        keep_versions: The setting.
    """

    def __init__(self, keep_versions: int) -> None:
        self.shelf = Shelf()
        self.loaded: dict[Key, Loaded] = {}
        self.refused: dict[Key, Refused] = {}
        self._keep_versions = keep_versions
        self._pauses: dict[Key, float] = {}

    def names(self, look: Look) -> list[str]:
        """Names that may have changed, sorted. Of a folder that cannot be read nothing is known."""
        return sorted(look.versions.keys() | {name for name, _ in self.loaded} - look.unreadable.keys())

    def pardon(self, look: Look) -> None:
        """Forget refusals of bundles that have changed since, or are gone, or whose time to be tried again has come."""
        now = time.monotonic()
        refused = self.refused.items()
        self.refused = {key: one for key, one in refused if _find(look, key) == one.stamp and now < one.again_at}

    def refuse(self, key: Key, refusal: CannotServe, stamp: Stamp) -> None:
        """A version cannot serve; if the reason may pass, it is tried again, each time after twice as long."""
        self._pauses[key] = min(_LONGEST_PAUSE_S, 2 * self._pauses.get(key, _FIRST_PAUSE_S / 2))
        again_at = time.monotonic() + self._pauses[key] if refusal.passing else math.inf
        self.refused[key] = Refused(refusal.why, stamp, again_at)

    def accept(self, key: Key) -> None:
        """A version can serve."""
        self.refused.pop(key, None)
        self._pauses.pop(key, None)

    def has_second_chances(self) -> bool:
        """Whether it is time to try a refused version again."""
        now = time.monotonic()
        return any(one.again_at <= now for one in self.refused.values())

    def coming(self, name: str, look: Look) -> list[int]:
        """Versions that should be loaded and are not, ascending."""
        kept = self._kept(name, look) & look.versions.get(name, {}).keys()
        return sorted(version for version in kept if not self._settled((name, version), look))

    def surplus(self, name: str, look: Look) -> list[Key]:
        """Versions that need not stay loaded, once nothing is coming any more."""
        return [(name, version) for version in sorted(_versions(self.loaded, name) - self._kept(name, look))]

    def shelve(self, look: Look) -> None:
        """Show what is loaded, refused and coming now, in one step."""
        names = look.versions
        coming = {name: self.coming(name, look) for name in names}
        resting = {
            name: [
                version
                for version in names[name]
                if version not in coming[name] and not {(name, version)} & (self.loaded.keys() | self.refused.keys())
            ]
            for name in names
        }
        unreadable = {name: self.shelf.aliases[name] for name in look.unreadable if name in self.shelf.aliases}
        aliases = {name: self._aliases(name, look) for name in names} | unreadable
        models = [self.loaded[key].model for key in sorted(self.loaded)]
        for model in models:
            known = aliases.get(model.name, {})
            model.aliases[:] = sorted(alias for alias, version in known.items() if version == model.version)
        problems = {f"{name}@{version}": one.why for (name, version), one in sorted(self.refused.items())}
        self.shelf = Shelf(
            models=models,
            aliases=aliases,
            problems=look.unreadable | problems,
            coming={name: versions for name, versions in coming.items() if versions},
            resting={name: versions for name, versions in resting.items() if versions},
            keep_versions=self._keep_versions,
        )

    def _settled(self, key: Key, look: Look) -> bool:
        return key in self.refused or (key in self.loaded and self.loaded[key].stamp == _find(look, key))

    def _kept(self, name: str, look: Look) -> set[int]:
        return kept_versions(
            versions=look.versions.get(name, {}),
            aliased={*look.aliases.get(name, {}).values(), *self._aliases(name, look).values()},
            loaded=_versions(self.loaded, name),
            refused=_versions(self.refused, name),
            keep=self._keep_versions,
        )

    def _aliases(self, name: str, look: Look) -> dict[str, int]:
        before = self.shelf.aliases.get(name, {})
        return effective_aliases(look.aliases.get(name, {}), before, lambda version: (name, version) in self.loaded)


def _versions(of: Iterable[Key], name: str) -> set[int]:
    return {version for found, version in of if found == name}


def _find(look: Look, key: Key) -> Stamp | None:
    return look.versions.get(key[0], {}).get(key[1])
