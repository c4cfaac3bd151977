"""From what a request says to what a graph takes: which model, which codes, which labels."""

import secrets
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bundle.errors import LatentError, PriorError
from bundle.latents import SeededCodes, SeededLabels
from bundle.manifest import GraphName
from bundle.philox import MAX_SEED
from service.endpoint import Call
from service.engine.rows import Rows
from service.errors import (
    GraphMissingError,
    InvalidRequestError,
    LatentShapeError,
    PriorMissingError,
)
from service.model import Model
from service.schemas import Label

Codes = NDArray[np.float32]


def find_model(call: Call, ref: str | None, *graphs: GraphName) -> Model:
    """The model that a request means.

    Args:
        call: The request.
        ref: name, name@version, name@alias, or None for the default.
        graphs: What it must be able to do.

    Raises:
        UnknownModelError, ModelRefusedError: From the catalog.
        GraphMissingError: If it lacks a graph; the models that have all of them are named.
    """
    ref = ref if ref is not None else call.context.settings.default_model
    if ref is None:
        raise InvalidRequestError('the request names no model and the service has no default; send "model"')
    model = call.catalog.get(ref)
    for graph in graphs:
        if graph not in model.inputs:
            able = call.catalog.with_graphs(*graphs)
            raise GraphMissingError(
                f"model {model.name!r} has no graph {graph!r}; models that have it: {', '.join(able) or 'none'}",
                graph=graph,
                models=able,
            )
    return model


def latent_dim(model: Model) -> int:
    """Size of the codes that `decode` takes."""
    spec = model.manifest.graphs["decode"].input("z")
    assert spec is not None  # a law of the bundle
    return int(spec.shape[1])


def check_count(call: Call, n: int) -> int:
    """n, if the service takes so many images at once."""
    limit = call.context.settings.max_images
    if n > limit:
        raise InvalidRequestError(
            f"n is {n}; at most {limit} images are answered at once (setting max_images). "
            f'Ask for the next ones with the same seed and "start": {limit}',
            limit=limit,
        )
    return n


def new_seed() -> int:
    """A seed nobody chose."""
    return secrets.randbelow(MAX_SEED + 1)


def seeded_codes(model: Model, seed: int, start: int, n: int, truncation: float = 1.0) -> SeededCodes:
    """Codes of the images `start` to `start + n - 1` of a seed, shape (n, latent_dim), to be drawn when they run.

    Raises:
        PriorMissingError: If the model is an autoencoder without a prior.
        InvalidRequestError: If the numbers are out of range, or the prior cannot be truncated.
    """
    prior = model.manifest.prior
    if prior is None:
        raise PriorMissingError(
            f"model {model.name!r} is an autoencoder without a prior, which is not a generative model: nothing says "
            'which codes are likely. Train it with prior = "mixture" under [model] in its recipe to have one fitted to '
            'its codes; until then send "latents", or use /reconstruct or /interpolate between images'
        )
    try:
        return SeededCodes(prior, seed, start, n, truncation)
    except (LatentError, PriorError) as error:
        raise InvalidRequestError(str(error)) from error


async def draw_codes(call: Call, codes: SeededCodes) -> Codes:
    """The codes themselves."""
    return await call.context.workers.run(len(codes) * codes.prior.draws, lambda: SeededCodes.draw([codes]))


def check_codes(codes: Codes, name: str, width: int, of: str) -> Codes:
    """Codes as a matrix of the right width.

    Raises:
        LatentShapeError: What came and what was expected.
    """
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != width:
        raise LatentShapeError(f"{name} have shape {codes.shape}; {of} takes (n, {width}) with n of at least 1")
    return codes


def choose_labels(
    model: Model, graph: GraphName, given: Label | list[Label] | None, n: int
) -> NDArray[np.int64] | None:
    """Class numbers as the request gives them, shape (n,), or None if it gives none.

    Raises:
        InvalidRequestError: If the graph takes no label, there is no such class, or there are not n of them.
    """
    if given is None:
        return None
    if not takes(model, graph, "label"):
        raise InvalidRequestError(f"label is given, but {graph!r} of model {model.name!r} takes none; leave it out")
    names = model.manifest.labels or []
    chosen = given if isinstance(given, list) else [given] * n
    if len(chosen) != n:
        raise InvalidRequestError(f"{len(chosen)} labels are given for {n} images; send one, or one for each")
    return np.array([_class_number(label, names, model.name) for label in chosen], dtype=np.int64)


def seeded_labels(model: Model, seed: int, start: int, n: int) -> SeededLabels:
    """Class numbers that a seed draws, shape (n,), to be drawn when they run.

    Raises:
        InvalidRequestError: If a number is out of its range.
    """
    try:
        return SeededLabels(len(model.manifest.labels or []), seed, start, n)
    except LatentError as error:
        raise InvalidRequestError(str(error)) from error


def takes(model: Model, graph: GraphName, tensor: str) -> bool:
    """Whether a graph has an input of that name."""
    return tensor in model.inputs[graph]


def inputs_for(model: Model, graph: GraphName, found: Mapping[str, Rows | None]) -> dict[str, Rows]:
    """What there is, less what is None.

    Raises:
        InvalidRequestError: If an input of the graph is not among it.
    """
    inputs = {name: rows for name, rows in found.items() if rows is not None}
    missing = model.inputs[graph] - inputs.keys()
    if missing:
        raise InvalidRequestError(
            f"{graph!r} of model {model.name!r} needs {', '.join(sorted(missing))}, which the request does not give"
        )
    return inputs


def _class_number(label: Label, names: list[str], model: str) -> int:
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    if isinstance(label, str) and label in names:
        return names.index(label)
    raise InvalidRequestError(
        f"label is {repr(label)[:60]}; model {model!r} has 0 to {len(names) - 1}: {', '.join(names)}", labels=names
    )
