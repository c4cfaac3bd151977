"""A change of an alias: into the store, and then to every process of the service before anybody is told."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog

from bundle.aliases import Editor
from bundle.errors import NotFoundError, NothingBeforeError, PublishError, ReadOnlyStoreError
from bundle.store import Store
from service.catalog import Catalog
from service.context import Context
from service.delivery.notices import announce
from service.errors import (
    InvalidRequestError,
    ModelRefusedError,
    NoVersionBeforeError,
    StoreReadOnlyError,
    UnknownModelError,
)

BY = "api"

_log = structlog.get_logger("service")


@dataclass(frozen=True)
class Edited:
    """What an alias means now and meant before; None where it is not there."""

    version: int | None
    before: int | None


@dataclass(frozen=True)
class Delivered:
    """A change that stands, and which processes do not serve it yet."""

    edited: Edited
    waiting: list[str]


async def change(context: Context, name: str, alias: str, edit: Callable[[Editor], Edited], until: float) -> Delivered:
    """Change an alias, and wait until every process of this service serves it so.

    If the version turns out to be one that cannot serve, the alias is put back.

    Args:
        context: Of the application.
        name: Of the model.
        alias: Which.
        edit: Makes the change; on a thread.
        until: When to stop waiting (monotonic seconds).

    Raises:
        NotReadyError: If the models are being loaded.
        UnknownModelError: If there is no such model, version or alias.
        ModelRefusedError: If the version cannot serve; the alias means what it meant.
        NoVersionBeforeError: If there is nothing to roll back to.
        StoreReadOnlyError: If the store cannot be written to.
        InvalidRequestError: If the alias is badly named.
    """
    catalog = context.catalog()
    store = Store(context.settings.store)
    edited = await asyncio.to_thread(_edit, store, name, edit)
    _log.info("alias changed", model=name, alias=alias, version=edited.version, before=edited.before)
    waiting = await _spread(context, catalog, until)
    refusal = catalog.problems().get(f"{name}@{edited.version}")
    if edited.version is not None and refusal and catalog.aliases(name).get(alias) != edited.version:
        await asyncio.to_thread(_edit, store, name, lambda editor: _put_back(editor, alias, edited, refusal))
        await _spread(context, catalog, until)
        raise ModelRefusedError(
            f"version {edited.version} of model {name!r} cannot serve: {refusal}; alias {alias!r} is as it was"
        )
    await announce(context.desk, name, edited.version or edited.before)
    return Delivered(edited, waiting)


async def _spread(context: Context, catalog: Catalog, until: float) -> list[str]:
    """Let every process look at the store now; returns which of them have not come to serve it in time."""
    changed_at = time.monotonic()
    context.team.ring()
    own = asyncio.ensure_future(catalog.refresh())
    await asyncio.wait((own,), timeout=max(0.0, until - time.monotonic()))
    if not own.done():
        own.add_done_callback(_note_failure)
        return ["the process that answers is still loading the store as it is now"]
    if (error := own.exception()) is not None:
        return [f"the process that answers cannot load the store as it is now: {error}"]
    return await context.team.agree(changed_at, catalog.aliases_digest, until)


def _note_failure(refreshing: "asyncio.Task[bool]") -> None:
    if not refreshing.cancelled() and (error := refreshing.exception()) is not None:
        _log.error("store cannot be loaded after a change of an alias", reason=str(error))


def _edit(store: Store, name: str, edit: Callable[[Editor], Edited]) -> Edited:
    with _as_problems(), store.aliases_of(name).editing(BY) as editor:
        return edit(editor)


def _put_back(editor: Editor, alias: str, edited: Edited, refusal: str) -> Edited:
    """Unless somebody else has changed it meanwhile."""
    reason = f"version {edited.version} cannot serve: {refusal}"
    if editor.current(alias) == edited.version:
        editor.put_back(alias, edited.before, reason)
    return edited


@contextlib.contextmanager
def _as_problems() -> Iterator[None]:
    try:
        yield
    except NothingBeforeError as error:
        raise NoVersionBeforeError(str(error)) from error
    except NotFoundError as error:
        raise UnknownModelError(str(error)) from error
    except PublishError as error:
        raise InvalidRequestError(str(error), errors=[{"field": "alias", "message": str(error)}]) from error
    except ReadOnlyStoreError as error:
        raise StoreReadOnlyError(f"{error}; aliases of a store like this are set where it is made") from error
