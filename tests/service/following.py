"""A catalog that is told when to look at its store, and a gate that holds its loading up."""

import contextlib
import shutil
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bundle.store import Bundle
from service.catalog import Catalog
from service.engine import loading
from service.settings import Settings
from tests.service.engine.fakes import PATIENCE_S


@contextlib.asynccontextmanager
async def opened(store: Path, **others: Any) -> AsyncIterator[Catalog]:
    """A catalog that looks at its store when it is told to."""
    catalog = await Catalog.open(Settings(store=store, lanes=1, device="cpu", **{"store_poll_s": 0, **others}))
    try:
        yield catalog
    finally:
        await catalog.close(5)


def versions(catalog: Catalog) -> list[int]:
    return [model.version for model in catalog.models()]


def remove(bundle: Bundle) -> None:
    shutil.rmtree(bundle.path)


class Gate:
    """Holds loading up until it is opened; counts what was loaded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.attempts: list[str] = []
        self.opened = threading.Event()
        self.opened.set()
        self._real = loading._prepare_all
        monkeypatch.setattr(loading, "_prepare_all", self._wait)

    def _wait(self, bundle: Bundle, *rest: Any) -> Any:
        self.attempts.append(f"{bundle.manifest.name}@{bundle.manifest.version}")
        assert self.opened.wait(PATIENCE_S)
        return self._real(bundle, *rest)
