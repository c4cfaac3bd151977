"""Generative adversarial networks: one family, five losses, any k.

Goodfellow, Pouget-Abadie, Mirza, Xu, Warde-Farley, Ozair, Courville, Bengio, "Generative adversarial nets", 2014,
https://arxiv.org/abs/1406.2661; networks of Radford, Metz, Chintala (DCGAN), 2016.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bundle.manifest import GraphName, TensorSpec
from bundle.priors import Normal, Prior, Uniform
from bundle.recipes import GanRecipe
from training.data.stream import Batch
from training.errors import RecipeError
from training.families.base import Adam, Context, Family, Graph, Player, Stage, Terms
from training.families.graphs import Decode, image_spec, label_spec, pixels_spec, vector_spec
from training.networks.adversarial import (
    Discriminator,
    Generator,
    conv_discriminator,
    conv_generator,
    mlp_discriminator,
    mlp_generator,
)
from training.networks.augment import translate
from training.networks.conv import without_spectral_norm
from training.objectives.adversarial import GAN_LOSSES, gradient_penalty, r1_penalty
from training.recipe import check_table


class Gan(Family):
    """Two players over a generator and a discriminator, and penalties as players of their own."""

    recipe: GanRecipe

    def __init__(self, context: Context, recipe: GanRecipe) -> None:
        super().__init__(context)
        self.recipe = recipe
        classes = context.classes if recipe.conditional else 0
        self.classes = classes
        if recipe.network == "conv":
            generator = conv_generator(context.image, recipe.latent_dim, recipe.channels, classes)
            discriminator = conv_discriminator(context.image, recipe.d_channels, recipe.d_norm, classes)
        else:
            generator = mlp_generator(context.image, recipe.latent_dim, recipe.hidden, classes)
            discriminator = mlp_discriminator(
                context.image, recipe.d_hidden, recipe.maxout_pieces, recipe.dropout, classes
            )
        self.networks = nn.ModuleDict({"generator": generator, "discriminator": discriminator})
        self.loss = GAN_LOSSES[recipe.loss]

    @property
    def prior(self) -> Prior:
        """Normal, or uniform on [-1, 1] as in the GAN paper."""
        dim = self.recipe.latent_dim
        return Normal(dim=dim) if self.recipe.prior == "normal" else Uniform(dim=dim)

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The data's classes, for a class-conditional GAN."""
        return self.context.label_names if self.classes else None

    def optimizers(self) -> dict[str, Adam]:
        """One for each network."""
        r = self.recipe
        return {
            "generator": Adam(list(self.networks["generator"].parameters()), r.g_lr, r.betas),
            "discriminator": Adam(list(self.networks["discriminator"].parameters()), r.d_lr, r.betas),
        }

    def stages(self) -> Sequence[Stage]:
        """One: the discriminator's k steps, its penalties, the generator's step."""
        r = self.recipe
        clip = self._clip_weights if r.clip else None
        players = [Player("discriminator", "discriminator", self._discriminator_loss, repeat=r.d_steps, after=clip)]
        if r.r1:
            lazy = Player("r1", "discriminator", self._r1_loss, every=r.r1_every, full_precision=True, after=clip)
            players.append(lazy)
        players.append(Player("generator", "generator", self._generator_loss))
        return [Stage("adversarial", 1.0, players)]

    def graphs(self) -> dict[GraphName, Graph]:
        """`decode` and `discriminate`."""
        image, labels = self.context.image, [label_spec()] if self.classes else []
        discriminator = without_spectral_norm(self.networks["discriminator"])
        z = [vector_spec("z", self.recipe.latent_dim), *labels]
        logit = TensorSpec(name="logit", dtype="float32", shape=("n",))
        return {
            "decode": Graph(Decode(self.networks["generator"]), z, [image_spec(image), pixels_spec(image)]),
            "discriminate": Graph(discriminator, [image_spec(image), *labels], [logit]),
        }

    def _discriminator_loss(self, batch: Batch) -> Terms:
        label = self._labels(batch)
        with torch.no_grad():
            fake = self._generate(len(batch.image), label)
        real_logits = self._discriminate(batch.image, label)
        fake_logits = self._discriminate(fake, label)
        loss = self.loss.discriminator(real_logits, fake_logits)
        if self.recipe.gradient_penalty:
            weight = torch.rand(len(fake), 1, 1, 1, generator=self.generator).to(fake.device)
            penalty = gradient_penalty(self._discriminate, batch.image, fake, weight, label)
            loss = loss + self.recipe.gradient_penalty * penalty
        return {"loss": loss, "real": real_logits.mean(), "fake": fake_logits.mean()}

    def _generator_loss(self, batch: Batch) -> Terms:
        label = self._labels(batch)
        fake = self._generate(len(batch.image), label)
        return {"loss": self.loss.generator(self._discriminate(fake, label))}

    def _r1_loss(self, batch: Batch) -> Terms:
        penalty = r1_penalty(self._discriminate, batch.image, self._labels(batch))
        return {"loss": self.recipe.r1 * self.recipe.r1_every * penalty, "penalty": penalty}

    def _labels(self, batch: Batch) -> Tensor | None:
        return batch.label if self.classes else None

    def _generate(self, n: int, label: Tensor | None) -> Tensor:
        size = (n, self.recipe.latent_dim)
        if self.recipe.prior == "uniform":
            z = torch.rand(size, generator=self.generator) * 2 - 1
        else:
            z = torch.randn(size, generator=self.generator)
        generator: Generator = self.networks["generator"]  # type: ignore[assignment]
        fake: Tensor = generator(z.to(next(generator.parameters()).device), label)
        return fake

    def _discriminate(self, image: Tensor, label: Tensor | None) -> Tensor:
        discriminator: Discriminator = self.networks["discriminator"]  # type: ignore[assignment]
        logit: Tensor = discriminator(translate(image, self.recipe.augment, self.generator), label)
        return logit

    @torch.no_grad()
    def _clip_weights(self) -> None:
        for parameter in self.networks["discriminator"].parameters():
            parameter.clamp_(-self.recipe.clip, self.recipe.clip)


def build(context: Context) -> Gan:
    """The GAN of a recipe.

    Raises:
        RecipeError: If a key is unknown or the choices contradict each other.
    """
    recipe = check_table(GanRecipe, context.recipe.model, "[model]")
    if recipe.conditional and not context.classes:
        raise RecipeError("[model]: conditional = true, but the data has no labels")
    return Gan(context, recipe)
