"""Learned approximate inference: an encoder for the frozen generator of a published bundle.

Goodfellow et al., 2014, section 6: "learned approximate inference can be performed by training an auxiliary network to
predict z given x". Regression of z alone is that; image consistency and a cycle on real images, as in Zhu et al.,
"Generative visual manipulation on the natural image manifold", ECCV 2016, https://arxiv.org/abs/1609.03552, teach the
encoder about images that the generator never draws.
"""

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from bundle.manifest import GraphName
from bundle.priors import Prior
from bundle.recipes import InferenceRecipe
from training.data.stream import Batch
from training.errors import RecipeError
from training.families.base import Adam, Context, Family, Graph, Player, Stage, Terms, build_family
from training.families.graphs import image_spec, vector_spec
from training.networks.conv import DownNetwork, Pyramid
from training.recipe import Recipe, check_table


class Frozen(nn.ModuleDict):
    """Networks that stay in eval mode and without gradients for their own weights."""

    def train(self, mode: bool = True) -> "Frozen":  # noqa: ARG002 (the mode is not ours to choose)
        """Stay in eval mode."""
        return super().train(False)


class LatentEncoder(nn.Module):
    """image (n, c, h, w) → code (n, latent_dim)."""

    def __init__(self, image: tuple[int, int, int], channels: int, latent_dim: int) -> None:
        super().__init__()
        pyramid = Pyramid.of(image, channels)
        self.body = DownNetwork(pyramid, "batch", lambda: nn.LeakyReLU(0.2))
        self.head = nn.Linear(pyramid.features, latent_dim)

    def forward(self, image: Tensor) -> Tensor:
        """(n, c, h, w) → (n, latent_dim)."""
        code: Tensor = self.head(self.body(image))
        return code


class Inference(Family):
    """One player over the encoder; the parent's networks come along, frozen, and all its graphs with them."""

    recipe: InferenceRecipe

    def __init__(self, context: Context, recipe: InferenceRecipe) -> None:
        super().__init__(context)
        self.recipe = recipe
        if isinstance(recipe.parent, str):
            raise RecipeError(
                f"[model]: parent is the name {recipe.parent!r}; `infer` puts the recipe of that bundle here"
            )
        parent_recipe = check_table(Recipe, recipe.parent, "[model.parent]")
        labels = tuple(recipe.parent_labels) if recipe.parent_labels else None
        self.parent_family = build_family(Context(parent_recipe, context.image, labels))
        if self.parent_family.prior is None or "decode" not in self.parent_family.graphs():
            raise RecipeError(f"{parent_recipe.name!r} cannot draw images from codes; only a generator can be inverted")
        if self.parent_family.label_names:
            raise RecipeError(
                f"{parent_recipe.name!r} is class-conditional; inference needs a generator without labels"
            )
        encoder = LatentEncoder(context.image, recipe.channels, self.parent_family.prior.dim)
        parent = Frozen(dict(self.parent_family.networks.items()))
        parent.requires_grad_(False).eval()
        self.networks = nn.ModuleDict({"encoder": encoder, "parent": parent})

    @property
    def prior(self) -> Prior | None:
        """The parent's."""
        return self.parent_family.prior

    def load_parent(self, state: dict[str, Tensor]) -> None:
        """Take over the weights of the parent's bundle."""
        self.parent_family.networks.load_state_dict(state)

    def optimizers(self) -> dict[str, Adam]:
        """One, for the encoder."""
        return {"encoder": Adam(list(self.networks["encoder"].parameters()), self.recipe.lr)}

    def stages(self) -> Sequence[Stage]:
        """One, with one player."""
        return [Stage("inference", 1.0, [Player("encoder", "encoder", self._loss)])]

    def graphs(self) -> dict[GraphName, Graph]:
        """The parent's, and `encode`."""
        assert self.prior is not None
        mean = vector_spec("mean", self.prior.dim)
        encode = Graph(self.networks["encoder"], [image_spec(self.context.image)], [mean])
        return {**self.parent_family.graphs(), "encode": encode}

    def _loss(self, batch: Batch) -> Terms:
        z = self._draw(len(batch.image)).to(batch.image.device)
        with torch.no_grad():
            fake = self._generate(z)
        code = self.networks["encoder"](fake).float()
        terms = {"z": (code - z).square().mean()}
        if self.recipe.objective == "z":
            return {"loss": terms["z"], **terms}
        terms["image"] = (self._generate(code) - fake).float().square().mean()
        cycled = self._generate(self.networks["encoder"](batch.image).float())
        terms["cycle"] = (cycled - batch.image).float().square().mean()
        weighted = self.recipe.image_weight * terms["image"] + self.recipe.cycle_weight * terms["cycle"]
        return {"loss": terms["z"] + weighted, **terms}

    @cached_property
    def _decode(self) -> nn.Module:
        """Made once, when the weights are there: a family's graphs may hold copies."""
        return self.parent_family.graphs()["decode"].module

    def _generate(self, z: Tensor) -> Tensor:
        image, _ = self._decode(z)
        assert isinstance(image, Tensor)
        return image

    def _draw(self, n: int) -> Tensor:
        assert self.prior is not None
        u = torch.rand(n, self.prior.draws, generator=self.generator, dtype=torch.float64)
        return torch.from_numpy(self.prior.transform(u.numpy()))


def build(context: Context) -> Inference:
    """The encoder of a recipe, its parent's weights still random.

    Raises:
        RecipeError: If a key is unknown, or the parent cannot be inverted.
    """
    return Inference(context, check_table(InferenceRecipe, context.recipe.model, "[model]"))
