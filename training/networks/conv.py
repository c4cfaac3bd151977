"""Convolutional networks after DCGAN, for any image whose sides can be halved.

Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks", ICLR 2016, https://arxiv.org/abs/1511.06434.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from training.errors import RecipeError

Norm = Literal["none", "batch", "spectral"]
SMALLEST_SIDE = 4


@dataclass(frozen=True)
class Pyramid:
    """Sizes from the image down to the smallest map: each level halves the sides and doubles the channels.

    Attributes:
        image: (channels, height, width).
        channels: Of the largest hidden map.
        levels: Number of halvings.
    """

    image: tuple[int, int, int]
    channels: int
    levels: int

    @classmethod
    def of(cls, image: tuple[int, int, int], channels: int) -> "Pyramid":
        """Halve while both sides are even and stay at least 4.

        Raises:
            RecipeError: If the sides cannot be halved even once.
        """
        _, height, width = image
        levels = 0
        while height % 2 == 0 and width % 2 == 0 and min(height, width) // 2 >= SMALLEST_SIDE:
            height, width, levels = height // 2, width // 2, levels + 1
        if not levels:
            raise RecipeError(f"images are {image[2]}x{image[1]}; convolutional networks need even sides of at least 8")
        return cls(image, channels, levels)

    def width_at(self, level: int) -> int:
        """Channels of the map after `level` halvings, `level` ≥ 1."""
        return self.channels << (level - 1)

    @property
    def smallest(self) -> tuple[int, int, int]:
        """(channels, height, width) of the smallest map."""
        _, height, width = self.image
        return self.width_at(self.levels), height >> self.levels, width >> self.levels

    @property
    def features(self) -> int:
        """Numbers in the smallest map."""
        channels, height, width = self.smallest
        return channels * height * width


class UpNetwork(nn.Module):
    """From a vector (n, inputs) to maps (n, channels, height, width), without a last activation."""

    def __init__(self, inputs: int, pyramid: Pyramid, batch_norm: bool) -> None:
        super().__init__()
        widths = [pyramid.width_at(level) for level in range(pyramid.levels, 0, -1)]
        bias = not batch_norm

        def normed(width: int) -> list[nn.Module]:
            return [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]

        layers: list[nn.Module] = [nn.Linear(inputs, pyramid.features, bias=bias), nn.Unflatten(1, pyramid.smallest)]
        layers += normed(widths[0])
        for wide, narrow in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=bias), *normed(narrow)]
        layers.append(nn.ConvTranspose2d(widths[-1], pyramid.image[0], 4, 2, 1))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """(n, inputs) → (n, channels, height, width)."""
        out: Tensor = self.layers(z)
        return out


class DownNetwork(nn.Module):
    """From images (n, channels, height, width) to features (n, pyramid.features)."""

    def __init__(self, pyramid: Pyramid, norm: Norm, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        narrow = pyramid.image[0]
        for level in range(1, pyramid.levels + 1):
            wide = pyramid.width_at(level)
            normed = norm == "batch" and level > 1  # DCGAN: not on the layer that sees the image
            conv = nn.Conv2d(narrow, wide, 4, 2, 1, bias=not normed)
            layers.append(parametrizations.spectral_norm(conv) if norm == "spectral" else conv)
            layers += [nn.BatchNorm2d(wide)] if normed else []
            layers.append(activation())
            narrow = wide
        self.layers = nn.Sequential(*layers, nn.Flatten())

    def forward(self, image: Tensor) -> Tensor:
        """(n, channels, height, width) → (n, pyramid.features)."""
        out: Tensor = self.layers(image)
        return out


def init_dcgan(network: nn.Module) -> None:
    """Weights from N(0, 0.02), as DCGAN starts."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(_free_weight(module), 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


@torch.no_grad()
def without_spectral_norm(network: nn.Module) -> nn.Module:
    """A copy with plain weights, each divided by its largest singular value.

    The exact value: the running estimate belongs to weights as they were in training, not to their average. torch's
    `remove_parametrizations` will not do: copies share their class, so that it breaks the original too.
    """
    plain = copy.deepcopy(network)
    for module in list(plain.modules()):
        if parametrize.is_parametrized(module, "weight"):
            weight = _free_weight(module)
            sigma = torch.linalg.matrix_norm(weight.flatten(1), ord=2)
            del module.parametrizations
            module.__class__ = type(module).__bases__[0]
            module.weight = nn.Parameter(weight / sigma, requires_grad=False)
    return plain


def _free_weight(module: nn.Module) -> Tensor:
    """The weight itself, or the one under a parametrisation."""
    parameters = dict(module.named_parameters())
    return parameters.get("parametrizations.weight.original", parameters.get("weight", torch.empty(0)))
