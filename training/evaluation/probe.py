"""The probe: a small classifier trained on the same data, whose features measure samples of that data.

Where images have labels it learns those; elsewhere it learns how far an image was turned (Gidaris et al., "Unsupervised
Representation Learning by Predicting Image Rotations", 2018, https://arxiv.org/abs/1803.07728).
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bundle.pixels import to_graph
from training.data.dataset import Dataset, ImageSet
from training.evaluation.files import write_atomically
from training.evaluation.images import Images
from training.evaluation.probe_training import ProbeRecipe, Turns, train_probe
from training.onnx_graph import OnnxGraph

log = logging.getLogger(__name__)

LABELS, ROTATION = "labels", "rotation"
BATCH = 256


@dataclass(frozen=True)
class Probe:
    """A trained probe.

    Attributes:
        content: The ONNX file: `image` (n, c, h, w) to `logits` (n, classes) and `features` (n, 64). Each feature has
            mean 0 and variance 1 over the training images.
        task: What it learned: "labels" or "rotation".
        accuracy: Share of the test images that it classifies rightly.
    """

    content: bytes
    task: str
    accuracy: float

    @cached_property
    def sha256(self) -> str:
        """Hash of the ONNX file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def knows_labels(self) -> bool:
        """Whether its logits are those of the data set's labels."""
        return self.task == LABELS

    @cached_property
    def graph(self) -> OnnxGraph:
        """The probe, ready to run."""
        return OnnxGraph(self.content)

    def describe(self) -> str:
        """A phrase for protocols: which probe, what it learned, how well."""
        return f"{self.task} probe {self.sha256[:16]}, test accuracy {self.accuracy:.2%}"

    def features(self, images: Images) -> NDArray[np.float32]:
        """Features of images (n, h, w, c) uint8, shape (n, 64)."""
        return self._run(images, "features")

    def classes(self, images: Images) -> NDArray[np.int64]:
        """The most likely class of each image (n, h, w, c) uint8, shape (n,)."""
        return np.asarray(self._run(images, "logits").argmax(axis=1), dtype=np.int64)

    def _run(self, images: Images, output: str) -> NDArray[Any]:
        starts = range(0, max(1, len(images)), BATCH)
        return np.concatenate(
            [self.graph.run(image=to_graph(images[start : start + BATCH]))[output] for start in starts]
        )


def load_or_train_probe(dataset: Dataset, cache_dir: Path, recipe: ProbeRecipe | None = None) -> Probe:
    """The probe of a data set, from the cache, or trained (a minute or two) and put there.

    The cache knows it by the hashes of data and recipe. The same seed and number of threads give the same probe.

    Args:
        dataset: The probe learns labels if both splits have them.
        cache_dir: Folder of the cache, made if missing.
        recipe: How to train it; the default is what published figures are measured with.

    Raises:
        ValueError: If there are too few images for a step of two.
    """
    recipe = recipe or ProbeRecipe()
    path = cache_dir / f"probe-{dataset.sha256[:16]}-{_digest(recipe)}.onnx"
    if path.is_file():
        content = path.read_bytes()
    else:
        content = _make(dataset, recipe)
        write_atomically(path, content)
    metadata = OnnxGraph(content).metadata
    return Probe(content, task=metadata["task"], accuracy=float(metadata["test_accuracy"]))


def _make(dataset: Dataset, recipe: ProbeRecipe) -> bytes:
    labelled = dataset.train.labels is not None and dataset.test.labels is not None
    task = LABELS if labelled else ROTATION
    turns = None if labelled else Turns.of(dataset.train.images)
    log.info("training the probe of %s on %s", dataset.name, task)
    content = train_probe(dataset.train, turns, recipe)
    accuracy = _accuracy(Probe(content, task, accuracy=0.0), dataset.test, turns)
    log.info("the probe of %s is right on %.2f%% of the test images", dataset.name, 100 * accuracy)
    return _with_metadata(content, {"task": task, "test_accuracy": f"{accuracy:.6f}"})


def _accuracy(probe: Probe, test: ImageSet, turns: Turns | None) -> float:
    if turns is None:
        return float(np.mean(probe.classes(test.images) == test.labels))
    shares = [np.mean(probe.classes(turns.turn(test.images, i)) == i) for i in range(len(turns.quarters))]
    return float(np.mean(shares))


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString(deterministic=True))


def _digest(recipe: ProbeRecipe) -> str:
    return hashlib.sha256(json.dumps(asdict(recipe), sort_keys=True).encode()).hexdigest()[:12]
