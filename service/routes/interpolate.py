"""POST /interpolate: the way between images."""

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from bundle.errors import LatentError
from bundle.latents import SeededLabels
from service.encoding import encode
from service.endpoint import Call, answer, draw
from service.errors import InvalidRequestError, LatentShapeError
from service.formats.negotiation import IMAGE_FORMATS
from service.formats.render import Drawing
from service.interpolation import Method, path
from service.model import Model
from service.openapi import describe
from service.plan import (
    check_codes,
    choose_labels,
    draw_codes,
    find_model,
    inputs_for,
    latent_dim,
    seeded_codes,
    seeded_labels,
    takes,
)
from service.schemas import ImagePoint, InterpolateRequest, LatentPoint, SeedPoint

router = APIRouter()


@router.post("/interpolate", **describe("interpolate", InterpolateRequest, IMAGE_FORMATS))
async def interpolate(request: Request) -> Response:
    """Draw the way from one point to another.

    Points are seeds, codes or images. The first and the last frame are exactly the images of `from` and `to`. As
    `image/png` or `image/jpeg` the frames stand side by side; `image/gif`, `image/apng` and `image/webp` move.

    A class-conditional model draws all frames as one class: `label`, or else the one that /sample draws for the first
    waypoint that is a seed, so that a way that starts at a seed starts at what /sample shows for it.
    """
    return await answer(request, InterpolateRequest, "", IMAGE_FORMATS, _interpolate)


async def _interpolate(call: Call, body: InterpolateRequest) -> Response:
    by_image = any(isinstance(point, ImagePoint) for point in body.waypoints)
    model = find_model(call, body.model, "decode", *(("encode",) if by_image else ()))
    call.admit(model, "decode", _check_steps(call, body))
    waypoints = await _waypoints(call, model, body)
    label = _label(model, body)
    try:
        z = path(waypoints, body.steps, body.method or _default_method(model), body.loop)
    except LatentError as error:
        raise LatentShapeError(str(error)) from error
    labels = None if label is None else np.full(body.steps, label, dtype=np.int64)
    inputs = inputs_for(model, "decode", {"z": z, "label": labels})
    outputs = await call.run(model, "decode", inputs, ["pixels"])
    seed, start = (body.origin.seed, body.origin.index) if isinstance(body.origin, SeedPoint) else (None, 0)
    return await draw(call, Drawing(model.identity, outputs["pixels"], seed, start, motion=True))


def _check_steps(call: Call, body: InterpolateRequest) -> int:
    settings = call.context.settings
    limit = min(settings.max_steps, settings.max_images)
    if body.steps > limit:
        raise InvalidRequestError(
            f"steps is {body.steps}; at most {limit} frames are answered (settings max_steps, max_images)", limit=limit
        )
    if len(body.waypoints) > limit:
        raise InvalidRequestError(f"{len(body.waypoints)} waypoints; at most {limit} are taken", limit=limit)
    return body.steps


async def _waypoints(call: Call, model: Model, body: InterpolateRequest) -> NDArray[np.float32]:
    images = [point.image for point in body.waypoints if isinstance(point, ImagePoint)]
    encoded = iter((await encode(call, model, images, body.label, body.resize)).mean if images else ())
    codes = []
    for point in body.waypoints:
        if isinstance(point, SeedPoint):
            codes.append((await draw_codes(call, seeded_codes(model, point.seed, point.index, 1)))[0])
        elif isinstance(point, LatentPoint):
            of = f"model {model.name!r}"
            codes.append(check_codes(np.atleast_2d(point.latent), "latents", latent_dim(model), of)[0])
        else:
            codes.append(next(encoded))
    return np.stack(codes)


def _label(model: Model, body: InterpolateRequest) -> int | None:
    given = choose_labels(model, "decode", body.label, 1)
    if given is not None or not takes(model, "decode", "label"):
        return None if given is None else int(given[0])
    point = next((point for point in body.waypoints if isinstance(point, SeedPoint)), None)
    if point is None:
        raise InvalidRequestError(f"model {model.name!r} draws by class and no waypoint is a seed; send a label")
    return int(SeededLabels.draw([seeded_labels(model, point.seed, point.index, 1)])[0])


def _default_method(model: Model) -> Method:
    prior = model.manifest.prior
    return "slerp" if prior is not None and prior.kind in ("normal", "sphere") else "lerp"
