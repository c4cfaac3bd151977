"""Linear autoencoder whose codes are pulled towards a standard normal: a family of one's own, whole."""

from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn

from bundle.manifest import GraphName
from bundle.priors import Normal
from training.data.stream import Batch
from training.families.base import Adam, Context, Family, Graph, Player, Stage, Terms
from training.families.graphs import Decode, image_spec, pixels_spec, vector_spec
from training.recipe import Table, check_table


class LinearRecipe(Table):
    """`[model]`: unknown keys are refused, defaults are written into the bundle."""

    latent_dim: int = Field(4, ge=1)
    lr: float = Field(1e-2, gt=0)


class Linear(Family):
    """One player over two matrices."""

    recipe: LinearRecipe

    def __init__(self, context: Context, recipe: LinearRecipe) -> None:
        super().__init__(context)
        self.recipe = recipe
        channels, height, width = context.image
        pixels = channels * height * width
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(pixels, recipe.latent_dim))
        decoder = nn.Sequential(nn.Linear(recipe.latent_dim, pixels), nn.Unflatten(1, context.image), nn.Tanh())
        self.networks = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    @property
    def prior(self) -> Normal:
        """What `decode` takes its codes from, here and in the service."""
        return Normal(dim=self.recipe.latent_dim)

    def optimizers(self) -> dict[str, Adam]:
        """One."""
        return {"linear": Adam(list(self.networks.parameters()), self.recipe.lr)}

    def stages(self) -> Sequence[Stage]:
        """One, with one player."""
        return [Stage("linear", 1.0, [Player("linear", "linear", self._loss)])]

    def graphs(self) -> dict[GraphName, Graph]:
        """`decode` makes `/sample` and `/interpolate` work; with `encode`, so do `/encode` and `/reconstruct`."""
        image, dim = self.context.image, self.recipe.latent_dim
        decode = Decode(self.networks["decoder"])
        return {
            "decode": Graph(decode, [vector_spec("z", dim)], [image_spec(image), pixels_spec(image)]),
            "encode": Graph(self.networks["encoder"], [image_spec(image)], [vector_spec("mean", dim)]),
        }

    def _loss(self, batch: Batch) -> Terms:
        code: Tensor = self.networks["encoder"](batch.image)
        error = (self.networks["decoder"](code) - batch.image).square().flatten(1).sum(1).mean()
        moments = (code.mean(0).square() + (code.square().mean(0) - 1).square()).sum()
        return {"loss": error + moments, "error": error, "moments": moments}


def build(context: Context) -> Linear:
    """The one name that a family's module must have."""
    return Linear(context, check_table(LinearRecipe, context.recipe.model, "[model]"))
