"""How well images survive encoding and decoding."""

from dataclasses import dataclass

import numpy as np

from bundle.pixels import to_graph
from bundle.similarity import psnr, ssim
from training.evaluation.estimates import Estimate, mean_over_images
from training.evaluation.images import Images
from training.evaluation.probe import Probe
from training.evaluation.sampling import BATCH, Labels, rows_of, slices, stored_pixels, with_label
from training.onnx_graph import OnnxGraph


@dataclass(frozen=True)
class Reconstruction:
    """Means over images with their standard errors.

    Attributes:
        psnr: In dB.
        ssim: At most 1.
        label_kept: Share of images in which the probe sees the same class before and after; None without labels.
    """

    psnr: Estimate
    ssim: Estimate
    label_kept: Estimate | None


def reconstructions(encode: OnnxGraph, decode: OnnxGraph, images: Images, labels: Labels | None = None) -> Images:
    """Images (n, h, w, c) decoded from the mean of their codes, the same shape."""
    parts = []
    for part in slices(len(images), BATCH):
        own = rows_of(labels, part)
        z = encode.run(**with_label(encode, own, image=to_graph(images[part])))["mean"]
        parts.append(stored_pixels(decode.run(**with_label(decode, own, z=z))))
    return np.concatenate(parts)


def compare(images: Images, recon: Images, probe: Probe | None) -> Reconstruction:
    """Compare images (n, h, w, c), n at least 2, with their reconstructions; see `similarity` for the formulas.

    Args:
        images, recon: Originals and reconstructions.
        probe: Judge of the class, where it knows labels.
    """
    pairs = [(images[part], recon[part]) for part in slices(len(images), BATCH)]
    kept = None
    if probe is not None and probe.knows_labels:
        kept = mean_over_images((probe.classes(images) == probe.classes(recon)).astype(np.float64))
    return Reconstruction(
        psnr=mean_over_images(np.concatenate([psnr(*pair) for pair in pairs])),
        ssim=mean_over_images(np.concatenate([ssim(*pair) for pair in pairs])),
        label_kept=kept,
    )
