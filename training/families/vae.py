"""Variational autoencoders, β-VAEs and plain autoencoders: one family.

Kingma, Welling, "Auto-encoding variational Bayes", 2014, https://arxiv.org/abs/1312.6114; β: Higgins et al., 2017;
labels: Sohn, Lee, Yan, "Learning structured output representation using deep conditional generative models", 2015.
β = 0 without noise is the plain autoencoder of Hinton and Salakhutdinov, 2006, which has no prior of its own; a
Gaussian mixture fitted to its codes (Ghosh et al., "From variational to deterministic autoencoders", ICLR 2020,
https://arxiv.org/abs/1903.12436) makes it a generative model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bundle.manifest import GraphName, TensorSpec
from bundle.priors import Mixture, Normal, Prior
from bundle.recipes import VaeRecipe
from training.data.dataset import Dataset
from training.data.stream import Batch, to_float
from training.errors import RecipeError
from training.families.base import Adam, Context, Family, Graph, Player, Stage, Terms
from training.families.graphs import Decode, image_spec, label_spec, pixels_spec, vector_spec
from training.networks.autoencoding import Decoder, Encoder, conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from training.objectives.elbo import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    importance_weighted_bound,
    kl_to_standard_normal,
    negative_elbo,
    normal_log_density,
    standard_normal_log_density,
)
from training.priors import fit_mixture
from training.recipe import check_table


class Score(nn.Module):
    """image, noise (and label) → importance-weighted bound of log p(image), and its log weights."""

    def __init__(self, vae: "Vae") -> None:
        super().__init__()
        self.networks = vae.networks
        self.latent_dim = vae.recipe.latent_dim
        self.log_likelihood = vae.log_likelihood

    def forward(self, image: Tensor, noise: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, c, h, w), (n, K, latent_dim), (n,) → (n,), (n, K); nats."""
        k = noise.shape[1]
        mean, logvar = self.networks["encoder"](image, label).unsqueeze(1).chunk(2, dim=2)
        z = mean + (0.5 * logvar).exp() * noise
        repeated = None if label is None else label.unsqueeze(1).expand(-1, k).reshape(-1)
        decoded = self.networks["decoder"](z.reshape(-1, self.latent_dim), repeated)
        x = image.unsqueeze(1).expand(-1, k, -1, -1, -1).reshape(-1, *image.shape[1:])
        log_likelihood = self.log_likelihood(x, decoded).reshape(-1, k)
        log_weights = log_likelihood + standard_normal_log_density(z) - normal_log_density(z, mean, logvar)
        return importance_weighted_bound(log_weights), log_weights


class Encode(nn.Module):
    """image (and label) → mean (and logvar)."""

    def __init__(self, encoder: nn.Module, stochastic: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.stochastic = stochastic

    def forward(self, image: Tensor, label: Tensor | None = None) -> tuple[Tensor, ...]:
        """(n, c, h, w), (n,) → (n, latent_dim) once or twice."""
        parameters = self.encoder(image, label)
        return tuple(parameters.chunk(2, dim=1)) if self.stochastic else (parameters,)


class Mean(nn.Module):
    """z (and label) → the likelihood's mean as an image in [-1, 1]."""

    def __init__(self, decoder: nn.Module, likelihood: str) -> None:
        super().__init__()
        self.decoder = decoder
        self.activation = nn.Tanh() if likelihood == "gaussian" else nn.Sigmoid()
        self.scale, self.shift = (1.0, 0.0) if likelihood == "gaussian" else (2.0, -1.0)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), (n,) → (n, c, h, w)."""
        mean: Tensor = self.activation(self.decoder(z, label)) * self.scale + self.shift
        return mean


class Vae(Family):
    """One player over an encoder and a decoder."""

    recipe: VaeRecipe

    def __init__(self, context: Context, recipe: VaeRecipe) -> None:
        super().__init__(context)
        self.recipe = recipe
        self.classes = context.classes if recipe.conditional else 0
        image, outputs = context.image, recipe.latent_dim * (2 if recipe.noise else 1)
        encoder: Encoder
        decoder: Decoder
        if recipe.network == "conv":
            encoder = conv_encoder(image, recipe.channels, recipe.hidden[0], outputs, self.classes, recipe.batch_norm)
            decoder = conv_decoder(
                image, recipe.channels, recipe.hidden[0], recipe.latent_dim, self.classes, recipe.batch_norm
            )
        else:
            encoder = mlp_encoder(image, recipe.hidden, outputs, self.classes)
            decoder = mlp_decoder(image, recipe.hidden, recipe.latent_dim, self.classes)
        likelihood = nn.ParameterDict()
        if recipe.likelihood == "gaussian":
            learned = recipe.sigma is None
            start = torch.tensor(0.5 if recipe.sigma is None else recipe.sigma).log()
            likelihood["log_sigma"] = nn.Parameter(start, requires_grad=learned)
        self.networks = nn.ModuleDict({"encoder": encoder, "decoder": decoder, "likelihood": likelihood})
        self._mixture: Mixture | None = None

    @property
    def prior(self) -> Prior | None:
        """Standard normal; for a plain autoencoder the fitted mixture, if the recipe asks for one."""
        match self.recipe.prior:
            case "normal":
                return Normal(dim=self.recipe.latent_dim)
            case "mixture":
                return self._mixture
            case "none":
                return None

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """The data's classes, for a class-conditional model."""
        return self.context.label_names if self.classes else None

    def optimizers(self) -> dict[str, Adam]:
        """One for all networks."""
        return {"vae": Adam([p for p in self.networks.parameters() if p.requires_grad], self.recipe.lr)}

    def stages(self) -> Sequence[Stage]:
        """One, with one player."""
        return [Stage("elbo", 1.0, [Player("vae", "vae", self._loss)])]

    def graphs(self) -> dict[GraphName, Graph]:
        """`encode`, `decode`; `score` where there is a likelihood bound to speak of."""
        image, dim = self.context.image, self.recipe.latent_dim
        labels = [label_spec()] if self.classes else []
        codes = [vector_spec("mean", dim), *([vector_spec("logvar", dim)] if self.recipe.noise else [])]
        decode = Decode(Mean(self.networks["decoder"], self.recipe.likelihood))
        graphs: dict[GraphName, Graph] = {
            "decode": Graph(decode, [vector_spec("z", dim), *labels], [image_spec(image), pixels_spec(image)]),
            "encode": Graph(Encode(self.networks["encoder"], self.recipe.noise), [image_spec(image), *labels], codes),
        }
        if self.recipe.noise and self.recipe.prior == "normal":
            noise = TensorSpec(name="noise", dtype="float32", shape=("n", "k", dim))
            nats = TensorSpec(name="nats", dtype="float32", shape=("n",))
            log_weights = TensorSpec(name="log_weights", dtype="float32", shape=("n", "k"))
            inputs = [image_spec(image), noise, *labels]
            graphs["score"] = Graph(Score(self), inputs, [nats, log_weights], likelihood="bound")
        return graphs

    @torch.no_grad()
    def fit(self, data: Dataset) -> None:
        """The mixture prior, fitted to the codes of the training images."""
        if self.recipe.prior != "mixture":
            return
        codes = []
        for start in range(0, len(data.train), 512):
            part = slice(start, start + 512)
            labels = data.train.labels
            label = torch.from_numpy(labels[part]) if self.classes and labels is not None else None
            parameters = self.networks["encoder"](to_float(data.train.images[part]), label)
            codes.append(parameters[:, : self.recipe.latent_dim].numpy())
        self._mixture = fit_mixture(np.concatenate(codes), self.recipe.mixture_components, self.context.recipe.seed)

    def log_likelihood(self, image: Tensor, decoded: Tensor) -> Tensor:
        """log p(image given z) in nats, (n, c, h, w) in [-1, 1] and the decoder's answer → (n,)."""
        if self.recipe.likelihood == "bernoulli":
            return bernoulli_log_likelihood((image + 1) / 2, decoded)
        log_sigma = self.networks["likelihood"]["log_sigma"]  # type: ignore[index]
        return gaussian_log_likelihood(image, torch.tanh(decoded), log_sigma)

    def _loss(self, batch: Batch) -> Terms:
        image = self._drawn_pixels(batch.image) if self.recipe.binarize else batch.image
        label = batch.label if self.classes else None
        parameters = self.networks["encoder"](image, label).float()  # half precision overflows in exp(logvar)
        if self.recipe.noise:
            mean, logvar = parameters.chunk(2, dim=1)
            z = mean + (0.5 * logvar).exp() * torch.randn(mean.shape, generator=self.generator).to(mean.device)
            rate = kl_to_standard_normal(mean, logvar)
        else:
            z, rate = parameters, parameters.new_zeros(len(parameters))
        decoded = self.networks["decoder"](z, label).float()
        terms = negative_elbo(self.log_likelihood(image, decoded), rate, self.recipe.beta)
        return terms._asdict()

    def _drawn_pixels(self, image: Tensor) -> Tensor:
        """Pixels drawn as -1 or 1 with the probability that their grey value stands for."""
        return torch.bernoulli((image.cpu() + 1) / 2, generator=self.generator).to(image.device) * 2 - 1


def build(context: Context) -> Vae:
    """The autoencoder of a recipe.

    Raises:
        RecipeError: If a key is unknown or the choices contradict each other.
    """
    recipe = check_table(VaeRecipe, context.recipe.model, "[model]")
    if recipe.conditional and not context.classes:
        raise RecipeError("[model]: conditional = true, but the data has no labels")
    return Vae(context, recipe)
