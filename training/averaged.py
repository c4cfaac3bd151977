"""The model as it will be exported: a family whose networks hold the averaged weights, in eval mode."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bundle.latents import latents
from bundle.philox import labels
from training.families.base import Context, Family, build_family

State = dict[str, Tensor]


def averaged_family(context: Context, ema: State) -> Family:
    """A family of its own with the averaged state, in eval mode and without gradients."""
    family = build_family(context)
    family.networks.load_state_dict(ema)
    family.networks.eval().requires_grad_(False)
    return family


@torch.no_grad()
def draw(family: Family, n: int, seed: int = 0) -> NDArray[np.uint8] | None:
    """Pixels (n, h, w, c) of the images 0 to n - 1 of a seed; None if the family cannot draw from a prior."""
    graph = family.graphs().get("decode")
    if graph is None or family.prior is None:
        return None
    arguments = [torch.from_numpy(latents(family.prior, seed, 0, n))]
    if family.label_names:
        arguments.append(torch.from_numpy(labels(len(family.label_names), seed, 0, n)))
    _, pixels = graph.module(*arguments)
    return np.asarray(pixels.numpy())
