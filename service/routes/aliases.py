"""/models/{name}/aliases: what aliases mean, what they meant, and how that is changed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from fastapi import APIRouter, Request
from starlette.responses import Response

from bundle.aliases import Aliases, Change, Editor
from bundle.errors import NotFoundError
from bundle.store import Store
from service.body import parse_body, read_body
from service.context import Context
from service.delivery.changes import Edited, change
from service.delivery.describing import ALIAS, CHANGED, ROLLBACK, operation
from service.delivery.schemas import AliasesAnswer, AliasRequest, RollbackRequest
from service.endpoint import deadline_of, validate
from service.errors import UnknownModelError, UnsupportedMediaTypeError
from service.formats.negotiation import JSON
from service.openapi import plain
from service.sites import refuse_other_sites
from service.trace import trace_of

router = APIRouter()

Body = TypeVar("Body", bound=RollbackRequest)

_MOST_BYTES = 10_000
_MOST_CHANGES = 200  # in one answer
_LONGEST_WAIT_S = 60.0


@router.get("/models/{name}/aliases", **plain("Aliases of a model", AliasesAnswer, 404, 503))
async def list_aliases(request: Request, name: str) -> Response:
    """What the aliases of a model mean, and the latest changes, with by whom and why."""
    context: Context = request.app.state.context
    serving = context.catalog().aliases(name)
    targets, history = await asyncio.to_thread(_look, Store(context.settings.store), name)
    states = [
        {"alias": alias, "version": version, "serving": serving.get(alias)}
        for alias, version in sorted(targets.items())
    ]
    newest = [_shown(change) for change in history[: -_MOST_CHANGES - 1 : -1]]
    return _json({"model": name, "aliases": states, "history": newest})


@router.post("/models/{name}/aliases/{alias}", **operation("Set an alias", ALIAS))
async def set_alias(request: Request, name: str, alias: str) -> Response:
    """Let `name@alias` mean a version, for every request that comes after the answer."""
    body = await _read(request, AliasRequest)

    def edit(editor: Editor) -> Edited:
        return Edited(body.version, editor.set(alias, body.version, body.reason))

    return await _change(request, name, alias, edit)


@router.delete("/models/{name}/aliases/{alias}", **operation("Remove an alias", CHANGED))
async def remove_alias(request: Request, name: str, alias: str) -> Response:
    """Take an alias away; a rollback brings it back."""
    return await _change(request, name, alias, lambda editor: Edited(None, editor.remove(alias)))


@router.post("/models/{name}/aliases/{alias}/rollback", **operation("Roll an alias back", ROLLBACK))
async def roll_back_alias(request: Request, name: str, alias: str) -> Response:
    """Let an alias mean what it meant before; once more, and it goes one further back.

    Versions that are gone or that were refused are passed over.
    """
    body = await _read(request, RollbackRequest)
    context: Context = request.app.state.context
    refused = {int(ref.partition("@")[2]) for ref in context.catalog().problems() if ref.startswith(f"{name}@")}
    return await _change(request, name, alias, lambda editor: Edited(*editor.roll_back(alias, body.reason, refused)))


async def _change(request: Request, name: str, alias: str, edit: Callable[[Editor], Edited]) -> Response:
    context: Context = request.app.state.context
    refuse_other_sites(request)
    delivered = await change(context, name, alias, edit, _patience(request, context))
    edited = delivered.edited
    return _json(
        {
            "model": name,
            "alias": alias,
            "version": edited.version,
            "before": edited.before,
            "everywhere": not delivered.waiting,
            "waiting": delivered.waiting,
        }
    )


async def _read(request: Request, schema: type[Body]) -> Body:
    headers = trace_of(request.scope).headers
    kind = headers.get(b"content-type", JSON.encode()).decode("latin-1")
    if kind.partition(";")[0].strip().lower() != JSON:  # a form could be sent by any page that a browser shows
        raise UnsupportedMediaTypeError(f"the content type is {kind[:80]!r}; expected {JSON}")
    raw = await read_body(request.receive, headers.get(b"content-length", b""), _MOST_BYTES)
    return validate(schema, parse_body(raw, JSON, request.query_params, "", _MOST_BYTES))


def _patience(request: Request, context: Context) -> float:
    """When to answer at the latest (monotonic seconds): the change stands whether or not all have it."""
    given = trace_of(request.scope).headers.get(b"x-timeout-ms")
    deadline = deadline_of(given, context.settings.default_timeout_ms)
    left_s = _LONGEST_WAIT_S if deadline is None else deadline - asyncio.get_running_loop().time()
    return time.monotonic() + min(left_s, _LONGEST_WAIT_S)


def _look(store: Store, name: str) -> tuple[dict[str, int], list[Change]]:
    try:
        aliases: Aliases = store.aliases_of(name)
    except NotFoundError as error:
        raise UnknownModelError(str(error)) from error
    if not store.versions(name):
        raise UnknownModelError(f"there is no model {name!r}; there are: {', '.join(store.names()) or 'none'}")
    return aliases.targets(), aliases.history()


def _shown(change: Change) -> dict[str, Any]:
    return change.model_dump(mode="json")


def _json(content: dict[str, Any]) -> Response:
    return Response(orjson.dumps(content), media_type=JSON)
