"""An untrained DCGAN for 64x64 colour images, with the paper's 64 base channels: it costs what a trained one does.

Radford, Metz, Chintala, "Unsupervised representation learning with deep convolutional generative adversarial
networks", ICLR 2016, https://arxiv.org/abs/1511.06434.
"""

import numpy as np
import torch
from torch import nn

from bundle.store import Bundle, Store
from training.data.dataset import Dataset, ImageSet
from training.export.publish import Run
from training.export.publish import publish as publish_run
from training.families.base import Context, Family, build_family
from training.networks.adversarial import Generator
from training.recipe import Recipe

_SIDE, _CHANNELS, _LATENT_DIM = 64, 64, 100
_IMAGES = 64
_CONTRAST = 2.0  # of what goes into tanh, whose ends most pixels of a cartoon are near


def publish(store: Store, name: str) -> Bundle:
    """Publish it in a store, made by the training package with a fixed seed."""
    torch.set_num_threads(1)
    recipe = Recipe.model_validate(
        {
            "name": name,
            "family": "gan",
            "data": {"name": "npz"},
            "model": {"network": "conv", "latent_dim": _LATENT_DIM, "channels": _CHANNELS, "d_channels": 8},
            "train": {"rounds": 1},
        }
    )
    family = build_family(Context(recipe, (3, _SIDE, _SIDE), None))
    _settle(family)
    images = ImageSet(np.random.default_rng(0).integers(0, 256, (_IMAGES, _SIDE, _SIDE, 3), dtype=np.uint8))
    noise = Dataset("noise", "0" * 64, images, images, None, "CC0-1.0", "drawn by the benchmark")
    run = Run(state=family.networks.state_dict(), rounds=0, seconds=0.0)
    return publish_run(family.context, run, noise, store, lambda _graphs, _family: [])


@torch.no_grad()
def _settle(family: Family) -> None:
    """Let batch norm see some codes, and give the pictures as much contrast as those of a trained network have.

    A PNG of what an untrained network draws would else be no measure: all grey costs too little, noise too much.
    """
    generator = family.networks["generator"]
    assert isinstance(generator, Generator)
    layers = list(generator.modules())
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the statistics of what follows, not an average with where they began
    drawn = generator.train().body(torch.randn(_IMAGES, _LATENT_DIM, generator=family.generator))
    last = [layer for layer in layers if isinstance(layer, nn.ConvTranspose2d)][-1]
    last.weight.mul_(_CONTRAST / drawn.std())
