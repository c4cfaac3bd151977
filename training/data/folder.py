"""A folder of images; subfolders, where there are any, are the classes."""

import logging
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.data.dataset import Dataset, ImageSet, checked, content_sha256, split_by_hash
from training.errors import DataError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_log = logging.getLogger(__name__)


def load(path: Path, size: int, channels: int, test_share: float, licence: str, attribution: str) -> Dataset:
    """All images below a folder, cropped to the middle square and resized.

    Args:
        path: The folder. Images in its direct subfolders get the subfolder's name as their label.
        size: Side of the images in pixels.
        channels: 1 (grey) or 3 (colour).
        test_share: Share of the test split, decided by each image's content, 0 to 1.
        licence, attribution: Of the data, for the manifest.

    Raises:
        DataError: If the folder is missing, holds no image, or a file in it is damaged.
    """
    if not path.is_dir():
        raise DataError(f"there is no folder {path}")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < 2:
        raise DataError(f"{path} holds {len(files)} images; expected at least 2 with a suffix of {sorted(SUFFIXES)}")
    _log.info("reading %d images from %s", len(files), path)
    images = checked(np.stack([_read(file, size, channels) for file in files]), str(path))
    names, labels = _classes(path, files)
    in_test = _split([image.tobytes() for image in images], test_share)
    train, test = (ImageSet(images[side], labels[side] if labels is not None else None) for side in (~in_test, in_test))
    return Dataset(path.resolve().name, content_sha256(train, test), train, test, names, licence, attribution)


def _split(keys: list[bytes], test_share: float) -> NDArray[np.bool_]:
    in_test = split_by_hash(keys, test_share)
    if in_test.all() or not in_test.any():  # a small folder may fall all on one side: take one image across
        in_test[-1] = not in_test[-1]
    return in_test


def _classes(root: Path, files: list[Path]) -> tuple[tuple[str, ...] | None, NDArray[np.int64] | None]:
    parts = [file.relative_to(root).parts for file in files]
    if any(len(part) < 2 for part in parts):
        return None, None
    names = tuple(sorted({part[0] for part in parts}))
    if len(names) < 2:
        return None, None
    return names, np.array([names.index(part[0]) for part in parts], dtype=np.int64)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Pillow cuts deeper pixels off at 255 rather than scale them."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("it has 32 bits per pixel; expected 8 or 16")
    return image


def _read(file: Path, size: int, channels: int) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as opened:
                upright = ImageOps.exif_transpose(_eight_bit(opened)).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as an image ({error}); mend or remove it") from error
    on_white = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
    square = ImageOps.fit(on_white.convert("L" if channels == 1 else "RGB"), (size, size), Image.Resampling.LANCZOS)
    return np.asarray(square).reshape(size, size, channels)
