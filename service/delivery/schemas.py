"""Bodies and answers about aliases."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_LONGEST_REASON = 500


class RollbackRequest(BaseModel):
    """Why an alias is rolled back."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    reason: str = Field(default="", max_length=_LONGEST_REASON, description="kept in the history")


class AliasRequest(RollbackRequest):
    """What an alias is to mean."""

    version: int = Field(ge=1, lt=10**9, description="of the model")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class AliasChangedAnswer(_Answer):
    """A change that stands in the store."""

    model: str
    alias: str
    version: int | None = Field(description="what it means now; null: it is removed")
    before: int | None = Field(description="what it meant; null: it was not there")
    everywhere: bool = Field(description="every worker of this service serves it so from now on")
    waiting: list[str] = Field(description="workers that do not yet, and why")


class AliasState(_Answer):
    """An alias."""

    alias: str
    version: int = Field(description="in the store")
    serving: int | None = Field(description="what requests get; another one while the version is loaded or refused")


class AliasChange(_Answer):
    """A line of the history."""

    at: str
    alias: str
    action: Literal["set", "removed", "rolled_back", "found"]
    version: int | None
    before: int | None
    by: str = Field(description="api, or the id of a job; empty if nobody said")
    reason: str


class AliasesAnswer(_Answer):
    """The aliases of a model."""

    model: str
    aliases: list[AliasState]
    history: list[AliasChange] = Field(description="the latest changes, the newest first")
