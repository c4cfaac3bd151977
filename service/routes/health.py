"""GET /health/live, /health/ready and /metrics: for those who watch over the service."""

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.answers import LiveAnswer, ReadyAnswer
from service.context import Context
from service.errors import NotReadyError
from service.metrics import MEDIA_TYPE
from service.openapi import plain, text

router = APIRouter()


@router.get("/health/live", **plain("The process answers", LiveAnswer))
async def live(_: Request) -> Response:
    """Always 200 while the process lives, whatever the models do."""
    return Response(b'{"status":"live"}', media_type="application/json")


@router.get("/health/ready", **plain("Requests can be served", ReadyAnswer, 503))
async def ready(request: Request) -> Response:
    """Whether requests can be served; 503 while models are loaded and while the service shuts down.

    Of several workers it is true of all that clients can reach, whoever is asked.

    Bundles that were refused are listed under `problems`; they do not make the others less ready.
    """
    context: Context = request.app.state.context
    fine, reason = context.all_ready()
    problems = context.catalog().problems() if context.is_open() else {}
    if not fine:
        raise NotReadyError(reason, retry_after_s=1.0, problems=problems)
    models = len(context.catalog().models())
    return Response(
        orjson.dumps({"status": "ready", "models": models, "problems": problems}), media_type="application/json"
    )


@router.get("/metrics", **text("Prometheus metrics", MEDIA_TYPE))
async def metrics(request: Request) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    context: Context = request.app.state.context
    return Response(context.metrics.render(), media_type=MEDIA_TYPE)
