"""What is wrong with a recipe, key by key, for a person and for a program."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bundle.errors import BundleError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        field: Where, dotted from the top of the recipe: `train.epochs`, `model.hidden.0`.
        message: What is wrong and what to do, as a sentence.
        got: What came, as plain JSON; long values are cut.
        allowed: What may stand there (known keys, members, ranges in words); None where that has no short answer.
    """

    field: str
    message: str
    got: Any = None
    allowed: list[str] | None = None

    def below(self, table: str) -> "Problem":
        """The same problem seen from the table above."""
        return replace(self, field=".".join(part for part in (table, self.field) if part))

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class RecipeError(BundleError):
    """The recipe cannot be used as it is; `problems` names every key that is wrong, where keys are to blame."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = list(problems)

    @classmethod
    def of(cls, where: str, problems: Sequence[Problem]) -> "RecipeError":
        """The error for these problems of the recipe that `where` names."""
        return cls("; ".join(f"{where}: {problem}" for problem in problems), problems)


class Contradictions(ValueError):  # noqa: N818 (raised inside a schema, and never seen outside of it)
    """Values that are possible one by one but not together; fields as seen from the table that raises it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = list(problems)


def plain(value: Any) -> Any:
    """A value as it may be shown in an answer: JSON scalars as they are, all else as text, cut where it is long."""
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."
