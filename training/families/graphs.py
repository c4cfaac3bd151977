"""What families share when they export: interfaces of graphs, and the way from floats to pixels."""

import torch
from torch import Tensor, nn

from bundle.manifest import TensorSpec


def image_spec(image: tuple[int, int, int]) -> TensorSpec:
    """float32 (n, channels, height, width) in [-1, 1]."""
    return TensorSpec(name="image", dtype="float32", shape=("n", *image))


def pixels_spec(image: tuple[int, int, int]) -> TensorSpec:
    """uint8 (n, height, width, channels)."""
    channels, height, width = image
    return TensorSpec(name="pixels", dtype="uint8", shape=("n", height, width, channels))


def vector_spec(name: str, dim: int) -> TensorSpec:
    """float32 (n, dim)."""
    return TensorSpec(name=name, dtype="float32", shape=("n", dim))


def label_spec() -> TensorSpec:
    """int64 (n,)."""
    return TensorSpec(name="label", dtype="int64", shape=("n",))


def to_pixels(image: Tensor) -> Tensor:
    """float32 (n, c, h, w) in [-1, 1] → uint8 (n, h, w, c), rounding half to even."""
    return ((image + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


class Decode(nn.Module):
    """z (and label) → image in [-1, 1] and its pixels."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, latent_dim) → (n, c, h, w), (n, h, w, c)."""
        image = self.decoder(z) if label is None else self.decoder(z, label)
        return image, to_pixels(image)
