"""Zips of images: what is taken, and what hostile ones meet."""

import contextlib
import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from bundle.uploads.errors import UploadError
from bundle.uploads.limits import UploadLimits
from tests.bundle.uploads.files import chunk, entry, pixels, png, png_of, receive, refused, with_image, zipped

LIMITS = UploadLimits(entries=50, unpacked_bytes=10_000_000, set_bytes=1_000_000, image_bytes=100_000)


def test_images_come_back_as_they_were_in_the_order_of_their_names(tmp_path: Path) -> None:
    images, labels, record = receive(tmp_path, zipped((f"{i}.png", png(i)) for i in (2, 0, 1)))
    np.testing.assert_array_equal(images, np.stack([pixels(i) for i in range(3)]))
    assert labels is None
    assert (record.images, record.height, record.width, record.channels, record.source) == (3, 12, 12, 3, "zip")


def test_folders_are_classes_also_below_a_folder_that_all_share(tmp_path: Path) -> None:
    names = ["set/dog/1.png", "set/cat/1.png", "set/cat/2.png", "set/.DS_Store", "__MACOSX/set/._1.png", "set/dog/"]
    files = zipped((name, b"" if name.endswith("/") else png(i)) for i, name in enumerate(names))
    images, labels, record = receive(tmp_path, files)
    assert record.labels == ("cat", "dog")
    assert labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(images, np.stack([pixels(i) for i in (1, 2, 0)]))


@pytest.mark.parametrize("names", [("a.png", "cat/b.png"), ("cat/a.png", "cat/b.png"), ("a.png", "b.png")])
def test_there_are_no_labels_unless_all_images_are_in_one_of_several_folders(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    _, labels, record = receive(tmp_path, zipped((name, png(i)) for i, name in enumerate(names)))
    assert labels is None
    assert record.labels is None


def test_equal_sets_have_one_id_however_they_are_packed(tmp_path: Path) -> None:
    files = [(f"{i}.png", png(i)) for i in range(3)]
    _, _, first = receive(tmp_path, zipped(files))
    _, _, again = receive(tmp_path, zipped(reversed(files), zipfile.ZIP_STORED))
    _, _, other = receive(tmp_path, zipped(files[:2]))
    assert first == again
    assert other.id != first.id


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "a/../../evil.png",
        "a/./b.png",
        "a//b.png",
        "/etc/evil.png",
        "//host/evil.png",
        "..\\evil.png",
        "C:evil.png",
        "c:/evil.png",
        "\uff0e\uff0e/evil.png",
        "\u2025/evil.png",
        "..\uff0fevil.png",
        "a\uff3cb.png",
        "exe\u202egnp.png",
        "a\u200db.png",
        "a\rb.png",
        "x" * 256 + ".png",
        "x/" * 550 + ".png",
    ],
)
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    error = refused(tmp_path, with_image(name))
    assert error.code == "invalid"
    assert "use relative names" in error.message
    assert error.message.isascii()


def test_a_name_with_a_nul_is_refused(tmp_path: Path) -> None:
    content = with_image("evil.png?.txt").replace(b"evil.png?.txt", b"evil.png\0.txt")
    assert "NUL" in refused(tmp_path, content).message


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    error = refused(tmp_path, with_image(entry("link.png", kind | 0o777), b"/etc/passwd"))
    assert ("symbolic link" if kind == stat.S_IFLNK else "special file") in error.message


@pytest.mark.parametrize("flag", [0x1, 0x41, 0x2000])
def test_encrypted_entries_are_refused(tmp_path: Path, flag: int) -> None:
    content = bytearray(with_image("x.png"))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.rindex(magic) + offset
        content[at : at + 2] = struct.pack("<H", flag)
    assert "encrypted" in refused(tmp_path, bytes(content)).message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bounds_are_refused(tmp_path: Path, method: int) -> None:
    assert "use deflate" in refused(tmp_path, zipped([("1.png", png(1)), ("2.png", png(2))], method)).message


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        content = with_image("2.png")
    assert "twice" in refused(tmp_path, content).message


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (zipped([("a.png", png())]), "a zip"),
        (b"\x1f\x8b" + b"\0" * 50, "gzip"),
        (b"7z\xbc\xaf\x27\x1c" + b"\0" * 50, "7z"),
        (b"hello", "no image"),
        (b"", "no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image"),
    ],
)
def test_what_is_no_image_is_refused_whatever_its_name(tmp_path: Path, content: bytes, word: str) -> None:
    error = refused(tmp_path, with_image("x.png", content))
    assert error.code == "invalid"
    assert word in error.message
    assert "'x.png'" in error.message


@pytest.mark.parametrize(
    "content", [b"", b"x", b"hello" * 100, b"\x1f\x8b" * 9, b"BZh91", b"\x89PNG\r\n\x1a\n", b"Rar!"]
)
def test_what_is_no_archive_is_of_a_wrong_format(tmp_path: Path, content: bytes) -> None:
    error = refused(tmp_path, content)
    assert error.code == "format"
    assert "expected a zip of images" in error.message


def test_an_archive_without_files_is_refused(tmp_path: Path) -> None:
    assert "empty" in refused(tmp_path, zipped([])).message
    assert "no files" in refused(tmp_path, zipped([("cat/", b""), (".DS_Store", b"x")])).message


def test_one_image_alone_is_refused(tmp_path: Path) -> None:
    assert "at least 2" in refused(tmp_path, zipped([("1.png", png())])).message


def test_an_archive_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    content = with_image("x.png")
    for end in range(4, len(content), 97):
        assert refused(tmp_path, content[:end]).code == "invalid"


def test_damage_anywhere_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    content = with_image("x.png")
    _, _, sound = receive(tmp_path / "sound", content)
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        with contextlib.suppress(UploadError):
            assert receive(tmp_path / "damaged", bytes(damaged))[2].id == sound.id
    assert list((tmp_path / "damaged" / ".incoming").iterdir()) == []


def test_a_zip_that_was_written_without_seeking_is_taken(tmp_path: Path) -> None:
    """Its local headers have no sizes: they stand behind each file, and in the table of contents."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError

        def tell(self) -> int:
            raise OSError

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(3):
            archive.writestr(f"{i}.png", png(i))
    assert (
        receive(tmp_path, stream.getvalue())[2] == receive(tmp_path, zipped((f"{i}.png", png(i)) for i in range(3)))[2]
    )


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    error = refused(tmp_path, with_image("x.png", b"\0" * 5_000_000), LIMITS)
    assert error.code == "too_large"
    assert "as bombs do" in error.message


def test_many_small_files_that_are_too_much_together_are_refused(tmp_path: Path) -> None:
    noise = pixels(0, 300, 300).tobytes()
    content = zipped(((f"{i}.bmp", noise) for i in range(40)), zipfile.ZIP_STORED)
    error = refused(tmp_path, content, LIMITS)
    assert error.code == "too_large"
    assert "unpacks to" in error.message


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, zipped((f"{i}/", b"") for i in range(51)), LIMITS)
    assert (error.code, "more than 50 entries" in error.message) == ("too_large", True)


def test_a_huge_table_of_contents_is_refused_unread(tmp_path: Path) -> None:
    content = zipped((f"{i:0200}/{i:0200}/{i:0200}/{i:0200}.png", png()) for i in range(20))
    error = refused(tmp_path, content, UploadLimits(directory_bytes=10_000))
    assert (error.code, "table of contents" in error.message) == ("too_large", True)


def test_a_table_of_contents_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    content = bytearray(with_image("x.png"))
    at = content.rindex(b"PK\x05\x06") + 12
    content[at : at + 4] = struct.pack("<I", 0xFFFF_FFF0)
    assert refused(tmp_path, bytes(content)).code == "invalid"


def test_a_zip64_end_that_lies_is_refused(tmp_path: Path) -> None:
    content = with_image("x.png")
    at = content.rindex(b"PK\x05\x06")
    for entries, size, offset in ((2**63, 2**63, 0), (3, 2**40, 2**50), (2**32, 46, 2**64 - 1)):
        end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
        assert refused(tmp_path, content[:at] + end64 + locator + content[at:]).code == "invalid"


def test_an_image_larger_than_its_limit_is_refused_by_its_declared_size(tmp_path: Path) -> None:
    error = refused(tmp_path, with_image("x.bmp", pixels(0, 300, 300).tobytes()), LIMITS)
    assert (error.code, "270000 bytes; at most 100000" in error.message) == ("too_large", True)


@pytest.mark.parametrize("declared", [10, 5_000])
def test_an_entry_with_another_size_than_declared_is_refused(tmp_path: Path, declared: int) -> None:
    content = bytearray(with_image("x.png", pixels(0).tobytes()))
    for magic, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.rindex(magic) + offset
        content[at : at + 4] = struct.pack("<I", declared)
    assert refused(tmp_path, bytes(content)).code == "invalid"


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    """Fifield's bomb: many entries of the table of contents, one kernel."""
    content = zipped([("1.png", png(1)), ("2.png", png(1))])
    second = content.index(b"PK\x03\x04", 4)
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(b"PK\x01\x02"))
    for offset in (0, 10):  # the same entry, and one that begins within another
        forged = bytearray(content)
        at = forged.rindex(b"PK\x01\x02") + 42
        forged[at : at + 4] = struct.pack("<I", offset)
        assert second != offset
        assert directory > second
        assert "shares bytes" in refused(tmp_path, bytes(forged)).message


def test_a_file_that_contains_itself_is_not_looked_into(tmp_path: Path) -> None:
    """A quine, as far as it matters here: an archive in an archive is never opened."""
    inner = with_image("x.png")
    for _ in range(3):
        inner = with_image("again.zip", inner)
    assert "archives within archives" in refused(tmp_path, inner).message


def test_a_png_whose_chunks_unpack_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    for bombs in ([chunk(b"iCCP", b"p\0\0" + bomb)], [chunk(b"zTXt", b"k\0\0" + bomb)]):
        content = png_of(12, 12, *bombs, data=zlib.compress(b"\0" * 13 * 12))
        assert refused(tmp_path, with_image("x.png", content)).code == "invalid"


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    content = zipped((f"class {i}/1.png", png()) for i in range(5))
    error = refused(tmp_path, content, UploadLimits(classes=4))
    assert (error.code, "5 folders" in error.message) == ("too_large", True)


def test_a_set_that_comes_to_too_many_bytes_is_refused_before_it_is_written(tmp_path: Path) -> None:
    content = zipped((f"{i}.png", png_of(200, 200)) for i in range(40))
    error = refused(tmp_path, content, LIMITS)  # a pixel that was decoded would be one that is missing
    assert (error.code, "1600000 bytes; at most 1000000" in error.message) == ("too_large", True)


def test_work_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    assert refused(tmp_path, with_image("x.png"), UploadLimits(work_s=0)).code == "slow"
