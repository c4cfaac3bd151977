"""/training/recipes: what can be ordered by name, and how a recipe has to look."""

from functools import cache
from typing import Annotated

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from bundle.recipes import recipe_schema
from service.formats.negotiation import JSON
from service.training.answers import RECIPES, RecipeAnswer, RecipesAnswer
from service.training.describing import ANY_TABLE, OFF, answer, operation
from service.training.library import list_recipes, show_recipe
from service.training.reading import context_of, refuse_query

router = APIRouter()

_STOPPING = "stopping"


@router.get(
    RECIPES,
    **operation("All recipes", {200: ("The recipes", answer(RecipesAnswer))}, {404: OFF, 503: _STOPPING}),
)
async def all_recipes(request: Request) -> Response:
    """Recipes that jobs can name. `problems` says what has to be set by `overrides` before one can be used."""
    context = context_of(request)
    refuse_query(request)
    found = await context.desk.run(lambda: list_recipes(context.settings.recipes))
    return Response(orjson.dumps({"recipes": found}), media_type=JSON)


@router.get(
    f"{RECIPES}/schema",
    **operation("The schema of a recipe", {200: ("JSON Schema, draft 2020-12", ANY_TABLE)}, {404: OFF, 503: _STOPPING}),
)
async def schema(request: Request) -> Response:
    """How a whole recipe has to look, with the range, the default and the unit of every key."""
    context_of(request)
    refuse_query(request)
    return Response(_schema(), media_type="application/schema+json")


@router.get(
    f"{RECIPES}/{{name}}",
    **operation(
        "One recipe",
        {200: ("The recipe, every default written out", answer(RecipeAnswer))},
        {404: f"unknown_recipe; {OFF}", 503: _STOPPING},
    ),
)
async def one_recipe(request: Request, name: Annotated[str, Path(description="of the recipe")]) -> Response:
    """A recipe with all its tables."""
    context = context_of(request)
    refuse_query(request)
    found = await context.desk.run(lambda: show_recipe(context.settings.recipes, name))
    return Response(orjson.dumps(found), media_type=JSON)


@cache
def _schema() -> bytes:
    return orjson.dumps(recipe_schema())
