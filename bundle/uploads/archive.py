"""Zip archives of strangers: the table of contents is judged as a whole before a single entry is unpacked.

Python's `zipfile` never unpacks more of an entry than its declared size and holds it against the checksum, so declared
sizes can be relied upon as bounds. What it lacks is here: limits, and the refusal of entries that share bytes
(Fifield, "A better zip bomb", WOOT 2019, https://www.usenix.org/conference/woot19/presentation/fifield).
"""

import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO

from bundle.uploads.errors import UploadError
from bundle.uploads.limits import Patience, UploadLimits
from bundle.uploads.names import checked_name, is_junk, shown

_LOCAL = struct.Struct("<4s5H3L2H")  # APPNOTE.TXT, section 4.3.7
_END = struct.Struct("<4s4H2LH")  # section 4.3.16
_IN_DIRECTORY = b"PK\x01\x02"
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # any of the three ways of APPNOTE.TXT, section 4.4.4
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HARMLESS_BYTES = 1 << 20  # of an entry that may be packed as well as it likes


class Archive:
    """The files of an archive that has been judged, sorted by name, without what systems leave behind.

    Attributes:
        names: Of the files.
        packed_bytes: Of the archive.
    """

    def __init__(self, opened: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo], patience: Patience) -> None:
        self.names: Sequence[str] = sorted(entries)
        self._opened = opened
        self._entries = entries
        self._patience = patience

    def size(self, name: str) -> int:
        """Bytes of a file, unpacked."""
        return self._entries[name].file_size

    def read(self, name: str, limit: int) -> bytes:
        """A whole file.

        Raises:
            UploadError: If it is larger than the limit, or damaged.
        """
        if self.size(name) > limit:
            raise UploadError("too_large", f"{shown(name)} has {self.size(name)} bytes; at most {limit} are taken")
        with self.open(name) as file:
            content = file.read(self.size(name))
        if len(content) != self.size(name):
            raise UploadError("invalid", f"{shown(name)} has {len(content)} bytes; its entry says {self.size(name)}")
        return content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A file, unpacked as it is read. Read it with a size: without one `zipfile` unpacks all there is in one go.

        Raises:
            UploadError: From the block too, if what is read proves to be damaged.
        """
        self._patience.check()
        with refusing(f"{shown(name)} cannot be unpacked"), self._opened.open(self._entries[name]) as file:
            yield file


@contextmanager
def open_archive(path: Path, limits: UploadLimits, patience: Patience) -> Iterator[Archive]:
    """An archive, judged.

    Raises:
        UploadError: If it is no zip, or one that is better left alone.
    """
    with path.open("rb") as file:
        _check_kind(file)
        guarded = _Guarded(file, limits)
        with refusing("the archive's table of contents cannot be read, it may be truncated"):
            opened = zipfile.ZipFile(guarded)
        guarded.opening = False
        with opened:
            yield Archive(opened, _judge(opened, file, limits, patience), patience)


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever the readers of damaged bytes raise into a refusal; troubles of the disk pass."""
    try:
        yield
    except (UploadError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise UploadError("invalid", f"{what}: {error}") from error
    except Exception as error:  # zipfile, zlib, numpy and Pillow have many errors for damaged bytes, and no common base
        raise UploadError("invalid", f"{what}: {str(error)[:200] or type(error).__name__}") from error


class _Guarded:
    """The file as `zipfile` sees it, which reads the whole table of contents at once whatever its declared size."""

    def __init__(self, file: BinaryIO, limits: UploadLimits) -> None:
        self._file = file
        self._limits = limits
        self.opening = True
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """As a file does, up to the limits while the table of contents is read."""
        if not self.opening:
            return self._file.read(size)
        limit = self._limits.directory_bytes
        content = self._file.read(limit + 1 if size < 0 else min(size, limit + 1))
        if len(content) > limit:
            raise UploadError("too_large", f"the archive's table of contents has more than {limit} bytes")
        if content.count(_IN_DIRECTORY) > self._limits.entries:
            raise _too_many(f"more than {self._limits.entries}", self._limits)
        return content

    def seekable(self) -> bool:
        """It is."""
        return True

    def close(self) -> None:
        """Whoever opened the file closes it."""


def _check_kind(file: BinaryIO) -> None:
    head = file.read(8)
    if head[:4] == b"PK\x05\x06":
        raise UploadError("invalid", "the archive is empty; expected images")
    if head[:4] != b"PK\x03\x04":
        found = kind_of(head) or ("nothing" if not head else "no archive")
        raise UploadError("format", f"the upload is {found}; expected a zip of images, or an .npz with uint8 images")


def kind_of(head: bytes) -> str | None:
    """What a file is that is neither an image nor an array, if its first bytes tell."""
    kinds = {
        b"PK\x03\x04": "a zip",
        b"PK\x05\x06": "a zip",
        b"\x1f\x8b": "a gzip or .tar.gz",
        b"BZh": "a bzip2",
        b"\xfd7zXZ\x00": "an xz",
        b"7z\xbc\xaf": "a 7z",
        b"Rar!": "a rar",
        b"\x28\xb5\x2f\xfd": "a zstd",
        b"\x93NUMPY": "a single .npy",
        b"\x89PNG": "a single PNG",
        b"\xff\xd8\xff": "a single JPEG",
        b"%PDF": "a PDF",
    }
    return next((kind for magic, kind in kinds.items() if head.startswith(magic)), None)


def _judge(
    opened: zipfile.ZipFile, file: BinaryIO, limits: UploadLimits, patience: Patience
) -> dict[str, zipfile.ZipInfo]:
    infos = opened.infolist()
    if len(infos) > limits.entries:
        raise _too_many(str(len(infos)), limits)
    _check_count(opened, file)
    _check_overlaps(infos, file, patience)
    files: dict[str, zipfile.ZipInfo] = {}
    unpacked = packed = 0
    seen: set[str] = set()
    for info in infos:
        patience.check()
        name = checked_name(info.orig_filename)
        _check_entry(info, name, limits)
        if name in seen:
            raise UploadError("invalid", f"entry {shown(name)} is there twice", entry=shown(name))
        seen.add(name)
        unpacked, packed = unpacked + info.file_size, packed + info.compress_size
        if not info.is_dir() and not is_junk(name):
            files[name] = info
    if unpacked > limits.unpacked_bytes:
        raise UploadError(
            "too_large", f"the archive unpacks to {unpacked} bytes; at most {limits.unpacked_bytes} are taken"
        )
    _check_ratio("the archive", unpacked, packed, limits)
    if not files:
        raise UploadError("invalid", "the archive holds no files; expected images")
    return files


def _check_count(opened: zipfile.ZipFile, file: BinaryIO) -> None:
    """An entry may hide in another's comment, or get lost there by an accident."""
    file.seek(-_END.size - len(opened.comment), os.SEEK_END)
    magic, _, _, _, declared, _, _, _ = _END.unpack(file.read(_END.size))
    found = len(opened.infolist())
    if magic != b"PK\x05\x06" or declared not in (found, 0xFFFF):  # more than that are counted elsewhere
        raise UploadError("invalid", f"the archive ends with other than a count of its {found} entries; pack it anew")


def _check_overlaps(infos: Sequence[zipfile.ZipInfo], file: BinaryIO, patience: Patience) -> None:
    free_from, before = 0, ""
    size = os.fstat(file.fileno()).st_size
    for info in sorted(infos, key=lambda info: info.header_offset):
        patience.check()
        if not free_from <= info.header_offset <= size - _LOCAL.size:
            reason = (
                f"shares bytes with {before}" if free_from > info.header_offset >= 0 else "lies outside the archive"
            )
            raise UploadError("invalid", f"entry {shown(info.orig_filename)} {reason}")
        file.seek(info.header_offset)
        *_, name_bytes, extra_bytes = _LOCAL.unpack(file.read(_LOCAL.size))
        free_from = info.header_offset + _LOCAL.size + name_bytes + extra_bytes + info.compress_size
        before = shown(info.orig_filename)
    if free_from > size:
        raise UploadError("invalid", f"entry {before} goes beyond the archive, which may be truncated")


def _check_entry(info: zipfile.ZipInfo, name: str, limits: UploadLimits) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    reason = None
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = f"is a {'symbolic link' if kind == stat.S_IFLNK else 'special file'}; send plain files"
    elif info.flag_bits & _ENCRYPTED:
        reason = "is encrypted; send it without a password"
    elif info.is_dir() and info.file_size:
        reason = "is a folder with content"
    elif info.compress_type not in _METHODS:
        reason = f"is packed by method {info.compress_type}; use deflate, which every zip program has, or none"
    elif info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        reason = f"is not packed, yet {info.compress_size} bytes claim to be {info.file_size}"
    if reason:
        raise UploadError("invalid", f"entry {shown(name)} {reason}", entry=shown(name))
    if info.file_size > _HARMLESS_BYTES:
        _check_ratio(f"entry {shown(name)}", info.file_size, info.compress_size, limits)


def _check_ratio(what: str, unpacked: int, packed: int, limits: UploadLimits) -> None:
    if unpacked > _HARMLESS_BYTES and unpacked > limits.ratio * packed:
        raise UploadError(
            "too_large",
            f"{what} unpacks from {packed} to {unpacked} bytes, more than {limits.ratio:g} to 1, as bombs do; "
            "send it less packed",
        )


def _too_many(found: str, limits: UploadLimits) -> UploadError:
    return UploadError("too_large", f"the archive has {found} entries; at most {limits.entries} are taken")
