"""From what was sent to what is kept."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from bundle.uploads.archive import Archive, open_archive
from bundle.uploads.arrays import is_npz, npz_blocks, plan_npz
from bundle.uploads.content import Pixels, Plan, write_set
from bundle.uploads.limits import Patience, UploadLimits, Wanted
from bundle.uploads.record import Upload
from bundle.uploads.zipped import plan_zip, zip_blocks


def normalise(
    body: Path,
    images: Path,
    wanted: Wanted,
    limits: UploadLimits,
    patience: Patience,
    check_disk: Callable[[int], None],
) -> Upload:
    """Judge an upload and write its images in the one form.

    Args:
        body: What was sent.
        images: The `.npz` to write.
        wanted: What the sender asks for.
        limits: What it may cost.
        patience: Ends it.
        check_disk: Called with the bytes that will be written, before they are.

    Returns:
        The record of the set.

    Raises:
        UploadError: Why it is refused.
    """
    with open_archive(body, limits, patience) as archive:
        plan, blocks = _source(archive, wanted, limits, patience)
        check_disk(plan.pixel_bytes)
        made = write_set(images, plan, blocks, patience)
        n, height, width, channels = plan.shape
        return Upload.model_validate(
            {
                "id": made,
                "images": n,
                "height": height,
                "width": width,
                "channels": channels,
                "labels": plan.label_names,
                "train": plan.train,
                "bytes": images.stat().st_size,
                "source": "npz" if is_npz(archive) else "zip",
                "created": datetime.now(UTC),
            }
        )


def _source(
    archive: Archive, wanted: Wanted, limits: UploadLimits, patience: Patience
) -> tuple[Plan, Iterator[Pixels]]:
    if is_npz(archive):
        arrays, plan = plan_npz(archive, wanted, limits)
        return plan, npz_blocks(archive, arrays, plan, wanted, patience)
    plan = plan_zip(archive, wanted, limits, patience)
    return plan, zip_blocks(archive, plan, wanted, limits, patience)
