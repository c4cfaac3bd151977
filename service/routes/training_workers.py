"""/training/workers: who runs the jobs."""

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from service.formats.negotiation import JSON
from service.training.answers import WorkersAnswer, show_worker
from service.training.describing import DATABASE, OFF, answer, operation
from service.training.reading import desk_of, refuse_query

router = APIRouter()


@router.get(
    "/training/workers",
    **operation("All workers", {200: ("The workers", answer(WorkersAnswer))}, {404: OFF, 503: DATABASE}),
)
async def workers(request: Request) -> Response:
    """Workers that are alive, and for a day those that are gone. Without one, jobs wait."""
    desk = desk_of(request)
    refuse_query(request)
    found = await desk.ask(lambda ledger: ledger.workers())
    return Response(orjson.dumps({"workers": [show_worker(worker) for worker in found]}), media_type=JSON)
