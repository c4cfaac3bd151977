"""`optional.json`: the files of a bundle that can be made again, TorchScript (`.pt`) and torch.export (`.pt2`).

It lies beside the manifest and is no part of it: see `docs/decisions/0001-optional-files-beside-the-manifest.md`.
"""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bundle.durable import replace_file
from bundle.errors import ManifestError
from bundle.hashing import FileRecord

OPTIONAL = "optional.json"
OptionalName = Annotated[str, Field(pattern=r"^[a-z]+\.pt2?$")]


class OptionalFiles(BaseModel):
    """The whole of `optional.json`, by file name.

    Attributes:
        torch: Version of torch that made the files.
        files: What is there.
        unavailable: Why torch refused to make a file.
        pixel_difference: Measured share of a file's uint8 values that differ from onnxruntime's, 0 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    schema_version: Literal[1] = 1
    torch: str
    files: dict[OptionalName, FileRecord] = {}
    unavailable: dict[OptionalName, str] = {}
    pixel_difference: dict[OptionalName, Annotated[float, Field(ge=0, le=1)]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name, file in self.files.items():
            if file.path != name:
                raise ValueError(f"files[{name!r}] is the record of {file.path!r}")
        both = sorted(self.files.keys() & self.unavailable.keys())
        if both:
            raise ValueError(f"{both} are in files and in unavailable; expected one of the two")
        unknown = sorted(self.pixel_difference.keys() - self.files.keys())
        if unknown:
            raise ValueError(f"pixel_difference is given for {unknown}, which are not in files")
        return self


def read_optional(folder: Path) -> OptionalFiles | None:
    """The optional files of the bundle in a folder, not yet verified (`hashing.check`); None where it has no sidecar.

    Raises:
        ManifestError: If `optional.json` cannot be read or does not fit the schema.
    """
    path = folder / OPTIONAL
    try:
        return OptionalFiles.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "content"
        raise ManifestError(f"{path}: {place}: {first['msg']}; delete it and make the optional files again") from error


def write_optional(folder: Path, optional: OptionalFiles) -> None:
    """Write `optional.json` in one step: readers see the old one or the new one. The files themselves come first."""
    content = json.dumps(optional.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    replace_file(folder / OPTIONAL, content.encode())
