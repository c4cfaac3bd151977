"""The models that are measured, in a store of the benchmark's own, so that all subjects run the same files."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks.errors import BenchmarkError
from bundle.priors import Prior
from bundle.store import Bundle, Store

SMALL, LARGE = "fashion-vae", "dcgan-64"


@dataclass(frozen=True)
class Model:
    """What subjects need to know of a model.

    Attributes:
        name: In the store.
        onnx: Its `decode` graph.
        prior: What its codes are drawn from.
        shape: (height, width, channels) of an image.
    """

    name: str
    onnx: Path
    prior: Prior
    shape: tuple[int, int, int]

    @property
    def image_bytes(self) -> int:
        """Bytes of an image as raw uint8."""
        height, width, channels = self.shape
        return height * width * channels


def prepare(name: str, shipped: Store, ours: Store) -> Model:
    """A model in the benchmark's store: copied from the shipped ones, or made where it is the DCGAN.

    Raises:
        BundleError: If there is no such model.
        BenchmarkError: If its `decode` takes more than `z`.
    """
    if name != LARGE:
        return _described(_copied(shipped.open(name), ours))
    if name not in ours.names():
        from benchmarks.dcgan import publish  # here: it brings torch

        publish(ours, name)
    return _described(ours.open(name))


def _copied(source: Bundle, store: Store) -> Bundle:
    name = source.manifest.name
    if name in store.names() and store.open(name).digest == source.digest:
        return store.open(name)
    target = store.root / name / str(source.manifest.version)
    shutil.rmtree(target.parent, ignore_errors=True)
    shutil.copytree(source.path, target)
    return store.open(name)


def _described(bundle: Bundle) -> Model:
    manifest = bundle.manifest
    spec = manifest.graphs.get("decode")
    if spec is None or manifest.prior is None or [tensor.name for tensor in spec.inputs] != ["z"]:
        raise BenchmarkError(f"model {manifest.name!r} does not decode codes of a prior alone; choose another")
    image = manifest.image
    onnx = (bundle.path / spec.file.path).resolve()
    return Model(manifest.name, onnx, manifest.prior, (image.height, image.width, image.channels))
