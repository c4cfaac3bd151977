"""What can be asked for at one moment. The catalog replaces its shelf as a whole, versions and aliases in one step."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from service.errors import ModelRefusedError, NotReadyError, ServiceError, UnknownModelError, VersionNotLoadedError
from service.model import Model

_LONGEST_REF = 130  # name, @ and alias
_VERSION = re.compile(r"[1-9][0-9]*")
_RETRY_S = 1.0


@dataclass(frozen=True)
class Shelf:
    """Models that serve, and why others do not.

    Attributes:
        models: By name and version.
        aliases: Of each name, what its aliases stand for.
        problems: `name@version` of what was refused, or the name of a folder that cannot be read, and why.
        coming: Of each name, the versions that are being loaded or wait for it.
        resting: Of each name, the versions that are in the store, but that `keep_versions` leaves there.
        keep_versions: That setting.
    """

    models: Sequence[Model] = ()
    aliases: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    coming: Mapping[str, Sequence[int]] = field(default_factory=dict)
    resting: Mapping[str, Sequence[int]] = field(default_factory=dict)
    keep_versions: int = 1

    @cached_property
    def newest(self) -> dict[str, Model]:
        """Of each name, the newest version that serves."""
        return {model.name: model for model in self.models}  # the last one stays

    @cached_property
    def by_ref(self) -> dict[str, Model]:
        """Every way to say a model that serves."""
        versions = {f"{model.name}@{model.version}": model for model in self.models}
        found = versions | self.newest
        for name, aliases in self.aliases.items():
            for alias, version in aliases.items():
                if (model := versions.get(f"{name}@{version}")) is not None:
                    found[f"{name}@{alias}"] = model
        return found

    def aliases_of(self, name: str) -> dict[str, int]:
        """What the aliases of a name mean, those to versions that serve."""
        known = self.aliases.get(name, {})
        return {alias: version for alias, version in known.items() if f"{name}@{alias}" in self.by_ref}

    @cached_property
    def aliases_digest(self) -> str:
        """The same for shelves on which every alias stands for the same bundle."""
        refs = sorted(f"{name}@{alias}" for name, aliases in self.aliases.items() for alias in aliases)
        meanings = [f"{ref} {self.by_ref[ref].digest}" for ref in refs if ref in self.by_ref]
        return hashlib.sha256("\n".join(meanings).encode()).hexdigest()

    def refusal(self, ref: str) -> ServiceError:
        """Why there is nothing under this reference, and what there is."""
        if len(ref) > _LONGEST_REF:
            return UnknownModelError(f"the model's name has {len(ref)} characters; at most {_LONGEST_REF} can be one")
        name, at, wanted = ref.partition("@")
        version = self._version(name, wanted)
        if (at and version in self.coming.get(name, ())) or (not at and name in self.coming):
            return NotReadyError(f"model {ref!r} is being loaded; try again", retry_after_s=_RETRY_S)
        refused = {key: why for key, why in self.problems.items() if key.partition("@")[0] == name}
        reasons = [refused[key] for key in (f"{name}@{version}", name) if key in refused] if at else [*refused.values()]
        if reasons:
            return ModelRefusedError(
                f"model {ref!r} was refused when it was loaded: {'; '.join(reasons)}; "
                "publish it again, or ask for another version"
            )
        if version in self.resting.get(name, ()):
            return VersionNotLoadedError(
                f"version {version} of model {name!r} is in the store but not loaded: keep_versions = "
                f"{self.keep_versions} keeps the newest and those with an alias; give it an alias, or keep more. "
                f"Loaded: {', '.join(self._choices(name))}"
            )
        if name not in self.newest and not refused:
            names = [*self.newest]
            return UnknownModelError(
                f"there is no model {name!r}; there are: {', '.join(names) or 'none'}", models=names
            )
        return UnknownModelError(
            f"model {name!r} has no version or alias {wanted!r}; it has: {', '.join(self._choices(name))}"
        )

    def _choices(self, name: str) -> list[str]:
        versions = [str(model.version) for model in self.models if model.name == name]
        return [*versions, *self.aliases.get(name, ())]

    def _version(self, name: str, wanted: str) -> int:
        """0, which no version has, if there is no such alias."""
        return int(wanted) if _VERSION.fullmatch(wanted) else self.aliases.get(name, {}).get(wanted, 0)
