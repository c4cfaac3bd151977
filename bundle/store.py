"""The store: a folder of `<name>/<version>/`, in which a bundle is either whole or not there.

Everything is written into a hidden staging folder, checked, flushed, and renamed into place. The rename onto the next
free version number fails if another publisher was faster, who then gets that number, and we the one after it.

A run that has a name (`training.run`) is published once: whoever publishes it again, even at the same time and from
another process, gets the bundle that is there.
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

from bundle.aliases import Aliases
from bundle.durable import flush, locked, make_folder
from bundle.errors import BundleError, DamagedBundleError, ManifestError, NotFoundError, PublishError
from bundle.hashing import check
from bundle.manifest import NAME, Manifest, parse_manifest

MANIFEST = "manifest.json"
_STAGING = ".staging-"
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
        return self.aliases_of(name).targets() if re.fullmatch(NAME, name) else {}

    def aliases_of(self, name: str) -> Aliases:
        """The aliases of a name, to be changed, and their history.

        Raises:
            NotFoundError: If it can be no name.
        """
        if not re.fullmatch(NAME, name):
            raise NotFoundError(f"there is no model {name[:100]!r}: names match {NAME}")
        return Aliases(self.root / name, lambda: self.versions(name))

    def set_alias(self, name: str, alias: str, version: int, *, by: str = "", reason: str = "") -> int | None:
        """Let `name@alias` mean a version, replacing in one step what it meant before, which is returned.

        Raises:
            NotFoundError: If there is no such version.
            PublishError: If the alias is badly named.
            ReadOnlyStoreError: If the store cannot be written to.
        """
        with self.aliases_of(name).editing(by) as editor:
            return editor.set(alias, version, reason)

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

    def published(self, name: str, run: str) -> Bundle | None:
        """The bundle of that name that a run has published, or None. Versions that cannot be read are passed over.

        Raises:
            DamagedBundleError: If the model's folder cannot be read.
        """
        for version in reversed(self.versions(name)):
            with contextlib.suppress(ManifestError):
                bundle = read_bundle(self.root / name / str(version))
                if bundle.manifest.training.run == run:
                    return bundle
        return None

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
            yield Staging(self, name, path)
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

    store: Store
    name: str
    path: Path

    @property
    def parent(self) -> Path:
        """The folder of the name's versions."""
        return self.store.root / self.name

    def publish(self, manifest: Manifest) -> Bundle:
        """Check the files against the manifest and make them visible as the next version, all at once.

        The manifest's own `version` is replaced by the one that is free. If it names a run that has a bundle of this
        name already, nothing is published, and that bundle is the answer.

        Raises:
            PublishError: If the manifest is for another name, or the folder holds a folder or a link.
            DamagedBundleError: If a file is missing or differs from its record.
        """
        if manifest.name != self.name:
            raise PublishError(f"the manifest is for {manifest.name!r}; this folder is for {self.name!r}")
        self._flush_files()
        for expected in manifest.files():
            check(self.path, expected)
        if manifest.training.run is None:
            return self._publish_next(manifest)
        with locked(self.parent):
            return self.store.published(self.name, manifest.training.run) or self._publish_next(manifest)

    def _publish_next(self, manifest: Manifest) -> Bundle:
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
