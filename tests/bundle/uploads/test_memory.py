"""What an upload costs does not grow with what it holds: measured, in a process of its own, as peak resident memory."""

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.bundle.uploads.files import image, npz, pixels, zipped

ROOT = Path(__file__).parents[3]
_SMALL, _LARGE = 8, 400  # images of half a megabyte as they are kept: 4 MB, and 200 MB

_CODE = """
import sys
from pathlib import Path
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import Wanted
from bundle.uploads.store import UploadStore
def chunks():
    with open(sys.argv[1], "rb") as file:
        while chunk := file.read(1 << 16):
            yield chunk
try:
    outcome = UploadStore(Path(sys.argv[2])).receive(chunks(), Wanted(size=int(sys.argv[3]) or None)).images
except UploadError as error:
    outcome = error.code
status = Path("/proc/self/status").read_text()  # getrusage would count the process that began this one
print(outcome, status.partition("VmHWM:")[2].split()[0])
"""


def peak_mb(folder: Path, content: bytes, size: int = 0) -> tuple[str, float]:
    """What became of an upload, and the most memory that the process had."""
    body = folder / "body"
    body.write_bytes(content)
    answer = subprocess.run(
        [sys.executable, "-c", _CODE, str(body), str(folder / "store"), str(size)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        env={"OMP_NUM_THREADS": "1"},
    )
    outcome, kilobytes = answer.stdout.split()
    return outcome, int(kilobytes) / 1024


def zip_of(n: int) -> bytes:
    """Noise that packs badly, so that body and set are both large."""
    file = image(pixels(0, 400, 400), "PNG", compress_level=1)
    return zipped(((f"{i}.png", file) for i in range(n)), zipfile.ZIP_STORED)


def arrays_of(n: int) -> bytes:
    return npz(images=np.random.default_rng(0).integers(0, 256, (n, 400, 400, 3), dtype=np.uint8))


def largest_images_of(n: int) -> bytes:
    """Few bytes, and as many pixels, in as many channels, as one image may have."""
    file = image(Image.new("RGBA", (4000, 4000), (1, 2, 3, 4)))
    return zipped(((f"{i}.png", file) for i in range(n)), zipfile.ZIP_STORED)


def entries_of(n: int) -> bytes:
    """As many entries as there may be, without end."""
    return zipped(((f"{i}/", b"") for i in range(n)), zipfile.ZIP_STORED)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(
    ("make", "n", "size", "expected", "most_mb"),
    [
        (largest_images_of, 4, 64, "4", 280),
        (largest_images_of, 4, 0, "invalid", 20),
        (entries_of, 100_000, 0, "invalid", 150),
    ],
)
def test_the_worst_that_is_taken_for_a_moment_is_bounded(
    tmp_path: Path, make: Callable[[int], bytes], n: int, size: int, expected: str, most_mb: float
) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    _, honest = peak_mb(folders[0], arrays_of(_SMALL))
    outcome, peak = peak_mb(folders[1], make(n), size)
    assert outcome == expected
    assert peak < honest + most_mb, f"{peak:.0f} MB beside {honest:.0f} MB"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize("make", [zip_of, arrays_of])
def test_fifty_times_the_images_take_no_more_memory(tmp_path: Path, make: Callable[[int], bytes]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    outcome, small = peak_mb(tmp_path / "a", make(_SMALL))
    assert outcome == str(_SMALL)
    outcome, large = peak_mb(tmp_path / "b", make(_LARGE))
    assert outcome == str(_LARGE)
    assert large < small + 20, f"{small:.0f} MB for {_SMALL} images, {large:.0f} MB for {_LARGE}"
