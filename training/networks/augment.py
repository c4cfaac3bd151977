"""Differentiable augmentation of what a discriminator sees.

Zhao, Liu, Lin, Zhu, Han, "Differentiable augmentation for data-efficient GAN training", NeurIPS 2020,
https://arxiv.org/abs/2006.10738. Translation only: it is the part that holds for any kind of image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def translate(image: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Shift each image by its own random number of whole pixels; edges are repeated.

    Args:
        image: (n, c, h, w).
        share: Largest shift as a share of each side; 0 leaves the images as they are.
        generator: Source of the shifts.
    """
    n, _, height, width = image.shape
    dy, dx = round(height * share), round(width * share)
    if not dy and not dx:
        return image
    padded = F.pad(image, (dx, dx, dy, dy), mode="replicate")
    top = torch.randint(0, 2 * dy + 1, (n, 1, 1), generator=generator) + torch.arange(height).view(1, -1, 1)
    left = torch.randint(0, 2 * dx + 1, (n, 1, 1), generator=generator) + torch.arange(width).view(1, 1, -1)
    row = torch.arange(n).view(-1, 1, 1)
    place = (row.to(image.device), top.to(image.device), left.to(image.device))
    return padded.permute(0, 2, 3, 1)[place].permute(0, 3, 1, 2)
