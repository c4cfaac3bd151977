"""Nearest training images: are samples copies of what the model learned from?"""

from dataclasses import dataclass

import numpy as np

from training.evaluation.distances import Rows, nearest
from training.evaluation.images import Images, to_unit_rows


@dataclass(frozen=True)
class Neighbours:
    """Median distance of samples to their nearest training image, beside that of test images."""

    median: float
    median_test: float

    @property
    def ratio(self) -> float | None:
        """About 1 for new images of the same kind, far below 1 for copies; None where most test images are copies."""
        return self.median / self.median_test if self.median_test > 0 else None


def neighbours(samples: Rows, test: Rows, train: Rows) -> Neighbours:
    """Compare how near samples and test images are to training images, by Euclidean distance of pixels or of features.

    Args:
        samples, test, train: Shapes (n, d), (m, d), (t, d).
    """
    (_, distances), (_, test_distances) = nearest(samples, train), nearest(test, train)
    return Neighbours(float(np.median(distances)), float(np.median(test_distances)))


def neighbour_pairs(samples: Images, train: Images) -> Images:
    """Each sample beside its nearest training image by pixels: shape (n, 2, h, w, c), ready to be drawn as a grid."""
    index, _ = nearest(to_unit_rows(samples), to_unit_rows(train))
    return np.stack([samples, train[index]], axis=1)
