"""The store: a folder of `<name>/<version>/`, in which a bundle is either whole or not there.

Everything is written into a hidden staging folder, checked, flushed, and renamed into place. The rename onto the next
free version number fails if another publisher was faster, who then gets that number, and we the one after it.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bundle.durable import flush, make_folder, replace_file
from bundle.errors import BundleError, DamagedBundleError, ManifestError, NotFoundError, PublishError
from bundle.hashing import check
from bundle.manifest import NAME, Manifest, parse_manifest

MANIFEST = "manifest.json"
_STAGING = ".staging-"
_ALIASES = "aliases"
_ALIAS = r"^[a-z][a-z0-9._-]{0,63}$"
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_LAST_VERSION = 10**9 - 1


@dataclass(frozen=True)
class Bundle:
    """A published bundle. `digest` is the sha256 of its manifest and so stands for all of its files."""

    path: Path
    manifest: Manifest
    digest: str

    def verify(self) -> None:
        """Compare every file with the manifest.

        Raises:
            DamagedBundleError: Which file, what was found, what was expected.
        """
        for expected in self.manifest.files():
            check(self.path, expected)


@dataclass(frozen=True)
class Listing:
    """All bundles that can be read, and for each that cannot, the reason."""

    bundles: list[Bundle] = field(default_factory=list)
    problems: dict[str, BundleError] = field(default_factory=dict)


class Store:
    """Bundles under one folder; see the module's text for what it guarantees."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """Names that have at least one version, sorted. A folder that cannot be read counts as one."""
        return sorted(name for name in self._folders() if _readable_versions(self.root / name) != [])

    def versions(self, name: str) -> list[int]:
        """Published versions of a name, ascending; empty if there are none.

        Raises:
            DamagedBundleError: If the folder cannot be read.
        """
        if not re.fullmatch(NAME, name):
            return []
        found = _readable_versions(self.root / name)
        if isinstance(found, OSError):
            raise DamagedBundleError(f"{self.root / name} cannot be read: {found.strerror}") from found
        return found

    def aliases(self, name: str) -> dict[str, int]:
        """Alias → version of a name; unreadable alias files are left out."""
        folder = self.root / name / _ALIASES
        found = {alias: _alias_target(folder / alias) for alias in self.alias_names(name)}
        return {alias: version for alias, version in found.items() if version is not None}

    def alias_names(self, name: str) -> list[str]:
        """Aliases of a name, sorted, whether or not their files can be read."""
        if not re.fullmatch(NAME, name):
            return []
        try:
            found = sorted(path.name for path in (self.root / name / _ALIASES).iterdir())
        except OSError:
            return []
        return [alias for alias in found if re.fullmatch(_ALIAS, alias)]

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Let `name@alias` mean a version, replacing in one step what it meant before.

        Raises:
            NotFoundError: If there is no such version.
            PublishError: If the alias is badly named.
        """
        if not re.fullmatch(_ALIAS, alias):
            raise PublishError(f"alias {alias!r} does not match {_ALIAS} (a letter first, so that it is no version)")
        if version not in self.versions(name):
            raise NotFoundError(f"model {name!r} has versions {self.versions(name)}, not {version}")
        folder = self.root / name / _ALIASES
        make_folder(folder)
        replace_file(folder / alias, f"{version}\n".encode())

    def resolve(self, ref: str) -> tuple[str, int]:
        """Name and version that `name`, `name@3` or `name@alias` stands for.

        Raises:
            NotFoundError: If there is none; the message lists what there is.
            DamagedBundleError: If the model's folder cannot be read.
        """
        name, separator, wanted = ref.partition("@")
        versions = self.versions(name)
        if not versions:
            raise NotFoundError(f"no model {name!r} in {self.root}; there are: {', '.join(self.names()) or 'none'}")
        if not separator:
            return name, versions[-1]
        known = {str(version): version for version in versions} | self.aliases(name)
        if known.get(wanted) not in versions:
            raise NotFoundError(f"model {name!r} has no version or alias {wanted!r}; it has: {', '.join(known)}")
        return name, known[wanted]

    def open(self, ref: str) -> Bundle:
        """The bundle that a reference stands for, its manifest read but its files not yet verified.

        Raises:
            NotFoundError: If there is none.
            ManifestError: If its manifest cannot be read.
        """
        name, version = self.resolve(ref)
        bundle = read_bundle(self.root / name / str(version))
        found = (bundle.manifest.name, bundle.manifest.version)
        if found != (name, version):
            raise ManifestError(f"{bundle.path} holds the manifest of {found[0]}@{found[1]}; expected {name}@{version}")
        return bundle

    def listing(self) -> Listing:
        """All bundles, readable or not, by name and version."""
        listing = Listing()
        for name in self.names():
            try:
                refs = [f"{name}@{version}" for version in self.versions(name)]
            except BundleError as error:
                listing.problems[name] = error
                continue
            for ref in refs:
                try:
                    listing.bundles.append(self.open(ref))
                except BundleError as error:
                    listing.problems[ref] = error
        return listing

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator["Staging"]:
        """A hidden folder to write a new version into; it is gone after the block unless it was published.

        Raises:
            PublishError: If the name is not one.
        """
        if not re.fullmatch(NAME, name):
            raise PublishError(f"model name {name!r} does not match {NAME}")
        parent = self.root / name
        make_folder(parent)
        _sweep(parent)
        path, handle = _locked_folder(parent)
        try:
            yield Staging(name, parent, path)
        finally:
            os.close(handle)
            shutil.rmtree(path, ignore_errors=True)

    def _folders(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return [path.name for path in self.root.iterdir() if re.fullmatch(NAME, path.name)]


@dataclass(frozen=True)
class Staging:
    """A version in the making: write files into `path`, then `publish`."""

    name: str
    parent: Path
    path: Path

    def publish(self, manifest: Manifest) -> Bundle:
        """Check the files against the manifest and make them visible as the next version, all at once.

        The manifest's own `version` is replaced by the one that is free.

        Raises:
            PublishError: If the manifest is for another name, or the folder holds a folder or a link.
            DamagedBundleError: If a file is missing or differs from its record.
        """
        if manifest.name != self.name:
            raise PublishError(f"the manifest is for {manifest.name!r}; this folder is for {self.name!r}")
        self._flush_files()
        for expected in manifest.files():
            check(self.path, expected)
        taken = [int(path.name) for path in self.parent.iterdir() if _VERSION.fullmatch(path.name)]
        for version in range(1 + max(taken, default=0), _LAST_VERSION + 1):
            raw = manifest.model_copy(update={"version": version}).to_json()
            (self.path / MANIFEST).write_bytes(raw)
            flush(self.path / MANIFEST)
            flush(self.path)
            try:
                self.path.rename(self.parent / str(version))  # fails if the folder is there and not empty
            except OSError:
                if not (self.parent / str(version)).exists():
                    raise
                continue  # another publisher was faster
            flush(self.parent)
            return read_bundle(self.parent / str(version))
        raise PublishError(f"{self.parent} holds {_LAST_VERSION}, the last version there is; publish under a new name")

    def _flush_files(self) -> None:
        for path in self.path.iterdir():
            if path.is_symlink() or not path.is_file():
                raise PublishError(f"{path} is no regular file; a bundle is a flat folder of files, without links")
            flush(path)


def read_bundle(path: Path) -> Bundle:
    """Read the manifest in a folder.

    Raises:
        ManifestError: If it is missing or cannot be read.
    """
    manifest = path / MANIFEST
    try:
        raw = manifest.read_bytes()
    except OSError as error:
        raise ManifestError(f"{manifest} cannot be read: {error.strerror}") from error
    return Bundle(path, parse_manifest(raw, manifest), hashlib.sha256(raw).hexdigest())


def _readable_versions(folder: Path) -> list[int] | OSError:
    try:
        return sorted(int(path.name) for path in folder.iterdir() if _VERSION.fullmatch(path.name) and path.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []  # no model's folder, or removed meanwhile
    except OSError as error:
        return error


def _alias_target(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if _VERSION.fullmatch(text) else None


def _locked_folder(parent: Path) -> tuple[Path, int]:
    """A new folder and a handle that holds its lock as long as we live: others know that this is no leftover."""
    while True:
        path = parent / f"{_STAGING}{uuid.uuid4().hex}"
        path.mkdir()
        with contextlib.suppress(FileNotFoundError):  # swept between its making and its opening
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(handle, fcntl.LOCK_EX)
            if path.is_dir():
                return path, handle
            os.close(handle)  # swept between its opening and its locking


def _sweep(parent: Path) -> None:
    """Remove what publishers that died have left: a staging folder whose lock nobody holds."""
    for path in parent.glob(f"{_STAGING}*"):
        try:
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # published or removed meanwhile
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass  # its publisher lives
        finally:
            os.close(handle)
