"""POST /sample: images from seeds, or from codes given outright."""

from dataclasses import dataclass

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from service.endpoint import Call, answer, draw
from service.errors import InvalidRequestError
from service.formats.negotiation import IMAGE_FORMATS
from service.formats.render import Drawing
from service.model import Model
from service.openapi import describe
from service.plan import (
    check_codes,
    check_count,
    choose_labels,
    draw_codes,
    draw_labels,
    find_model,
    inputs_for,
    latent_dim,
    new_seed,
    takes,
)
from service.schemas import SampleRequest

router = APIRouter()

_PIXELS = ("pixels",)


@dataclass(frozen=True)
class _Source:
    """Codes (n, latent_dim) and labels (n,), and the seed if it had a part in them."""

    z: NDArray[np.float32]
    label: NDArray[np.int64] | None
    seed: int | None


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
    call.admit(model, "decode", n)
    if body.prompt is not None and not takes(model, "decode", "tokens"):
        raise InvalidRequestError(f"prompt is given, but model {model.name!r} takes none; leave it out")
    source = await _source(call, model, body, n)
    codes = _structured_codes(model, body, n)
    inputs = inputs_for(model, "decode", {"z": source.z, "label": source.label, "codes": codes})
    outputs = await call.run(model, "decode", inputs, _PIXELS)
    drawing = Drawing(
        model.identity,
        outputs["pixels"],
        source.seed,
        body.start,
        latents=source.z if "latents" in body.include else None,
    )
    return await draw(call, drawing)


def _count(body: SampleRequest) -> int:
    if body.latents is None:
        return 1 if body.n is None else body.n
    if body.n not in (None, len(body.latents)):
        raise InvalidRequestError(f"n is {body.n}, but there are {len(body.latents)} latents; leave n out")
    if body.truncation != 1:
        raise InvalidRequestError("truncation is for codes drawn from the prior; leave it out where latents are given")
    return len(body.latents)


async def _source(call: Call, model: Model, body: SampleRequest, n: int) -> _Source:
    seed = new_seed() if body.seed is None else body.seed
    label = choose_labels(model, "decode", body.label, n)
    drawn_label = label is None and takes(model, "decode", "label")
    if drawn_label:
        label = draw_labels(model, seed, body.start, n)
    if body.latents is None:
        return _Source(await draw_codes(call, model, seed, body.start, n, body.truncation), label, seed)
    z = check_codes(body.latents, "latents", latent_dim(model), f"model {model.name!r}")
    return _Source(z, label, seed if drawn_label else None)


def _structured_codes(model: Model, body: SampleRequest, n: int) -> NDArray[np.float32] | None:
    if body.codes is None:
        return None
    spec = model.manifest.graphs["decode"].input("codes")
    if spec is None:
        raise InvalidRequestError(f"codes are given, but model {model.name!r} takes none; leave them out")
    codes = check_codes(body.codes, "codes", int(spec.shape[1]), f"model {model.name!r}")
    if len(codes) != n:
        raise InvalidRequestError(f"{len(codes)} rows of codes are given for {n} images; send one for each")
    return codes
