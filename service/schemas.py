"""Request bodies. Unknown fields are refused and types are strict: "3" is not 3, and true is not 1."""

import binascii
from base64 import b64decode
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    FailFast,
    Field,
    PlainValidator,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
)

from bundle.philox import MAX_INDEX, MAX_SEED
from service.errors import LatentShapeError
from service.images import Upload
from service.interpolation import Method

Codes = NDArray[np.float32]

# A body of 32 MB may hold millions of wrong entries: one of them is enough to say so.
_Row = Annotated[list[float], FailFast()]
_ROW: TypeAdapter[Any] = TypeAdapter(_Row, config=ConfigDict(strict=True))
_ROWS: TypeAdapter[Any] = TypeAdapter(Annotated[list[_Row], FailFast()], config=ConfigDict(strict=True))


def _read_codes(value: object) -> Codes:
    if not isinstance(value, np.ndarray):
        nested = isinstance(value, list) and any(isinstance(row, list) for row in value[:1])
        try:
            rows = (_ROWS if nested else _ROW).validate_python(value)
        except ValidationError as error:
            raise LatentShapeError(
                "codes must be numbers: a list of them, or a list of lists of equal length"
            ) from error
        if nested and len({len(row) for row in rows}) > 1:
            raise LatentShapeError(f"the rows have different lengths: {sorted({len(row) for row in rows})}")
        with np.errstate(over="ignore"):  # too large becomes infinite, and is refused just below
            value = np.asarray(rows, dtype=np.float64).astype(np.float32)
    if not np.isfinite(value).all():
        raise LatentShapeError("a code holds NaN or an infinite number, or one too large for float32")
    return np.asarray(value, dtype=np.float32)


def _read_upload(value: object) -> Upload:
    if isinstance(value, bytes | np.ndarray):
        return value
    if not isinstance(value, str):
        raise ValueError("an image is a string of base64")
    encoded = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"an image is a string of base64, or a data: URL of it: {error}") from error


def _numbers_schema(title: str, axes: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "number"}
    for _ in range(axes):
        schema = {"type": "array", "items": schema}
    return schema | {"title": title}


Image = Annotated[
    Upload,
    PlainValidator(_read_upload),
    WithJsonSchema({"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}),
]
Matrix = Annotated[Codes, PlainValidator(_read_codes), WithJsonSchema(_numbers_schema("Matrix", 2))]
Vector = Annotated[Codes, PlainValidator(_read_codes), WithJsonSchema(_numbers_schema("Vector", 1))]
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Index = Annotated[int, Field(ge=0, le=MAX_INDEX)]
Label = int | str


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _ModelBody(_Body):
    model: str | None = Field(None, description="name, name@version or name@alias; left out, the configured default")


class SampleRequest(_ModelBody):
    """What to draw."""

    n: int | None = Field(None, ge=1, description="number of images; 1 if left out, or as many as there are latents")
    seed: Seed | None = Field(None, description="0 to 2^53 - 1; left out, one is drawn and told")
    start: Index = Field(0, description="index of the first image; image i of a seed is the same at any offset")
    truncation: float = Field(
        1.0, ge=0, le=2, description="factor that pulls codes towards the prior's centre; 1 is off"
    )
    label: Label | list[Label] | None = Field(
        None, description="class, by number or name: one for all images or one for each; left out, drawn from the seed"
    )
    codes: Matrix | None = Field(None, description="structured codes (n, k), for models that take them")
    prompt: str | None = Field(None, description="caption, for models that take one")
    latents: Matrix | None = Field(None, description="codes (n, latent_dim) outright, instead of seed and truncation")
    include: Annotated[list[Literal["latents"]], FailFast()] = Field(
        default_factory=list, description="what to answer beside the images"
    )


class SeedPoint(_Body):
    """The code of image `index` of a seed, as /sample draws it."""

    seed: Seed
    index: Index = 0


class LatentPoint(_Body):
    """A code outright."""

    latent: Vector


class ImagePoint(_Body):
    """The code of an image, by the model's encoder."""

    image: Image


_MOST_MEMBERS = 2  # of a point


def _point_kind(value: object) -> str | None:
    keys = value.keys() if isinstance(value, dict) and len(value) <= _MOST_MEMBERS else ()
    return next((kind for kind in ("seed", "latent", "image") if kind in keys), None)


Point = Annotated[
    Annotated[SeedPoint, Tag("seed")] | Annotated[LatentPoint, Tag("latent")] | Annotated[ImagePoint, Tag("image")],
    Discriminator(
        _point_kind,
        custom_error_type="point",
        custom_error_message='a point is {"seed": 7, "index": 0}, {"latent": [...]} or {"image": base64}',
    ),
]


class InterpolateRequest(_ModelBody):
    """The way to go."""

    origin: Point = Field(alias="from", description="where the way begins")
    to: Point = Field(description="where it ends")
    via: list[Point] = Field([], description="waypoints between, in order")
    steps: int = Field(16, ge=2, description="frames in all, the ends included")
    method: Method | None = Field(
        None, description="left out, slerp for models with a normal or spherical prior, lerp for all others"
    )
    loop: bool = Field(False, description="return to the start, without repeating its frame")
    label: Label | None = Field(
        None, description="class of all frames; left out, the one that /sample draws for the first waypoint with a seed"
    )
    resize: bool = Field(False, description="fit images of other sizes: cut out the centre and scale")

    @property
    def waypoints(self) -> list[SeedPoint | LatentPoint | ImagePoint]:
        """All points in order."""
        return [self.origin, *self.via, self.to]


class _ImagesBody(_ModelBody):
    images: list[Image] = Field(min_length=1, description="image files in base64; PNG, JPEG, WebP, GIF or BMP")
    label: Label | list[Label] | None = Field(
        None, description="class of the images, by number or name, for models whose encoder takes one"
    )
    resize: bool = Field(False, description="fit images of other sizes: cut out the centre and scale")


class EncodeRequest(_ImagesBody):
    """Images to encode."""


class ReconstructRequest(_ImagesBody):
    """Images to encode and draw again."""

    include: Annotated[list[Literal["latents", "metrics"]], FailFast()] = Field(
        [], description="what to answer beside the images"
    )


class QueryOptions(_Body):
    """Options about files, in the query of any request."""

    quality: int | None = Field(None, ge=1, le=100)
    fps: float = Field(20.0, ge=0.1, le=100)
