"""The application, put together. Only `service.processes` and the tests import this."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp

from service.access import AccessLog
from service.catalog import Catalog
from service.context import Context
from service.cores import usable_cores
from service.errors import ServiceError, StartupError
from service.middleware import Endpoint, RequestMiddleware
from service.openapi import install
from service.pacing import Pace
from service.problems import handle_http_exception, handle_service_error, handle_validation_error
from service.routes import (
    aliases,
    encode,
    health,
    interpolate,
    models,
    reconstruct,
    sample,
    training_data,
    training_jobs,
    training_recipes,
    training_workers,
)
from service.settings import Settings
from service.shedding import Shedder
from service.wakefulness import Wakefulness
from service.workers import Workers

if TYPE_CHECKING:  # it needs the extra `otel`
    from service.tracing import Tracing

_ABOUT = "Draws images with deep generative models. Every image can be had again by model digest, seed and index."
_MODULES = (
    sample,
    interpolate,
    encode,
    reconstruct,
    models,
    aliases,
    training_jobs,
    training_data,
    training_recipes,
    training_workers,
    health,
)
_VERSION = "1"  # of the interface


def create_app(settings: Settings) -> FastAPI:
    """An application that serves the store of the settings.

    Its lifespan begins to load the models and ends by draining them; `app.state.context.opened` is the task that
    loads, to be awaited by whoever needs to know how that went.

    Raises:
        StartupError: If tracing is on and cannot be.
    """
    context = Context(settings, Workers(settings.encode_threads), AccessLog(settings))
    context.metrics.watch(context.engine_state)
    app = FastAPIOffline(  # /docs with its scripts: a container has no way out to a CDN
        title="genserve",
        version=_VERSION,
        description=_ABOUT,
        lifespan=_lifespan,
        redoc_url=None,
        static_url="/docs/files",
    )
    app.state.context = context
    app.state.tracing = _open_tracing(context) if settings.tracing else None
    app.state.shedder = Shedder(context) if app.state.tracing is None else None  # a span needs the whole request
    app.state.pace = Pace(context.metrics.held_back)
    for module in _MODULES:
        app.include_router(module.router)
    app.add_api_route("/", _to_docs, include_in_schema=False, response_class=RedirectResponse)
    app.add_exception_handler(ServiceError, handle_service_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    install(app, context)
    app.middleware_stack = RequestMiddleware(
        app,
        app.build_middleware_stack(),
        _endpoints(),
        context.metrics,
        context.access,
        Wakefulness(settings.awake_ms / 1000 if usable_cores() > 1 else 0.0),  # an only core is needed by the client
        app.state.pace,
        app.state.tracing,
        None if app.state.shedder is None else app.state.shedder.overloaded,
    )
    return app


def entrance(app: FastAPI) -> ASGIApp:
    """The application for a server: without FastAPI's own first step, which looks for OpenTelemetry at each request."""
    assert app.middleware_stack is not None  # `create_app` made it
    return app.middleware_stack


def _endpoints() -> dict[tuple[str, str], Endpoint]:
    """The endpoints whose path has no parameter; each takes the request and nothing else."""
    routes = [route for module in _MODULES for route in module.router.routes if isinstance(route, APIRoute)]
    fixed = [route for route in routes if "{" not in route.path]
    return {(method, route.path): route.endpoint for route in fixed for method in route.methods or ()}


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    opened = asyncio.create_task(Catalog.open(context.settings, context.metrics, context, context.team))
    context.opened = opened
    context.begun.set()
    context.notices.start()
    try:
        yield
    finally:
        context.drain()
        await context.notices.stop()
        opened.cancel()  # does nothing where it is done
        await asyncio.wait((opened,))
        if not opened.cancelled() and opened.exception() is None:
            await opened.result().close(context.settings.drain_s)
        context.workers.close()
        context.desk.close()
        context.metrics.count()
        context.access.flush()
        if app.state.tracing is not None:
            await asyncio.to_thread(app.state.tracing.close)


def _open_tracing(context: Context) -> "Tracing":
    try:
        from service.tracing import Tracing
    except ModuleNotFoundError as error:
        raise StartupError(
            f"tracing is on, but {error.name} is missing; pip install 'genserve[otel]', or turn `tracing` off"
        ) from error

    def digest_of(ref: str) -> str | None:
        try:
            return context.catalog().get(ref).digest
        except ServiceError:  # unloaded meanwhile, or all is over
            return None

    return Tracing(digest_of)


async def _to_docs() -> Response:
    return RedirectResponse("/docs")
