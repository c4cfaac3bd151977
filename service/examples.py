"""Request examples for the OpenAPI document. They name models that are loaded, so they work as they are."""

from binascii import b2a_base64
from typing import Any

import numpy as np

from bundle.manifest import GraphName
from service.catalog import Catalog
from service.formats.png import encode_png
from service.model import Model

Json = dict[str, Any]


def request_examples(catalog: Catalog, default: str | None) -> dict[str, dict[str, Json]]:
    """Path → name → example, for all that some model can do."""
    found: dict[str, dict[str, Json]] = {}
    sampler = _able(catalog, default, "decode", prior=True)
    encoder = _able(catalog, default, "encode")
    both = _able(catalog, default, "encode", "decode")
    if sampler:
        found["/sample"] = _sample(sampler)
        found["/interpolate"] = _interpolate(sampler)
    if encoder:
        found["/encode"] = {"file": _example("One image", _upload(encoder))}
    if both:
        wanted = {"include": ["latents", "metrics"]}
        found["/reconstruct"] = {"file": _example("One image, with its code and metrics", _upload(both) | wanted)}
        images = {"from": {"image": _picture(0)}, "to": {"image": _picture(1)}, "steps": 8, "resize": True}
        between = {"model": both.name} | images | _label(both)
        found.setdefault("/interpolate", {})["images"] = _example("Between two uploaded images", between)
    return found


def _sample(model: Model) -> dict[str, Json]:
    spec = model.manifest.graphs["decode"].input("z")
    assert spec is not None
    code = [round(float(x), 2) for x in np.linspace(-1, 1, int(spec.shape[1]))]
    examples = {
        "seed": _example("Sixteen images of a seed", {"model": model.name, "n": 16, "seed": 7}),
        "offset": _example("Image 3 of the same seed alone", {"model": model.name, "seed": 7, "start": 3}),
        "random": _example("Any image, with its code", {"model": model.name, "include": ["latents"]}),
        "latents": _example("A code outright", {"model": model.name, "latents": [code]}),
    }
    if _label(model):
        examples["label"] = _example("Of one class", {"model": model.name, "n": 4, "seed": 7} | _label(model))
    return examples


def _interpolate(model: Model) -> dict[str, Json]:
    ends = {"model": model.name, "from": {"seed": 1}, "to": {"seed": 2}}
    waypoints = {"via": [{"seed": 3}, {"seed": 4, "index": 5}], "steps": 24, "loop": True}
    return {
        "seeds": _example("Between two seeds", ends | {"steps": 8}),
        "loop": _example("A loop through waypoints", ends | waypoints),
        "straight": _example("Along a straight line", ends | {"steps": 8, "method": "lerp"}),
    }


def _upload(model: Model) -> Json:
    return {"model": model.name, "images": [_picture(0)], "resize": True} | _label(model)


def _label(model: Model) -> Json:
    graphs = model.manifest.graphs
    taken = any(graph in graphs and graphs[graph].input("label") for graph in ("encode", "decode"))
    return {"label": model.manifest.labels[0]} if taken and model.manifest.labels else {}


def _picture(kind: int) -> str:
    """A small picture to send: a bright disc or a bright square on black."""
    y, x = np.mgrid[-1:1:32j, -1:1:32j]
    inside = x**2 + y**2 < 0.5 if kind == 0 else np.maximum(abs(x), abs(y)) < 0.6
    pixels = np.where(inside, 220, 0).astype(np.uint8)[..., None]
    return b2a_base64(encode_png(pixels), newline=False).decode("ascii")


def _example(summary: str, value: Json) -> Json:
    return {"summary": summary, "value": value}


def _able(catalog: Catalog, default: str | None, *graphs: GraphName, prior: bool = False) -> Model | None:
    names = catalog.with_graphs(*graphs)
    preferred = [default] if default in names else []
    models = (catalog.get(name) for name in [*preferred, *names] if name is not None)
    return next((model for model in models if model.manifest.prior is not None or not prior), None)
