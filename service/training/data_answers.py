"""The answers under /training/data, and what its query may say."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bundle.uploads.record import Upload

DATA = "/training/data"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class UploadAnswer(_Answer):
    """An uploaded data set."""

    id: str = Field(description="sha256 of what it says: pixels, labels, their names")
    data: str = Field(description="as `data` of POST /training/jobs takes it: upload:ID")
    images: int
    height: int
    width: int
    channels: Literal[1, 3]
    labels: list[str] | None = Field(description="names of the classes; null where the images have none")
    train: int | None = Field(description="so many are for training, the rest for testing; null: split by hash")
    bytes: int = Field(description="on the disk")
    source: Literal["zip", "npz"]
    created: str


class BuiltInAnswer(_Answer):
    """A data set that recipes know by name, and that was found."""

    name: str
    data: str = Field(description="as `data` of POST /training/jobs takes it")


class DataAnswer(_Answer):
    """All data sets that jobs can name."""

    built_in: list[BuiltInAnswer] = Field(
        description="found where this service runs; a worker elsewhere may have others"
    )
    uploads: list[UploadAnswer] = Field(description="the newest first")


class DataQuery(BaseModel):
    """What the images are to be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int | None = Field(
        default=None, ge=8, le=512, description="side in pixels: the middle square of each image is cut out and scaled"
    )
    channels: Literal["1", "3"] | None = Field(default=None, description="1 makes all images grey, 3 coloured")


def show_upload(upload: Upload) -> dict[str, Any]:
    """As `UploadAnswer`."""
    shown = upload.model_dump(mode="json", exclude={"schema_version", "created"})
    created = upload.created.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {**shown, "data": f"upload:{upload.id}", "created": created}
