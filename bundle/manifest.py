"""`manifest.json`: what a bundle is. Unknown keys and unknown schema versions are refused."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import to_jsonable_python

from bundle.errors import ManifestError
from bundle.hashing import SHA256, FileRecord
from bundle.priors import Prior

SCHEMA_VERSION = 1
NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
BATCH_AXIS = "n"
RESERVED = frozenset({"manifest.json", "optional.json"})

GraphName = Literal[
    "decode", "encode", "next", "score", "translate", "complete", "assemble", "classify", "discriminate"
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TensorSpec(_Record):
    """An input or output of a graph. Axes are sizes, or names where the size is free; the first is always "n"."""

    name: str
    dtype: Literal["float32", "int64", "uint8"]
    shape: tuple[int | str, ...]

    @model_validator(mode="after")
    def _batched(self) -> Self:
        if not self.shape or self.shape[0] != BATCH_AXIS:
            raise ValueError(f"tensor {self.name!r} has shape {self.shape}; its first axis must be {BATCH_AXIS!r}")
        if any(isinstance(size, int) and size < 1 for size in self.shape):
            raise ValueError(f"tensor {self.name!r} has shape {self.shape}; a fixed axis holds at least 1")
        return self


class Latency(_Record):
    """CPU time of one run of a graph, one thread, least of several, in milliseconds."""

    batch: int = Field(ge=1)
    milliseconds: float = Field(gt=0)


class GraphSpec(_Record):
    """One graph: its ONNX file, its interface, how far a runtime may stray from PyTorch, and its cost on a CPU."""

    file: FileRecord
    inputs: list[TensorSpec]
    outputs: list[TensorSpec]
    tolerance: float = Field(gt=0, description="largest absolute difference from the golden float32 outputs")
    likelihood: Literal["exact", "bound"] | None = None
    latency: list[Latency] = []

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, or None."""
        return next((tensor for tensor in self.inputs if tensor.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """The output of that name, or None."""
        return next((tensor for tensor in self.outputs if tensor.name == name), None)


class ImageSpec(_Record):
    """Shape of the model's images."""

    channels: Literal[1, 3]
    height: int = Field(ge=1)
    width: int = Field(ge=1)


class DataSource(_Record):
    """The data that the model learned from, with its licence."""

    name: str
    sha256: str = Field(pattern=SHA256)
    licence: str
    attribution: str


class Training(_Record):
    """How the weights came to be: enough to do it again."""

    recipe: dict[str, Any]
    seed: int
    code_revision: str
    steps: int
    images: int
    seconds: float
    hardware: str
    libraries: dict[str, str]
    run: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        exclude_if=lambda run: run is None,  # manifests from before runs had names keep their bytes
        description="of which this is the only bundle of its name: see `Staging.publish`",
    )

    @field_validator("recipe")
    @classmethod
    def _as_json(cls, recipe: dict[str, Any]) -> dict[str, Any]:
        """What a reader of the manifest will find (lists for tuples); JSON has no NaN."""
        found: dict[str, Any] = json.loads(json.dumps(to_jsonable_python(recipe), allow_nan=False))
        return found


class Metric(_Record):
    """A measured figure with all that is needed to read it."""

    name: str
    value: float
    error: float | None = None
    unit: str
    protocol: str
    split: str


class Parent(_Record):
    """The bundle that this one was made from, and how that one came to be."""

    name: str
    version: int
    digest: str = Field(pattern=SHA256)
    training: Training


class Manifest(_Record):
    """The whole of `manifest.json`."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    version: int = Field(ge=1)
    family: str
    created: datetime
    graphs: dict[GraphName, GraphSpec] = Field(min_length=1)
    image: ImageSpec
    prior: Prior | None = None
    labels: list[str] | None = None
    domains: list[str] | None = None
    vocabulary: list[str] | None = None
    weights: FileRecord
    golden: FileRecord
    preview: FileRecord
    data: DataSource
    training: Training
    metrics: list[Metric] = []
    parent: Parent | None = None

    @model_validator(mode="after")
    def _one_file_per_record(self) -> Self:
        names = [file.path for file in self.files()]
        if len(set(names)) < len(names) or RESERVED.intersection(names):
            raise ValueError(f"files are {names}; expected a different name for each, none of {sorted(RESERVED)}")
        return self

    def files(self) -> list[FileRecord]:
        """Every file that the bundle must hold beside the manifest."""
        return [*(graph.file for graph in self.graphs.values()), self.weights, self.golden, self.preview]

    def to_json(self) -> bytes:
        """The bytes of `manifest.json`: the same manifest gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def parse_manifest(raw: bytes, path: Path) -> Manifest:
    """Read the bytes of a manifest; `path` is named in errors.

    Raises:
        ManifestError: If they are no JSON, of another schema version, or do not fit the schema.
    """
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{path} is not JSON ({error}); it may be truncated") from error
    if not isinstance(found, dict):
        raise ManifestError(f"{path} holds a {type(found).__name__}; expected a JSON object")
    version = found.get("schema_version")
    if version != SCHEMA_VERSION:
        raise ManifestError(f"{path} has schema_version {version!r}; this program reads {SCHEMA_VERSION}")
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{path}: {place}: {first['msg']} ({error.error_count()} problems in all)") from error
