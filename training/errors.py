"""Everything that `training` raises on purpose; each ends a command with one clear line.

`RecipeError` is that of `bundle.recipes`, which says what is wrong key by key: a `BundleError`.

TrainingError
├── DataError        data that is missing, corrupt, empty or of a wrong shape
├── CheckpointError  a checkpoint of another recipe, or one that cannot be read
├── DivergedError    a loss that is no finite number
├── ExportError      a graph that breaks one of the laws of graphs
└── TrackingError    tracking that was asked for and cannot be done
"""

from bundle.recipes import RecipeError

__all__ = [
    "CheckpointError",
    "DataError",
    "DivergedError",
    "ExportError",
    "RecipeError",
    "TrackingError",
    "TrainingError",
]


class TrainingError(Exception):
    """Base of all errors of training."""


class DataError(TrainingError):
    """The data cannot be used as it is."""


class CheckpointError(TrainingError):
    """The checkpoint cannot be used for this run."""


class DivergedError(TrainingError):
    """A loss is NaN or infinite."""


class ExportError(TrainingError):
    """A graph cannot be exported, or breaks a law."""


class TrackingError(TrainingError):
    """Tracking was asked for and cannot be done."""
