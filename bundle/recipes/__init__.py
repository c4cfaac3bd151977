"""Recipes: what to train, on what, how long. The schema of all their tables, for the service and for training.

A recipe is checked whole on arrival (`check_recipe`); what is wrong is said key by key (`RecipeError.problems`).
"""

from bundle.recipes.checking import check_recipe, check_table
from bundle.recipes.errors import Problem, RecipeError
from bundle.recipes.evaluation import EvaluationSettings
from bundle.recipes.families import FAMILIES
from bundle.recipes.fitting import KnownData, headline
from bundle.recipes.gan import GanRecipe
from bundle.recipes.inference import InferenceRecipe
from bundle.recipes.metrics import HEADLINE, Direction, Headline
from bundle.recipes.reading import apply_overrides, named, read_named, read_table
from bundle.recipes.schema import recipe_schema
from bundle.recipes.tables import DataRecipe, ExportRecipe, Recipe, Table, TrainRecipe, Width, resolved
from bundle.recipes.vae import VaeRecipe

__all__ = [
    "FAMILIES",
    "HEADLINE",
    "DataRecipe",
    "Direction",
    "EvaluationSettings",
    "ExportRecipe",
    "GanRecipe",
    "Headline",
    "InferenceRecipe",
    "KnownData",
    "Problem",
    "Recipe",
    "RecipeError",
    "Table",
    "TrainRecipe",
    "VaeRecipe",
    "Width",
    "apply_overrides",
    "check_recipe",
    "check_table",
    "headline",
    "named",
    "read_named",
    "read_table",
    "recipe_schema",
    "resolved",
]
