"""POST /sample: images from seeds, or from codes given outright."""

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from bundle.latents import SeededCodes, SeededLabels
from service.endpoint import Call, answer, draw
from service.errors import InvalidRequestError
from service.formats.negotiation import IMAGE_FORMATS
from service.formats.render import Drawing
from service.model import Model
from service.openapi import describe
from service.plan import (
    Codes,
    check_codes,
    check_count,
    choose_labels,
    draw_codes,
    find_model,
    inputs_for,
    latent_dim,
    new_seed,
    seeded_codes,
    seeded_labels,
    takes,
)
from service.schemas import SampleRequest

router = APIRouter()

_PIXELS = ("pixels",)


@router.post("/sample", **describe("sample", SampleRequest, IMAGE_FORMATS))
async def sample(request: Request) -> Response:
    """Draw images.

    Image `i` of a seed depends on the model's digest, the seed and `i` alone: it is the same alone, in any batch, at
    any offset, from any process. A seed that is left out is drawn, and always told.
    """
    return await answer(request, SampleRequest, "latents", IMAGE_FORMATS, _sample)


async def _sample(call: Call, body: SampleRequest) -> Response:
    model = find_model(call, body.model, "decode")
    n = check_count(call, _count(body))
    call.about(model, "decode", n)
    if body.prompt is not None and not takes(model, "decode", "tokens"):
        raise InvalidRequestError(f"prompt is given, but model {model.name!r} takes none; leave it out")
    seed = new_seed() if body.seed is None else body.seed
    z = _codes(model, body, seed, n)
    label = _labels(model, body, seed, n)
    inputs = inputs_for(model, "decode", {"z": z, "label": label, "codes": _structured_codes(model, body, n)})
    outputs = await call.run(model, "decode", inputs, _PIXELS)
    seeded = isinstance(z, SeededCodes) or isinstance(label, SeededLabels)
    drawing = Drawing(model.identity, outputs["pixels"], seed if seeded else None, body.start)
    if "latents" in body.include:
        drawing.latents = await draw_codes(call, z) if isinstance(z, SeededCodes) else z
    return await draw(call, drawing)


def _count(body: SampleRequest) -> int:
    if body.latents is None:
        return 1 if body.n is None else body.n
    if body.n not in (None, len(body.latents)):
        raise InvalidRequestError(f"n is {body.n}, but there are {len(body.latents)} latents; leave n out")
    if body.truncation != 1:
        raise InvalidRequestError("truncation is for codes drawn from the prior; leave it out where latents are given")
    return len(body.latents)


def _codes(model: Model, body: SampleRequest, seed: int, n: int) -> SeededCodes | Codes:
    if body.latents is None:
        return seeded_codes(model, seed, body.start, n, body.truncation)
    return check_codes(body.latents, "latents", latent_dim(model), f"model {model.name!r}")


def _labels(model: Model, body: SampleRequest, seed: int, n: int) -> SeededLabels | NDArray[np.int64] | None:
    if body.label is None and takes(model, "decode", "label"):
        return seeded_labels(model, seed, body.start, n)
    return choose_labels(model, "decode", body.label, n)


def _structured_codes(model: Model, body: SampleRequest, n: int) -> Codes | None:
    if body.codes is None:
        return None
    spec = model.manifest.graphs["decode"].input("codes")
    if spec is None:
        raise InvalidRequestError(f"codes are given, but model {model.name!r} takes none; leave them out")
    codes = check_codes(body.codes, "codes", int(spec.shape[1]), f"model {model.name!r}")
    if len(codes) != n:
        raise InvalidRequestError(f"{len(codes)} rows of codes are given for {n} images; send one for each")
    return codes
