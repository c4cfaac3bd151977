"""A zip of image files as a set: looked through once by headers alone, then decoded image by image."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from bundle.uploads.archive import Archive
from bundle.uploads.content import Pixels, Plan
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import MAX_SIDE, MIN_SIDE, Patience, UploadLimits, Wanted
from bundle.uploads.names import classes_of, shown
from bundle.uploads.pictures import Look, decode, look

_LISTED = 5


def plan_zip(archive: Archive, wanted: Wanted, limits: UploadLimits, patience: Patience) -> Plan:
    """What the images of an archive come to.

    Raises:
        UploadError: If one cannot be read, if they differ in size or kind and `wanted` does not say what to do, or if
            all together are too much.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    greys, pixels = 0, 0
    for name in archive.names:
        patience.check()
        seen = look(archive.read(name, limits.image_bytes), shown(name), limits)
        sizes[seen.width, seen.height] += 1
        greys += seen.grey
        pixels += seen.width * seen.height
        if pixels > limits.all_megapixels * 1e6:
            raise UploadError(
                "too_large", f"the images have more than {limits.all_megapixels:g} megapixels in all; scale them first"
            )
    n = len(archive.names)
    height, width = side_and_side(sizes, wanted)
    plan = Plan((n, height, width, wanted.channels or _channels(greys, n)), *_labels(archive.names, limits))
    check_plan(plan, limits)
    return plan


def zip_blocks(
    archive: Archive, plan: Plan, wanted: Wanted, limits: UploadLimits, patience: Patience
) -> Iterator[Pixels]:
    """The images, (1, height, width, channels) each, by the order of their names.

    Raises:
        UploadError: If one is damaged.
    """
    for name in archive.names:
        patience.check()
        raw = archive.read(name, limits.image_bytes)
        pixels = decode(raw, shown(name), limits, plan.shape[3], wanted.size)
        if pixels.shape != plan.shape[1:]:  # a PNG may tell of its rotation behind its pixels
            seen: Look = look(raw, shown(name), limits)
            raise UploadError(
                "invalid",
                f"{shown(name)} comes out as {pixels.shape[1]}x{pixels.shape[0]}, but its header says "
                f"{seen.width}x{seen.height}; save it anew, or ask for a size",
            )
        yield pixels[None]


def side_and_side(sizes: Counter[tuple[int, int]], wanted: Wanted) -> tuple[int, int]:
    """Height and width that all images will have, from how often each (width, height) was found.

    Raises:
        UploadError: If they differ, or cannot be learned from, and no size is wanted.
    """
    if wanted.size is not None:
        return wanted.size, wanted.size
    found = {f"{width}x{height}": n for (width, height), n in sizes.most_common(_LISTED)}
    if len(sizes) > 1:
        listed = ", ".join(f"{n} of {size}" for size, n in found.items())
        more = f" and {len(sizes) - _LISTED} more sizes" if len(sizes) > _LISTED else ""
        raise UploadError(
            "invalid",
            f"the images differ in size: {listed}{more} (width x height); send one size, or add ?size=64 to have the "
            "middle square of each cut out and scaled",
            sizes=found,
        )
    width, height = next(iter(sizes))
    if min(width, height) < MIN_SIDE or max(width, height) > MAX_SIDE:
        raise UploadError(
            "invalid",
            f"the images are {width}x{height}; expected sides from {MIN_SIDE} to {MAX_SIDE} pixels: add ?size=64 to "
            "have the middle square of each cut out and scaled",
            sizes=found,
        )
    return height, width


def check_plan(plan: Plan, limits: UploadLimits) -> None:
    """Refuse what would be too few images to learn from, or too much to keep.

    Raises:
        UploadError: If so.
    """
    if plan.shape[0] < 2:
        raise UploadError("invalid", "there is one image; expected at least 2, one of them to test with")
    if plan.pixel_bytes > limits.set_bytes:
        n, height, width, channels = plan.shape
        raise UploadError(
            "too_large",
            f"{n} images of {width}x{height} with {channels} channels come to {plan.pixel_bytes} bytes; at most "
            f"{limits.set_bytes} are taken: send fewer, or add ?size= to have them scaled",
        )


def _channels(greys: int, n: int) -> int:
    if 0 < greys < n:
        raise UploadError(
            "invalid",
            f"{greys} images are grey and {n - greys} in colour; send one kind, or add ?channels=1 or ?channels=3",
            grey=greys,
            colour=n - greys,
        )
    return 1 if greys else 3


def _labels(
    names: Sequence[str], limits: UploadLimits
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], tuple[str, ...]] | tuple[None, None]:
    classes = classes_of(names)
    if classes is None:
        return None, None
    label_names = tuple(sorted(set(classes)))
    if len(label_names) > limits.classes:
        raise UploadError(
            "too_large",
            f"the images are in {len(label_names)} folders, which are classes; at most {limits.classes} are taken",
        )
    place = {name: i for i, name in enumerate(label_names)}
    return np.array([place[name] for name in classes], dtype=np.int64), label_names
