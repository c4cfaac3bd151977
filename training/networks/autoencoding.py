"""Encoders and decoders of autoencoders; each may take a label."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.networks.conv import DownNetwork, Pyramid, UpNetwork
from training.networks.mlp import mlp


class Encoder(nn.Module):
    """image (n, c, h, w) (and label (n,)) → (n, outputs)."""

    def __init__(self, body: nn.Module, features: int, hidden: int, outputs: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.classes = classes
        self.head = nn.Sequential(nn.Linear(features + classes, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, c, h, w), (n,) → (n, outputs)."""
        out: Tensor = self.head(beside_label(self.body(image), label, self.classes))
        return out


class Decoder(nn.Module):
    """z (n, latent_dim) (and label (n,)) → maps (n, c, h, w), without a last activation."""

    def __init__(self, body: nn.Module, classes: int) -> None:
        super().__init__()
        self.body = body
        self.classes = classes

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """(n, latent_dim), (n,) → (n, c, h, w)."""
        out: Tensor = self.body(beside_label(z, label, self.classes))
        return out


def beside_label(features: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Features with the label's one-hot code beside them: (n, f) → (n, f + classes)."""
    if label is None or not classes:
        return features
    one_hot = F.one_hot(label, classes).to(features.dtype)
    return torch.cat([features, one_hot], dim=1)


def conv_encoder(
    image: tuple[int, int, int], channels: int, hidden: int, outputs: int, classes: int, batch_norm: bool
) -> Encoder:
    """Strided convolutions, then two linear layers."""
    pyramid = Pyramid.of(image, channels)
    return Encoder(
        DownNetwork(pyramid, "batch" if batch_norm else "none", nn.ReLU), pyramid.features, hidden, outputs, classes
    )


def conv_decoder(
    image: tuple[int, int, int], channels: int, hidden: int, latent_dim: int, classes: int, batch_norm: bool
) -> Decoder:
    """A linear layer, then transposed convolutions."""
    pyramid = Pyramid.of(image, channels)
    body = nn.Sequential(nn.Linear(latent_dim + classes, hidden), nn.ReLU(), UpNetwork(hidden, pyramid, batch_norm))
    return Decoder(body, classes)


def mlp_encoder(image: tuple[int, int, int], hidden: Sequence[int], outputs: int, classes: int) -> Encoder:
    """Fully connected; `hidden` from the image inwards."""
    channels, height, width = image
    inputs = channels * height * width
    body = nn.Sequential(nn.Flatten(), *([mlp(inputs, hidden[:-2], hidden[-2]), nn.ReLU()] if len(hidden) > 1 else []))
    return Encoder(body, hidden[-2] if len(hidden) > 1 else inputs, hidden[-1], outputs, classes)


def mlp_decoder(image: tuple[int, int, int], hidden: Sequence[int], latent_dim: int, classes: int) -> Decoder:
    """Fully connected; `hidden` from the image inwards, as the encoder's."""
    channels, height, width = image
    body = nn.Sequential(mlp(latent_dim + classes, hidden[::-1], channels * height * width), nn.Unflatten(1, image))
    return Decoder(body, classes)
