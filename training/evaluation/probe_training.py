"""Training of the probe, in PyTorch, and its export."""

import logging
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from bundle.manifest import TensorSpec
from bundle.pixels import to_graph
from training.data.dataset import ImageSet
from training.evaluation.images import Images
from training.export.onnx_file import to_onnx
from training.export.prepare import prepared
from training.families.base import Graph
from training.recipe import ExportRecipe

log = logging.getLogger(__name__)

LAST_WIDTHS = (32, 64, 64)  # channels after the last three halvings
FIRST_WIDTH = 16  # and after those before them, in images of more than 32 pixels a side
STANDARD_IMAGES = 10_000
LEAST_SPREAD = 1e-3  # of a feature that is the same for every image
BATCH = 256


@dataclass(frozen=True)
class ProbeRecipe:
    """How a probe is trained.

    Attributes:
        revision: Raised whenever the network or its training changes, so that cached probes are made anew.
        images: Images seen in training, at 32 pixels a side or less; larger images are seen less often, in proportion.
        batch_size: Images per step.
        lr: Peak of the one-cycle learning rate.
        features: Size of the penultimate layer.
        seed: Of initial weights and the order of images.
    """

    revision: int = 1
    images: int = 300_000
    batch_size: int = 128
    lr: float = 3e-3
    features: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Turns:
    """The rotations to tell apart, in quarter turns: all four for square images, two for others."""

    quarters: tuple[int, ...]

    @classmethod
    def of(cls, images: Images) -> Self:
        """The turns that keep the shape of images (n, h, w, c)."""
        return cls((0, 1, 2, 3) if images.shape[1] == images.shape[2] else (0, 2))

    def turn(self, images: Images, index: int) -> Images:
        """Images (n, h, w, c) by the turn of that index."""
        return np.rot90(images, self.quarters[index], axes=(1, 2))


class ProbeNetwork(nn.Module):
    """Convolutions that halve the image down to 4 pixels, a layer of features, a linear classifier."""

    def __init__(self, channels: int, height: int, width: int, classes: int, features: int) -> None:
        super().__init__()
        halvings = max(1, (max(height, width) - 1).bit_length() - 2)
        layers: list[nn.Module] = []
        for out in [*[FIRST_WIDTH] * (halvings - len(LAST_WIDTHS)), *LAST_WIDTHS[-halvings:]]:
            layers += [nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            channels, height, width = out, (height + 1) // 2, (width + 1) // 2
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.embedding = nn.Linear(channels * height * width, features)
        self.classifier = nn.Linear(features, classes)
        self.centre = nn.Buffer(torch.zeros(features))
        self.spread = nn.Buffer(torch.ones(features))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (n, classes) and features (n, features) of images (n, c, h, w) in [-1, 1]."""
        embedded = self.embedding(self.trunk(image))
        return self.classifier(F.relu(embedded)), (embedded - self.centre) / self.spread

    @torch.no_grad()
    def standardise(self, images: Images) -> None:
        """Give each feature mean 0 and variance 1 over images (n, h, w, c), so that distances are in one unit."""
        parts = [self(torch.from_numpy(to_graph(part)))[1] for part in np.array_split(images, -(-len(images) // BATCH))]
        features = torch.cat(parts)
        self.centre.copy_(features.mean(0))
        self.spread.copy_(features.std(0).clamp(min=LEAST_SPREAD))


def train_probe(train: ImageSet, turns: Turns | None, recipe: ProbeRecipe) -> bytes:
    """Train a probe on labels, or on telling `turns` apart where they are given.

    Returns:
        The ONNX file: `image` to `logits` and `features`.

    Raises:
        ValueError: If there are too few images for a step of two.
    """
    channels, height, width = train.shape
    classes = _class_count(train.labels) if turns is None else len(turns.quarters)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = ProbeNetwork(channels, height, width, classes, recipe.features)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _optimise(network, train, turns, recipe)
    network.eval()
    network.standardise(train.images[:: -(-len(train) // STANDARD_IMAGES)])
    image = TensorSpec(name="image", dtype="float32", shape=("n", channels, height, width))
    logits = TensorSpec(name="logits", dtype="float32", shape=("n", classes))
    features = TensorSpec(name="features", dtype="float32", shape=("n", recipe.features))
    graph = Graph(network, [image], [logits, features])
    return to_onnx(prepared(graph, ExportRecipe()), graph, half=False)


def _optimise(network: ProbeNetwork, train: ImageSet, turns: Turns | None, recipe: ProbeRecipe) -> None:
    batch_size = min(recipe.batch_size, len(train.images))
    steps = recipe.images * 32 // max(32, *train.images.shape[1:3]) // batch_size
    if batch_size < 2 or steps < 1:
        raise ValueError(
            f"{steps} steps of {batch_size} images; a probe needs a step of 2: give more images or raise recipe.images"
        )
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=recipe.lr, total_steps=max(steps, 4))
    order = np.random.Generator(np.random.Philox(recipe.seed))
    network.train()
    for step in range(steps):
        x, y = _draw_batch(order, train, turns, batch_size)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits, _ = network(x)
        loss = F.cross_entropy(logits.float(), y)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % 500 == 0:
            log.info("probe step %d of %d: cross-entropy %.3f nats", step, steps, loss.item())


def _draw_batch(
    order: np.random.Generator, train: ImageSet, turns: Turns | None, batch_size: int
) -> tuple[Tensor, Tensor]:
    chosen = order.choice(len(train.images), batch_size, replace=False, shuffle=False)
    images = train.images[chosen]
    if turns is None:
        assert train.labels is not None
        labels: NDArray[np.int64] = train.labels[chosen].astype(np.int64)
    else:
        labels = order.integers(len(turns.quarters), size=batch_size)
        images = np.stack([turns.turn(image[None], turn)[0] for image, turn in zip(images, labels, strict=True)])
    return torch.from_numpy(to_graph(images)).contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def _class_count(labels: NDArray[np.int64] | None) -> int:
    assert labels is not None
    return int(labels.max()) + 1
