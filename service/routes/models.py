"""GET /models and GET /models/{ref}: what can be drawn, and by what."""

from typing import Any

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers import ModelDetails, ModelsAnswer
from service.context import Context
from service.model import Model
from service.openapi import plain
from service.trace import trace_of

router = APIRouter()

_LONG = {"means", "scale_tril", "weights"}  # a fitted mixture has thousands of numbers


@router.get("/models", **plain("All models", ModelsAnswer, 503))
async def list_models(request: Request) -> Response:
    """All models that are loaded, and for each bundle that is not, the reason."""
    context: Context = request.app.state.context
    catalog = context.catalog()
    return _json(
        {
            "models": [_summary(model) for model in catalog.models()],
            "default": context.settings.default_model,
            "problems": catalog.problems(),
        }
    )


@router.get("/models/{ref}", **plain("One model", ModelDetails, 404, 409, 503))
async def show_model(request: Request, ref: str) -> Response:
    """One model, by name, name@version or name@alias: its interface, how it was trained, and its measured figures."""
    context: Context = request.app.state.context
    model = context.catalog().get(ref)
    trace_of(request.scope).about(model.name, model.version)
    return _json(_summary(model) | _details(model))


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


def _summary(model: Model) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "name": model.name,
        "version": model.version,
        "digest": model.digest,
        "aliases": list(model.aliases),
        "family": manifest.family,
        "graphs": sorted(manifest.graphs),
        "image": manifest.image.model_dump(),
        "prior": None if manifest.prior is None else _short_prior(manifest.prior.model_dump(mode="json")),
        "latent_dim": _latent_dim(model),
        "labels": manifest.labels,
        "domains": manifest.domains,
        "created": manifest.created.isoformat(),
        "runtime": model.runtime,
        "provider": model.provider,
    }


def _details(model: Model) -> dict[str, Any]:
    wanted = {"training", "metrics", "data", "parent", "vocabulary"}
    dumped = model.manifest.model_dump(mode="json", include=wanted)
    graphs = {name: spec.model_dump(mode="json") for name, spec in sorted(model.manifest.graphs.items())}
    return dumped | {"interface": graphs}


def _short_prior(prior: dict[str, Any]) -> dict[str, Any]:
    short = {key: value for key, value in prior.items() if key not in _LONG}
    if "parts" in short:
        short["parts"] = [_short_prior(part) for part in short["parts"]]
    if prior["kind"] == "mixture":
        short |= {"components": len(prior["weights"]), "dim": len(prior["means"][0])}
    return short


def _latent_dim(model: Model) -> int | str | None:
    spec = model.manifest.graphs["decode"].input("z") if "decode" in model.manifest.graphs else None
    return None if spec is None else spec.shape[1]
