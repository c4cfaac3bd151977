"""`docs/results.md`, written from the manifests of the store, so that page and bundles cannot disagree."""

from collections.abc import Sequence

from bundle.manifest import Manifest, Metric
from bundle.store import Store

PUBLISHED = {
    ("mnist-gan", "parzen_log_likelihood"): "225 ± 2 (Goodfellow et al., 2014, Table 1)",
    ("mnist-vae", "elbo"): "-89.9, VAE on binarised MNIST (perhaps binarised otherwise)",
    ("mnist-vae", "iwae_50"): "-87.1, VAE on binarised MNIST, IWAE-50 (perhaps binarised otherwise)",
}

# What else was tried, for the models that were chosen among several runs. The runs of a model differ in more than one
# setting, and each was run once: they say which was kept, not why it is better.
TRIED = {
    "fashion-vae": (
        "Third of three runs, kept for its samples by eye. Fréchet distance, precision, recall: learned sigma, 24 "
        "latents, no batch norm 9.04, 0.42, 0.54; sigma 0.4, 16 latents, batch norm 7.29, 0.49, 0.58; this one (sigma "
        "0.7) 6.97, 0.67, 0.35: less variety for more likely garments."
    ),
    "mnist-vae": (
        "One of four runs. ELBO, IWAE-50 in nats: convolutions, 40 epochs -93.5, -89.5 (better; its weights were not "
        "kept); this one, fully connected, 120 epochs; convolutions, 32 epochs -94.2, -90.2; with batch norm, 28 "
        "epochs -96.7, -93.0."
    ),
    "mnist-gan": (
        "Second of two runs. Fréchet distance, Parzen log-likelihood of the first: 2.01, 124.6. It had half the "
        "channels in the discriminator, a weaker R1 penalty, augmentation and 12 epochs instead of 14."
    ),
    "fashion-gan": (
        "The same run after five more epochs had Fréchet distance 1.56 and reconstructed at 18.4 dB; not kept."
    ),
}

_INTRODUCTION = """# Results

The figures of the bundles in `models/`, written from their manifests by `python -m training results > docs/results.md`.

A floor is the same figure for the training set against the test set: what no model can be expected to beat. Deep
features come from a small probe classifier trained on the same data, so Fréchet and kernel distances compare models of
one data set here, and nothing else; its hash is in the protocol. A Parzen figure means little by itself: k-means
centres beat true data at it, and both stand beside it.

Where a model is one of several runs, its text says so, with their figures: the choice was made by eye and by these same
figures on the test images, not on a validation set, so the figures of the chosen run flatter it a little. Each run has
one seed; an error bar is that of the measurement, not of training anew.
"""


def results_page(store: Store) -> str:
    """The page, as Markdown: for the newest version of each model its picture, its cost and its figures."""
    parts = [_INTRODUCTION]
    parts += [_model(store.open(name).manifest) for name in store.names()]
    return "\n".join(parts)


def _model(manifest: Manifest) -> str:
    training = manifest.training
    title = f"{manifest.name}@{manifest.version}"
    cost = (
        f"Family `{manifest.family}`, trained on {manifest.data.name} (licence {manifest.data.licence}): "
        f"{training.steps:,} rounds, {training.images:,} images, {training.seconds / 60:.0f} minutes on "
        f"{training.hardware}, shared with other work. Data: {manifest.data.attribution}."
    )
    if manifest.parent:
        before = manifest.parent.training
        cost += (
            f" An encoder for the frozen generator of {manifest.parent.name}@{manifest.parent.version}, which took "
            f"{before.steps:,} rounds, {before.images:,} images, {before.seconds / 60:.0f} minutes before."
        )
    picture = f"![{title}](../models/{manifest.name}/{manifest.version}/{manifest.preview.path})"
    if manifest.name in TRIED:
        cost += f"\n\n{TRIED[manifest.name]}"
    figures = f"{_table(manifest.name, manifest.metrics)}\n{_protocols(manifest.metrics)}"
    return f"## {title}\n\n{picture}\n\n{cost}\n\n{figures}"


def _table(name: str, metrics: Sequence[Metric]) -> str:
    rows = ["| figure | value | floor | unit | split | published |", "| --- | --- | --- | --- | --- | --- |"]
    floors = {metric.name.removesuffix("_floor"): metric for metric in metrics if metric.name.endswith("_floor")}
    for metric in metrics:
        if metric.name.endswith("_floor"):
            continue
        floor = _value(floors[metric.name]) if metric.name in floors else ""
        published = PUBLISHED.get((name, metric.name), "")
        rows.append(f"| {metric.name} | {_value(metric)} | {floor} | {metric.unit} | {metric.split} | {published} |")
    return "\n".join(rows) + "\n"


def _protocols(metrics: Sequence[Metric]) -> str:
    lines: dict[str, list[str]] = {}
    for metric in metrics:
        if not metric.name.endswith("_floor"):
            lines.setdefault(metric.protocol, []).append(metric.name)
    return "".join(f"- {', '.join(names)}: {protocol}\n" for protocol, names in lines.items())


def _value(metric: Metric) -> str:
    error = "" if metric.error is None else f" ± {metric.error:.2g}"
    return f"{metric.value:.4g}{error}"
