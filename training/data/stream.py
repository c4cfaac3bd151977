"""An endless stream of shuffled batches, a pure function of (seed, position): resuming needs one number."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.dataset import ImageSet


@dataclass(frozen=True)
class Batch:
    """Images float32 (n, channels, height, width) in [-1, 1], and labels int64 (n,) where the set has them."""

    image: Tensor
    label: Tensor | None


class BatchStream:
    """Batches cut from one permutation after the other; every image once per permutation."""

    def __init__(self, data: ImageSet, batch_size: int, seed: int, position: int = 0) -> None:
        """`position` is the number of images already taken."""
        self.data = data
        self.batch_size = batch_size
        self.seed = seed
        self.position = position
        self._order: tuple[int, NDArray[np.int64]] | None = None

    def next(self) -> Batch:
        """The next `batch_size` images."""
        index = self._indices(self.position, self.position + self.batch_size)
        self.position += self.batch_size
        labels = self.data.labels
        return Batch(to_float(self.data.images[index]), None if labels is None else torch.from_numpy(labels[index]))

    def _indices(self, start: int, stop: int) -> NDArray[np.int64]:
        n = len(self.data)
        parts = []
        while start < stop:
            epoch, offset = divmod(start, n)
            part = self._permutation(epoch)[offset : offset + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.data))
        return self._order[1]


def to_float(images: NDArray[np.uint8]) -> Tensor:
    """uint8 (n, h, w, c) → float32 (n, c, h, w) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1).contiguous()
