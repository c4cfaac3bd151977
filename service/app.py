"""The application, put together. Only the entry point and the tests import this."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from service.catalog import Catalog
from service.context import Context
from service.errors import ServiceError
from service.middleware import RequestMiddleware
from service.openapi import install
from service.problems import handle_http_exception, handle_service_error, handle_validation_error
from service.routes import encode, health, interpolate, models, reconstruct, sample
from service.settings import Settings
from service.workers import Workers

_ABOUT = "Draws images with deep generative models. Every image can be had again by model digest, seed and index."
_VERSION = "1"  # of the interface


def create_app(settings: Settings) -> FastAPI:
    """An application that serves the store of the settings.

    Its lifespan begins to load the models and ends by draining them; `app.state.context.opened` is the task that
    loads, to be awaited by whoever needs to know how that went.
    """
    context = Context(settings, Workers(settings.encode_threads))
    app = FastAPIOffline(  # /docs with its scripts: a container has no way out to a CDN
        title="genserve",
        version=_VERSION,
        description=_ABOUT,
        lifespan=_lifespan,
        redoc_url=None,
        static_url="/docs/files",
    )
    app.state.context = context
    for module in (sample, interpolate, encode, reconstruct, models, health):
        app.include_router(module.router)
    app.add_api_route("/", _to_docs, include_in_schema=False, response_class=RedirectResponse)
    app.add_exception_handler(ServiceError, handle_service_error)
    app.add_exception_handler(RequestValidationError, handle_validation_error)
    app.add_exception_handler(HTTPException, handle_http_exception)
    app.add_middleware(RequestMiddleware, metrics=context.metrics)
    install(app, context)
    return app


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    context: Context = app.state.context
    opened = asyncio.create_task(Catalog.open(context.settings, context.metrics))
    context.opened = opened
    context.begun.set()
    try:
        yield
    finally:
        context.draining = True
        opened.cancel()  # does nothing where it is done
        await asyncio.wait((opened,))
        if not opened.cancelled() and opened.exception() is None:
            await opened.result().close(context.settings.drain_s)
        context.workers.close()


async def _to_docs() -> Response:
    return RedirectResponse("/docs")
