"""/training/jobs: order a training run, look for it, watch it, cancel it, resume it."""

from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from jobs.model import Event, Job
from service.context import Context
from service.errors import InvalidRequestError, UnknownJobError
from service.formats.negotiation import JSON, negotiate
from service.training.answers import JOBS, JobAnswer, JobsAnswer, event_data, job_path, show_job, summary
from service.training.bodies import JOB, JobRequest, ListQuery, WatchQuery
from service.training.describing import (
    DATABASE,
    LIST_EXTRA,
    OFF,
    ORDER_EXTRA,
    PNG,
    STREAM,
    UNKNOWN,
    WATCH_EXTRA,
    answer,
    operation,
)
from service.training.orders import check_data, hash_of, order
from service.training.reading import (
    context_of,
    desk_of,
    read_key,
    read_list_query,
    read_order,
    read_watch_query,
    refuse_query,
)
from service.training.stream import HEARTBEAT, MEDIA_TYPE, EventStream, event_bytes, retry_bytes

router = APIRouter()

HEARTBEAT_S = 15.0  # proxies close connections that are silent for a minute
_RETRY_MS = 2000
_FOREVER = "public, max-age=31536000, immutable"

JobId = Annotated[str, Path(alias="id", pattern=JOB, description="of the job")]


@router.post(
    JOBS,
    **operation(
        "Order a training run",
        {202: ("Taken; Location says where it is", answer(JobAnswer))},
        {
            400: "malformed_body",
            404: OFF,
            413: "body_too_large",
            415: "unsupported_media_type",
            422: "invalid_request: `errors` names each field and what is allowed; idempotency_key_reused",
            503: DATABASE,
        },
        ORDER_EXTRA,
    ),
)
async def submit(request: Request) -> Response:
    """Take an order. It waits until a worker takes it: `python -m training worker`.

    The recipe is checked as a whole now. With `Idempotency-Key`, an order that is sent again is the same job, also when
    it could not be ordered any more.
    """
    context = context_of(request)
    key = read_key(request)
    body = await read_order(request, context)
    job = await _seen(context, body, key)
    if job is None:
        new = await context.desk.run(lambda: order(body, key, context.settings))
        job = (await context.desk.ask(lambda ledger: ledger.submit(new)))[0]
    return _json(show_job(job), 202, {"location": job_path(job.id)})


@router.get(
    JOBS,
    **operation(
        "Jobs, newest first",
        {200: ("`next`, and a Link header, lead to the next page", answer(JobsAnswer))},
        {404: OFF, 422: "invalid_request", 503: DATABASE},
        LIST_EXTRA,
    ),
)
async def list_jobs(request: Request) -> Response:
    """Jobs that fit all filters, newest first, a page at a time."""
    desk = desk_of(request)
    q = read_list_query(request)
    found = await desk.ask(lambda ledger: ledger.list(q.state or None, q.name, q.family, q.limit + 1, q.before))
    page = found[: q.limit]
    following = _next_page(q, page[-1].id) if len(found) > q.limit else None
    headers = {"link": f'<{following}>; rel="next"'} if following else {}
    return _json({"jobs": [summary(job) for job in page], "next": following}, 200, headers)


@router.get(
    f"{JOBS}/{{id}}",
    **operation("One job", {200: ("The job", answer(JobAnswer))}, {404: UNKNOWN, 503: DATABASE}),
)
async def show(request: Request, job_id: JobId) -> Response:
    """A job as it is now, with its complete recipe."""
    desk = desk_of(request)
    refuse_query(request)
    return _json(show_job(await desk.ask(lambda ledger: ledger.get(job_id))))


@router.delete(
    f"{JOBS}/{{id}}",
    **operation(
        "Cancel a job",
        {200: ("It is cancelled", answer(JobAnswer)), 202: ("Its worker will stop it", answer(JobAnswer))},
        {404: UNKNOWN, 409: "job_state: it is over", 503: DATABASE},
    ),
)
async def cancel(request: Request, job_id: JobId) -> Response:
    """Cancel a job. A worker stops within a step and keeps the checkpoint, so that it can be resumed."""
    desk = desk_of(request)
    refuse_query(request)
    job = await desk.ask(lambda ledger: ledger.cancel(job_id))
    return _json(show_job(job), 200 if job.final else 202)


@router.post(
    f"{JOBS}/{{id}}/resume",
    **operation(
        "Resume a job",
        {202: ("It waits for a worker", answer(JobAnswer))},
        {
            404: UNKNOWN,
            409: "job_state: it was neither cancelled nor did it fail",
            422: "invalid_request",
            503: DATABASE,
        },
    ),
)
async def resume(request: Request, job_id: JobId) -> Response:
    """Queue a cancelled or failed job again. It goes on from its last checkpoint, as its next attempt."""
    context = context_of(request)
    refuse_query(request)
    job = await context.desk.ask(lambda ledger: ledger.get(job_id))
    await context.desk.run(lambda: check_data(job.recipe, context.settings))
    job = await context.desk.ask(lambda ledger: ledger.resume(job_id))
    return _json(show_job(job), 202, {"location": job_path(job.id)})


@router.get(
    f"{JOBS}/{{id}}/events",
    **operation(
        "Watch a job",
        {200: ("Events, until the job is over", STREAM), 204: ("The job is over, and nothing is left to tell", {})},
        {404: UNKNOWN, 406: "not_acceptable", 422: "invalid_request", 503: DATABASE},
        WATCH_EXTRA,
    ),
)
async def watch(request: Request, job_id: JobId) -> Response:
    """Server-sent events: `state`, `progress`, `epoch`, `log`, `picture` and `result`, from the first on.

    Who comes back with the id of the last event goes on behind it: none is lost, none comes twice. 204 tells a
    browser to stop coming back.
    """
    context = context_of(request)
    q = read_watch_query(request)
    negotiate(request.headers.get("accept"), [MEDIA_TYPE])
    job = await context.desk.ask(lambda ledger: ledger.get(job_id))
    if q.after:
        known = await context.desk.ask(lambda ledger: ledger.events(job_id, after=q.after - 1, limit=2))
        if not known:
            raise InvalidRequestError(
                f"job {job_id} has no event {q.after} yet; leave Last-Event-ID and after out to see all",
                errors=[{"field": "Last-Event-ID", "message": "there is no such event"}],
            )
        if job.final and known[-1].id == q.after:
            return Response(status_code=204)
    return EventStream(_pieces(context, job_id, q), context.feeds.closed)


@router.get(
    f"{JOBS}/{{id}}/pictures/{{event}}",
    **operation(
        "A picture of a job",
        {200: ("A grid from fixed latents", PNG)},
        {404: f"{UNKNOWN}; also where the picture was dropped", 422: "invalid_request", 503: DATABASE},
    ),
)
async def picture(
    request: Request, job_id: JobId, event: Annotated[int, Path(ge=1, le=2**62, description="its id")]
) -> Response:
    """The PNG of a `picture` event. Of a very long run the middle ones are dropped."""
    desk = desk_of(request)
    refuse_query(request)
    png = await desk.ask(lambda ledger: ledger.read_picture(job_id, event))
    return Response(png, media_type="image/png", headers={"cache-control": _FOREVER})


async def _pieces(context: Context, job_id: str, q: WatchQuery) -> AsyncGenerator[bytes, None]:
    yield retry_bytes(_RETRY_MS)
    async with aclosing(context.feeds.follow(job_id, q.after, HEARTBEAT_S)) as batches:
        async for events in batches:
            if not events:
                yield HEARTBEAT
            elif q.pictures == "links":
                yield b"".join(event_bytes(event.id, event.kind, event_data(event)) for event in events)
            else:
                for event in events:
                    yield event_bytes(event.id, event.kind, event_data(event) | await _inline(context, event))


async def _seen(context: Context, body: JobRequest, key: str | None) -> Job | None:
    if key is None:
        return None
    request_hash = hash_of(body)
    return await context.desk.ask(lambda ledger: ledger.seen(key, request_hash))


async def _inline(context: Context, event: Event) -> dict[str, Any]:
    if event.kind != "picture":
        return {}
    try:
        png = await context.desk.ask(lambda ledger: ledger.read_picture(event.job, event.id))
    except UnknownJobError:  # dropped
        return {}
    return {"png": b64encode(png).decode("ascii")}


def _next_page(q: ListQuery, last: str) -> str:
    filters = {**q.model_dump(exclude={"before"}, exclude_defaults=True), "before": last}
    return f"{JOBS}?{urlencode(filters, doseq=True)}"


def _json(content: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, JSON)
