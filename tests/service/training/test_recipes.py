"""Recipes over HTTP: what can be ordered by name, and how a recipe has to look."""

from pathlib import Path

import pytest

from bundle.recipes import named
from service.training.answers import RecipeAnswer, RecipesAnswer
from tests.service.support import Client, serving
from tests.service.training.support import JOBS

CONFIGS = Path("configs")


def test_all_recipes_of_the_folder_are_listed(client: Client) -> None:
    found = RecipesAnswer.model_validate(client.get("/training/recipes").json()).recipes
    assert [recipe.name for recipe in found] == list(named(CONFIGS))
    fashion = next(recipe for recipe in found if recipe.name == "fashion-vae")
    assert (fashion.family, fashion.data, fashion.problems) == ("vae", "fashion-mnist", [])
    assert fashion.about.startswith("Convolutional VAE on Fashion-MNIST")


def test_recipe_says_what_has_to_be_set_before_it_can_be_used(client: Client) -> None:
    found = RecipeAnswer.model_validate(client.get("/training/recipes/inference").json())
    assert [problem.field for problem in found.problems] == ["model.parent"]


@pytest.mark.parametrize("name", [name for name in named(CONFIGS) if name not in ("inference", "folder-vae")])
def test_recipe_as_it_is_shown_can_be_ordered_whole(client: Client, name: str) -> None:
    shown = RecipeAnswer.model_validate(client.get(f"/training/recipes/{name}").json())
    by_name, whole = client.post(JOBS, {"recipe": name}), client.post(JOBS, {"recipe": shown.recipe})
    assert (by_name.status_code, whole.status_code) == (202, 202)
    assert by_name.json()["recipe"] == whole.json()["recipe"]


def test_unknown_recipe_is_not_found(client: Client) -> None:
    answer = client.get("/training/recipes/nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_recipe")
    assert "fashion-vae" in answer.json()["recipes"]


def test_schema_has_every_family_and_table(client: Client) -> None:
    answer = client.get("/training/recipes/schema")
    assert answer.headers["content-type"] == "application/schema+json"
    schema = answer.json()
    assert schema["properties"]["family"]["enum"] == ["vae", "gan", "inference"]
    assert {"TrainRecipe", "DataRecipe", "VaeRecipe", "GanRecipe"} <= schema["$defs"].keys()


def test_file_that_is_no_recipe_is_shown_as_one_that_cannot_be_used(store: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("# half a recipe\nname = ")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with serving(store, lanes=1, recipes=tmp_path, database=f"sqlite:///{tmp_path}/jobs.sqlite") as client:
        broken = client.get("/training/recipes/broken").json()
        assert (broken["about"], len(broken["problems"])) == ("half a recipe", 1)
        assert len(client.get("/training/recipes").json()["recipes"]) == 2
        answer = client.post(JOBS, {"recipe": "broken"})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "recipe")
