"""`docs/results.md`, written from the manifests of the store, so that page and bundles cannot disagree."""

from collections.abc import Sequence

from bundle.manifest import Manifest, Metric
from bundle.store import Store

PUBLISHED = {
    ("mnist-gan", "parzen_log_likelihood"): "225 ± 2 (Goodfellow et al., 2014, Table 1)",
    ("mnist-gan", "parzen_log_likelihood_kmeans"): "313 (Theis, van den Oord, Bethge, 2016, Table 1)",
    ("mnist-gan", "parzen_log_likelihood_train"): "243 (Theis, van den Oord, Bethge, 2016, Table 1)",
    ("mnist-vae", "elbo"): "-89.9, VAE on binarised MNIST",
    ("mnist-vae", "iwae_50"): "-87.1, VAE on binarised MNIST, IWAE-50",
}

_INTRODUCTION = """# Results

The figures of the bundles in `models/`, written from their manifests by `python -m training results > docs/results.md`.

A floor is the same figure for the training set against the test set: what no model can be expected to beat. Deep
features come from a small probe classifier trained on the same data, so Fréchet and kernel distances compare models of
one data set here, and nothing else; its hash is in the protocol. A Parzen figure means little by itself: k-means
centres beat true data at it, and both stand beside it.
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
