"""The recipes that jobs can name: the files of one folder."""

from pathlib import Path
from typing import Any

from bundle.recipes import RecipeError, check_recipe, named, read_named, resolved
from service.errors import UnknownRecipeError
from service.training.answers import RECIPES
from service.training.refusals import entry


def list_recipes(folder: Path) -> list[dict[str, Any]]:
    """As `RecipesAnswer` has them: every recipe without its tables."""
    shown = [_show(folder, name) for name in named(folder)]
    return [{key: value for key, value in one.items() if key != "recipe"} for one in shown]


def show_recipe(folder: Path, name: str) -> dict[str, Any]:
    """As `RecipeAnswer`.

    Raises:
        UnknownRecipeError: If there is none of that name; lists those that there are.
    """
    known = list(named(folder))
    if name not in known:
        raise UnknownRecipeError(
            f"there is no recipe {name[:80]!r}; there are: {', '.join(known) or 'none'}", recipes=known
        )
    return _show(folder, name)


def _show(folder: Path, name: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    problems: list[dict[str, Any]] = []
    try:
        table = read_named(folder, name)
        table = resolved(check_recipe(table))
    except RecipeError as error:
        said = {"field": "", "message": str(error), "got": None}
        problems = [entry(problem) for problem in error.problems] or [said]
    data = table.get("data")
    return {
        "name": name,
        "family": table.get("family"),
        "data": data.get("name") if isinstance(data, dict) else None,
        "about": _about(folder / f"{name}.toml"),
        "problems": problems,
        "links": {"self": f"{RECIPES}/{name}"},
        "recipe": table,
    }


def _about(path: Path) -> str:
    """The comment at the top of the file."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    top: list[str] = []
    for line in lines:
        if not line.startswith("#"):
            break
        top.append(line.lstrip("# "))
    return " ".join(top)
