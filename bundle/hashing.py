"""Hashes of files and of bytes."""

import hashlib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bundle.errors import DamagedBundleError

SHA256 = r"^[0-9a-f]{64}$"


class FileRecord(BaseModel):
    """A file as the manifest knows it: name within the bundle, hash and size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    sha256: str = Field(pattern=SHA256)
    bytes: int = Field(ge=0)


def record(folder: Path, name: str) -> FileRecord:
    """The record of a file as it is now."""
    path = folder / name
    return FileRecord(path=name, sha256=file_sha256(path), bytes=path.stat().st_size)


def check(folder: Path, expected: FileRecord) -> None:
    """Compare a file with its record.

    Raises:
        DamagedBundleError: If the file is missing or cannot be read, or its size or hash differ.
    """
    path = folder / expected.path
    try:
        size = path.stat().st_size
        found = file_sha256(path) if size == expected.bytes else ""
    except FileNotFoundError as error:
        raise DamagedBundleError(f"{path} is missing; the manifest lists it with {expected.bytes} bytes") from error
    except OSError as error:
        raise DamagedBundleError(f"{path} cannot be read: {error.strerror}; expected a file") from error
    if size != expected.bytes:
        raise DamagedBundleError(f"{path} has {size} bytes; the manifest says {expected.bytes}")
    if found != expected.sha256:
        raise DamagedBundleError(f"{path} has sha256 {found}; the manifest says {expected.sha256}")


def file_sha256(path: Path) -> str:
    """Hash of a file's content, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
