"""POST /reconstruct: images to codes and back."""

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from bundle.similarity import psnr, ssim
from service.encoding import encode
from service.endpoint import Call, answer, draw
from service.formats.negotiation import IMAGE_FORMATS
from service.formats.render import Drawing
from service.openapi import describe
from service.plan import find_model, inputs_for, takes
from service.schemas import ReconstructRequest

router = APIRouter()


@router.post("/reconstruct", **describe("reconstruct", ReconstructRequest, IMAGE_FORMATS))
async def reconstruct(request: Request) -> Response:
    """Encode images and draw them again from the means of their codes.

    `metrics` compares each drawing with what the model saw of the upload: `psnr` in dB and `ssim`.
    """
    return await answer(request, ReconstructRequest, "images", IMAGE_FORMATS, _reconstruct)


async def _reconstruct(call: Call, body: ReconstructRequest) -> Response:
    model = find_model(call, body.model, "encode", "decode")
    call.admit(model, "encode", len(body.images))
    encoded = await encode(call, model, body.images, body.label, body.resize)
    label = encoded.label if takes(model, "decode", "label") else None
    inputs = inputs_for(model, "decode", {"z": encoded.mean, "label": label})
    pixels = (await call.run(model, "decode", inputs, ["pixels"]))["pixels"]
    metrics = None
    if "metrics" in body.include:
        metrics = await call.context.workers.run(8 * pixels.size, lambda: _compare(encoded.pixels, pixels))
    latents = encoded.mean if "latents" in body.include else None
    return await draw(call, Drawing(model.identity, pixels, latents=latents, metrics=metrics))


def _compare(uploads: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> list[dict[str, float]]:
    pairs = zip(psnr(uploads, drawn).tolist(), ssim(uploads, drawn).tolist(), strict=True)
    return [{"psnr": ratio, "ssim": likeness} for ratio, likeness in pairs]
