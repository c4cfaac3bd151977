"""Generators and discriminators: DCGAN's, and the GAN paper's fully connected ones; each may take a label."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from training.networks.conv import DownNetwork, Norm, Pyramid, UpNetwork, init_dcgan
from training.networks.mlp import maxout_features, mlp


class Generator(nn.Module):
    """z (n, latent_dim) (and label (n,)) → image (n, c, h, w) in [-1, 1].

    A label enters as a learned vector beside z. Mirza, Osindero, 2014, https://arxiv.org/abs/1411.1784.
    """

    def __init__(self, body: nn.Module, classes: int, latent_dim: int) -> None:
        super().__init__()
        self.body = body
        self.embedding = nn.Embedding(classes, latent_dim) if classes else None

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), (n,) → (n, c, h, w)."""
        if self.embedding is not None:
            z = torch.cat([z, self.embedding(label)], dim=1)
        return torch.tanh(self.body(z))


class Discriminator(nn.Module):
    """image (n, c, h, w) (and label (n,)) → logit (n,).

    A label enters by projection on the features. Miyato, Koyama, ICLR 2018, https://arxiv.org/abs/1802.05637.
    """

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(features, 1)
        self.embedding = nn.Embedding(classes, features) if classes else None

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, c, h, w), (n,) → (n,)."""
        features = self.body(image)
        logit: Tensor = self.head(features).squeeze(1)
        if self.embedding is not None:
            logit = logit + (self.embedding(label) * features).sum(1)
        return logit.float()


def conv_generator(image: tuple[int, int, int], latent_dim: int, channels: int, classes: int) -> Generator:
    """DCGAN's generator; `channels` of its largest hidden map."""
    inputs = 2 * latent_dim if classes else latent_dim
    generator = Generator(UpNetwork(inputs, Pyramid.of(image, channels), batch_norm=True), classes, latent_dim)
    init_dcgan(generator)
    return generator


def conv_discriminator(image: tuple[int, int, int], channels: int, norm: Norm, classes: int) -> Discriminator:
    """DCGAN's discriminator; `channels` of its largest hidden map."""
    pyramid = Pyramid.of(image, channels)
    body = DownNetwork(pyramid, norm, lambda: nn.LeakyReLU(0.2))
    discriminator = Discriminator(body, pyramid.features, classes)
    init_dcgan(discriminator)
    if norm == "spectral":  # of every layer: one that is left out would leave the whole unbounded
        parametrizations.spectral_norm(discriminator.head)
        if discriminator.embedding is not None:
            parametrizations.spectral_norm(discriminator.embedding)
    return discriminator


def mlp_generator(image: tuple[int, int, int], latent_dim: int, hidden: Sequence[int], classes: int) -> Generator:
    """The GAN paper's generator for MNIST: ReLU layers."""
    channels, height, width = image
    inputs = 2 * latent_dim if classes else latent_dim
    body = nn.Sequential(mlp(inputs, hidden, channels * height * width), nn.Unflatten(1, image))
    return Generator(body, classes, latent_dim)


def mlp_discriminator(
    image: tuple[int, int, int], hidden: Sequence[int], pieces: int, dropout: float, classes: int
) -> Discriminator:
    """The GAN paper's discriminator for MNIST: maxout layers with dropout."""
    channels, height, width = image
    body = nn.Sequential(nn.Flatten(), maxout_features(channels * height * width, hidden, pieces, dropout))
    return Discriminator(body, hidden[-1], classes)
