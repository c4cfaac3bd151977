"""Whether a figure that was sampled over time grows."""

from collections.abc import Sequence

import numpy as np


def growth(times: Sequence[float], values: Sequence[float]) -> float:
    """How much a figure has grown from the first to the last sample, by its Theil-Sen slope.

    The median of the slopes of all pairs: single outliers, of which a loaded server has many, do not move it.
    Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63, 1968,
    https://doi.org/10.1080/01621459.1968.10480934.

    Args:
        times: Ascending, all different, at least two.
        values: As many.
    """
    t, v = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(t), k=1)
    slopes = (v[second] - v[first]) / (t[second] - t[first])
    return float(np.median(slopes) * (t[-1] - t[0]))


def is_flat(grown: float, values: Sequence[float], share: float, least: float) -> bool:
    """Whether growth is within a share of the median of the values, or within `least`."""
    return grown <= max(least, share * float(np.median(values)))
