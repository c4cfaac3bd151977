"""The families that come with this program, by the name that a recipe gives."""

from bundle.recipes.gan import GanRecipe
from bundle.recipes.inference import InferenceRecipe
from bundle.recipes.tables import Table
from bundle.recipes.vae import VaeRecipe

FAMILIES: dict[str, type[Table]] = {"vae": VaeRecipe, "gan": GanRecipe, "inference": InferenceRecipe}
