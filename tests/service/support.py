"""What the tests of the HTTP half share: applications, servers, pictures."""

import asyncio
import base64
import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from bundle.store import Store
from service.app import create_app
from service.settings import Settings
from tests.support.bundles import publish, spoil

T = TypeVar("T")
Pixels = NDArray[np.uint8]

JSON = {"content-type": "application/json"}
NPY = {"content-type": "application/x-npy"}
DAMAGED = "damaged"
_PATIENCE_S = 60.0


def fill_store(root: Path) -> Path:
    """A store with a model of every kind that the endpoints tell apart."""
    publish(root, "fashion-vae", size=16, latent_dim=8, kind="mlp", hidden=32, seed=1)
    publish(root, "fashion-vae", size=16, latent_dim=8)
    Store(root).set_alias("fashion-vae", "first", 1)
    publish(root, "gan", graphs=("decode",), kind="conv", channels=3)
    publish(root, "colour-vae", channels=3, size=12)
    publish(root, "ae", prior=None, stochastic=False)
    publish(root, "cvae", labels=["cat", "dog", "owl"], label_encode=True)
    spoil(publish(root, DAMAGED).path / "decode.onnx")
    return root


class Client:
    """A synchronous client of an application that lives in its own event loop, on a thread."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=_PATIENCE_S)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine where the application runs."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request and its whole response."""
        return self.run(self.http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """POST, of JSON if there is any."""
        return self.request("POST", path, **(options if json is None else options | {"json": json}))

    @contextlib.contextmanager
    def lifespan(self, wait: bool = True) -> Iterator["Client"]:
        """Start the application, wait for its models, and stop it again."""
        self._thread.start()
        life = self.app.router.lifespan_context(self.app)
        self.run(_enter(life))
        try:
            if wait:
                self.run(_opened(self.app))
            yield self
        finally:
            self.run(_leave(life))
            self.run(self.http.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_PATIENCE_S)
            self._loop.close()


@contextlib.contextmanager
def serving(store: Path, **settings: Any) -> Iterator[Client]:
    """A client of a new application."""
    with Client(create_app(Settings(store=store, **settings))).lifespan() as client:
        yield client


@contextlib.contextmanager
def process(store: Path, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`python -m service` as a process of its own, with one worker, and its address; stopped by SIGTERM.

    A variable that is given as "" is left out.

    Its log is read at the end alone: under load set GENSERVE_LOG_LEVEL, or the pipe fills and the service waits.
    """
    settings = {"GENSERVE_STORE": str(store), "GENSERVE_PORT": "0", "GENSERVE_DRAIN_S": "5", "OMP_NUM_THREADS": "1"}
    settings |= {"GENSERVE_WORKERS": "1"} | environment
    running = subprocess.Popen(
        [sys.executable, "-m", "service"],
        env=plain_environment() | {name: value for name, value in settings.items() if value},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert " on http://" in line, (line, running.communicate())
        yield running, line.split(" on ")[1].split()[0]
    finally:
        if running.poll() is None:
            running.send_signal(signal.SIGTERM)
        running.communicate(timeout=_PATIENCE_S)


def plain_environment() -> dict[str, str]:
    """The environment without settings of a service that somebody may run beside the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GENSERVE_")}


def until(condition: Any, patience_s: float = _PATIENCE_S) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def picture(height: int, width: int, channels: int = 1, seed: int = 0) -> Pixels:
    """Random pixels (h, w, c)."""
    return np.random.default_rng(seed).integers(0, 256, size=(height, width, channels), dtype=np.uint8)


def file_of(pixels: Any, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """An image file."""
    array = np.asarray(pixels)
    image = Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(content: bytes) -> Pixels:
    """An image file's pixels (h, w, c)."""
    array = np.asarray(Image.open(io.BytesIO(content)))
    return array[..., None] if array.ndim == 2 else array


def frames_of(content: bytes, channels: int) -> Pixels:
    """Pixels (n, h, w, c) of an animation."""
    image = Image.open(io.BytesIO(content))
    frames = []
    for i in range(getattr(image, "n_frames", 1)):
        image.seek(i)
        frames.append(np.asarray(image.convert("L" if channels == 1 else "RGB")))
    stacked = np.stack(frames)
    return stacked[..., None] if channels == 1 else stacked


def base64_of(content: bytes) -> str:
    """Text for JSON."""
    return base64.b64encode(content).decode()


def images_of(response: httpx.Response) -> Pixels:
    """Pixels (n, h, w, c) of a JSON answer."""
    assert response.status_code == 200, response.text
    return np.stack([pixels_of(base64.b64decode(image["png"])) for image in response.json()["images"]])


def pngs_of(response: httpx.Response) -> list[str]:
    """The very bytes of the images of a JSON answer."""
    assert response.status_code == 200, response.text
    return [image["png"] for image in response.json()["images"]]


def npy_of(array: NDArray[Any]) -> bytes:
    """An `.npy` file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


async def _enter(life: Any) -> None:
    await life.__aenter__()


async def _leave(life: Any) -> None:
    await life.__aexit__(None, None, None)


async def _opened(app: FastAPI) -> None:
    await asyncio.shield(app.state.context.opened)
