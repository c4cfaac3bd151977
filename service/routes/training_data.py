"""/training/data: send images to train on, see what there is, remove it."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi import Path as InPath
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from bundle.uploads.limits import Wanted
from service.answers import Problem
from service.context import Context
from service.errors import InvalidRequestError, UnsupportedMediaTypeError
from service.formats.negotiation import JSON
from service.problems import MEDIA_TYPE as PROBLEM
from service.problems import invalid
from service.supervision import Supervision
from service.trace import trace_of
from service.training.data import DataDesk
from service.training.data_answers import DATA, BuiltInAnswer, DataAnswer, DataQuery, UploadAnswer, show_upload
from service.training.data_form import file_of
from service.training.data_known import built_in
from service.training.data_pipe import read_chunks
from service.training.reading import context_of
from service.training.usage import named_by

Json = dict[str, Any]
UploadId = Annotated[str, InPath(alias="id", description="of the set")]

_FORM = "multipart/form-data"
_ARCHIVES = ("application/zip", "application/x-zip-compressed", "application/x-npz", "application/octet-stream")
_BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
_OFF = "training_off: this service takes no jobs"
_TROUBLE = "overloaded: too many uploads at once; stopping; database_unavailable; each with Retry-After"


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    desk = app.state.data = DataDesk(context.settings, lambda: context.desk.ask_now(named_by))
    try:
        yield
    finally:
        await run_in_threadpool(desk.close)


def _operation(
    summary: str,
    status: int,
    meaning: str,
    model: type[BaseModel] | None,
    problems: dict[int, str],
    extra: Json | None = None,
) -> Json:
    answered: Json = {"description": meaning} | ({} if model is None else {"model": model})
    refused = {
        code: {
            "description": said,
            "content": {PROBLEM: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
        }
        for code, said in problems.items()
    }
    return {
        "summary": summary,
        "status_code": status,
        "response_class": Response,
        "response_model": None,
        "responses": {status: answered, **refused},
        "openapi_extra": extra,
        "tags": ["training"],
    }


def _parameters() -> list[Json]:
    properties = DataQuery.model_json_schema()["properties"]
    return [
        {"name": name, "in": "query", "description": place.pop("description"), "schema": place}
        for name, place in properties.items()
    ]


_EXTRA: Json = {
    "parameters": _parameters(),
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(_ARCHIVES, _BINARY),
            _FORM: {"schema": {"type": "object", "required": ["file"], "properties": {"file": _BINARY["schema"]}}},
        },
    },
}

router = APIRouter(lifespan=_lifespan)


@router.post(
    DATA,
    **_operation(
        "Send images to train on",
        201,
        "The set; Location says where it is",
        UploadAnswer,
        {
            400: "malformed_body: the form cannot be read",
            404: _OFF,
            408: "upload_too_slow",
            413: "upload_too_large: bytes, images, pixels, or an archive that unpacks as bombs do",
            415: "upload_format: neither a zip nor an .npz; unsupported_media_type",
            422: "invalid_upload: what is wrong with it, and what to change; invalid_request: the query",
            503: _TROUBLE,
            507: "storage_full: the quota of data sets, or the disk",
        },
        _EXTRA,
    ),
)
async def send(request: Request) -> Response:
    """Take a zip of images, or an `.npz` of arrays, as the body or as the one file of a form.

    In a zip the first folder of each image is its class. An `.npz` has `images`, uint8 (n, height, width[, 1 or 3]),
    and may have `labels`; or `x_train` and `x_test`. Equal sets have equal ids, however they are packed.
    """
    context_of(request)
    desk = _desk(request)
    wanted = _wanted(request)
    unwrap = _unwrapping(request)
    headers = trace_of(request.scope).headers
    declared = desk.check_length(headers.get(b"content-length", b"").decode("latin-1"))
    with Supervision(request, None) as supervision:

        async def chunks() -> AsyncIterator[bytes]:
            async for chunk in read_chunks(request.receive, desk.pace, desk.most_bytes):
                yield chunk
            supervision.body_was_read()

        upload = await desk.receive(chunks(), wanted, unwrap, declared)
    return _json(show_upload(upload), 201, {"location": f"{DATA}/{upload.id}"})


@router.get(
    DATA,
    **_operation("Data sets that jobs can name", 200, "The sets", DataAnswer, {404: _OFF, 503: _TROUBLE}),
)
async def list_data(request: Request) -> Response:
    """The sets that were uploaded, the newest first, and those that recipes know by name and that are here."""
    context = context_of(request)
    _refuse_query(request)
    folders = [*([context.settings.data] if context.settings.data else []), Path("data")]
    names = await run_in_threadpool(built_in, folders)
    uploads = await _desk(request).list()
    known = [BuiltInAnswer(name=name, data=name).model_dump() for name in names]
    return _json({"built_in": known, "uploads": [show_upload(upload) for upload in uploads]})


@router.get(
    f"{DATA}/{{id}}",
    **_operation(
        "One uploaded set",
        200,
        "The set",
        UploadAnswer,
        {404: f"unknown_data; {_OFF}", 409: "data_damaged: send it again", 503: _TROUBLE},
    ),
)
async def show(request: Request, upload_id: UploadId) -> Response:
    """What is known about an uploaded set."""
    context_of(request)
    _refuse_query(request)
    return _json(show_upload(await _desk(request).find(upload_id)))


@router.delete(
    f"{DATA}/{{id}}",
    **_operation(
        "Remove an uploaded set",
        204,
        "It is gone",
        None,
        {
            404: f"unknown_data; {_OFF}",
            409: "data_in_use: by a job that has not ended",
            422: "invalid_request: the query, or a page of another site asked for it",
            503: _TROUBLE,
        },
    ),
)
async def remove(request: Request, upload_id: UploadId) -> Response:
    """Remove an uploaded set that no job needs. Models that learned from it stay."""
    context_of(request)
    _refuse_query(request)
    await _desk(request).delete(upload_id)
    return Response(status_code=204)


def _desk(request: Request) -> DataDesk:
    desk: DataDesk = request.app.state.data
    return desk


def _wanted(request: Request) -> Wanted:
    given = request.query_params
    if len(given.multi_items()) > len(given):
        raise InvalidRequestError(f"query: {sorted(given)} are there more than once")
    try:
        q = DataQuery.model_validate(dict(given))
    except ValidationError as error:
        raise invalid(error) from error
    return Wanted(q.size, None if q.channels is None else int(q.channels))


def _refuse_query(request: Request) -> None:
    if request.query_params:
        raise InvalidRequestError(f"unknown query parameters {sorted(request.query_params)[:8]}; expected none")


def _unwrapping(request: Request) -> Callable[[Iterable[bytes]], Iterable[bytes]]:
    content_type = trace_of(request.scope).headers.get(b"content-type", _ARCHIVES[-1].encode()).decode("latin-1")
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _FORM:
        return lambda body: file_of(body, content_type)
    if kind not in _ARCHIVES:
        raise UnsupportedMediaTypeError(
            f"the content type is {kind[:80]!r}; expected {', '.join(_ARCHIVES[:1])}, {_ARCHIVES[2]} or {_FORM} "
            "(curl -F file=@images.zip)"
        )
    return lambda body: body


def _json(content: Json, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, headers, JSON)
