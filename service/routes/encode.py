"""POST /encode: images to latent codes."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.encoding import Encoded, encode
from service.endpoint import Call, answer
from service.formats.arrays import write_npy
from service.formats.negotiation import LATENT_FORMATS, NPY
from service.formats.render import Identity, model_head
from service.openapi import describe
from service.plan import find_model
from service.replies import Answer
from service.schemas import EncodeRequest

router = APIRouter()


@router.post("/encode", **describe("encode", EncodeRequest, LATENT_FORMATS))
async def encode_images(request: Request) -> Response:
    """Encode images.

    `latent` is the mean of the encoder's distribution, and `logvar` its log-variance where the encoder is stochastic.
    As `.npy` the answer is the means, float32 (n, latent_dim).
    """
    return await answer(request, EncodeRequest, "images", LATENT_FORMATS, _encode)


async def _encode(call: Call, body: EncodeRequest) -> Response:
    model = find_model(call, body.model, "encode")
    call.admit(model, "encode", len(body.images), drawn=False)
    encoded = await encode(call, model, body.images, body.label, body.resize)
    about = model.identity
    write = (lambda: write_npy(encoded.mean)) if call.media_type == NPY else (lambda: _json(about, encoded))
    content = await call.encode(encoded.mean.nbytes, write)
    call.trace.images = len(encoded.mean)
    return Answer(content, call.media_type, model_head(about))


def _json(model: Identity, encoded: Encoded) -> bytes:
    images: list[dict[str, Any]] = [{"index": i, "latent": row} for i, row in enumerate(encoded.mean)]
    if encoded.logvar is not None:
        for image, row in zip(images, encoded.logvar, strict=True):
            image["logvar"] = row
    return orjson.dumps({"model": model._asdict(), "seed": None, "images": images}, option=orjson.OPT_SERIALIZE_NUMPY)
