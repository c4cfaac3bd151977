"""Settings of the service: environment variables `GENSERVE_*`, or a TOML file named by `GENSERVE_SETTINGS`.

The environment wins over the file. `docs/settings.md` lists every field.
"""

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:[0-9]+)?)$")]
# As in manifests. A version or an alias (name@3) would never be looked for.
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
DatabaseUrl = Annotated[str, Field(pattern=r"^(sqlite:///.+|postgresql(\+psycopg)?://.+)$", repr=False)]
BatchSize = Annotated[int, Field(ge=1, le=4096)]


class ModelSettings(BaseModel):
    """What one model may have of its own; what is left out is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_batch_size: BatchSize | None = Field(default=None, description="images per run, of each of its graphs")


class Settings(BaseSettings):
    """All settings, each with its unit in its name or description."""

    model_config = SettingsConfigDict(env_prefix="GENSERVE_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="TCP port to listen on; 0 takes a free one")
    workers: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="processes that serve on the port; left out: one per core, at most 4, but 1 with a GPU",
    )
    store: Path = Field(default=Path("models"), description="folder of the bundles")
    store_poll_s: FiniteFloat = Field(
        default=2.0, ge=0, le=3600, description="seconds between two looks for new versions and aliases; 0 is never"
    )
    keep_versions: int = Field(
        default=4, ge=1, description="newest versions of a name that stay loaded, beside those with an alias"
    )
    default_model: str | None = Field(default="fashion-vae", description="model of requests that name none")
    device: Device = Field(
        default="auto", description="auto, cpu, cuda or cuda:N; cuda that is not usable ends the start"
    )
    tensorrt: bool = Field(default=False, description="on cuda, let TensorRT compile the graphs")
    runtime: Literal["onnxruntime", "torchscript"] = Field(default="onnxruntime", description="what runs the graphs")
    lanes: int | None = Field(
        default=None, ge=1, le=64, description="runs at once on the device, for all graphs; left out: from its cores"
    )
    threads: int = Field(default=1, ge=1, le=256, description="threads of one run on the CPU")
    max_batch_size: BatchSize | None = Field(
        default=None, description="images per run; left out: from the bundle's latency table"
    )
    models: dict[ModelName, ModelSettings] = Field(
        default={}, description="settings of single models, by name; they win over those for all"
    )
    max_wait_ms: FiniteFloat = Field(
        default=0.0, ge=0, le=1000, description="ms that an idle lane waits for a fuller batch"
    )
    at_once_ms: FiniteFloat = Field(
        default=0.5,
        ge=0,
        le=10,
        description="ms: where no lane runs anything, a run that should take no longer is made without waking one; "
        "on a CPU, with 2 workers or more; 0 is never",
    )
    awake_ms: FiniteFloat = Field(
        default=0.3,
        ge=0,
        le=10,
        description="ms that the event loop stays awake after an answer to the only client that asks, if its last "
        "request came as soon; 0, or where there is one core: it sleeps at once",
    )
    queue_images: int = Field(
        default=4096, ge=1, description="images that may wait per graph; more are refused with 503"
    )
    hang_s: FiniteFloat = Field(
        default=30.0,
        gt=0,
        description="seconds after which a hung run is given up and its runtime opened anew, or a hung worker replaced",
    )
    load_timeout_s: FiniteFloat = Field(
        default=600.0,
        gt=0,
        description="seconds after which a bundle that is still being loaded is given up, and the others serve",
    )
    max_images: int = Field(default=1024, ge=1, description="images in one request")
    max_steps: int = Field(default=512, ge=2, description="frames in one interpolation")
    max_body_mb: FiniteFloat = Field(default=32.0, gt=0, description="MB (10^6 bytes) of a request's body")
    max_image_megapixels: FiniteFloat = Field(
        default=16.0, gt=0, description="megapixels of an uploaded image, before decoding"
    )
    max_upload_megapixels: FiniteFloat = Field(
        default=256.0, gt=0, description="megapixels of all uploaded images of one request, before decoding"
    )
    default_timeout_ms: FiniteFloat = Field(
        default=30_000.0, ge=0, description="deadline in ms of requests without X-Timeout-Ms; 0 is none"
    )
    shutdown_grace_s: FiniteFloat = Field(
        default=0.0,
        ge=0,
        le=600,
        description="seconds after SIGTERM in which requests are still answered while /health/ready is 503",
    )
    drain_s: FiniteFloat = Field(default=30.0, ge=0, description="seconds that work under way gets at shutdown")
    encode_threads: int = Field(default=2, ge=1, description="threads that compress images")
    log_format: Literal["json", "console"] = Field(
        default="json", description="one JSON object a line, or coloured text"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least level that is logged"
    )
    tracing: bool = Field(default=False, description="send spans by OpenTelemetry; needs the extra otel")
    training: bool = Field(default=True, description="take training jobs under /training; a worker runs them")
    database: DatabaseUrl = Field(
        default="sqlite:///runs/jobs.sqlite", description="URL of the jobs' database: sqlite:///FILE or postgresql://…"
    )
    database_password_file: Path | None = Field(
        default=None, description="file with the database's password, so that it need not stand in the URL"
    )
    recipes: Path = Field(default=Path("configs"), description="folder of the recipes that jobs can name")
    uploads: Path = Field(default=Path("data/uploads"), description="folder of uploaded data sets")
    max_data_mb: FiniteFloat = Field(default=1000.0, gt=0, description="MB (10^6 bytes) of one data set, as it is sent")
    data_quota_mb: FiniteFloat = Field(
        default=20_000.0, gt=0, description="MB of all uploaded data sets; the least recently used go first"
    )
    data: Path | None = Field(default=None, description="folder of data sets that were not uploaded; beside data/")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file."""
        file = os.environ.get("GENSERVE_SETTINGS")
        if file and not Path(file).is_file():  # pydantic would go on without it
            raise FileNotFoundError(f"GENSERVE_SETTINGS names {file!r}, which is no file")
        toml = (TomlConfigSettingsSource(settings_cls, toml_file=file),) if file else ()
        return (init_settings, env_settings, *toml)


def why_invalid(error: Exception) -> str:
    """One line for what `Settings()` raises: a field or a file that cannot be, and what came."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    got = "a URL that may hold a password" if field == "database" else repr(first["input"])
    return f"{field}: {first['msg']}; got {got}"
