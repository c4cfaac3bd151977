"""The servers that are compared: how each is started and asked."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.cells import Cell
from benchmarks.wrk import Request

OURS = "genserve"
_JSON = {"Content-Type": "application/json"}
_PNG, _RAW = "image/png", "application/octet-stream"
DEBIAN_PYTHON = "/usr/bin/python3.11"


@dataclass(frozen=True)
class Contender:
    """A server.

    Attributes:
        key: In options, files and results.
        title: In tables.
        arguments: Of its python, given the port.
        request: What it is asked for in a cell.
        package: What it is called on the package index; None for ours.
        base: The python that its environment is made with; None takes the one that runs us.
        settings: Further environment variables.
    """

    key: str
    title: str
    arguments: Callable[[int], Sequence[str]]
    request: Callable[[Cell], Request] = field(repr=False)
    package: str | None = None
    base: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


def _module(name: str) -> Callable[[int], Sequence[str]]:
    return lambda _port: ["-m", name]


def _bentoml(port: int) -> Sequence[str]:
    service = "benchmarks.peers.bentoml_server:Sample"
    return ["-m", "bentoml", "serve", service, "--host", "127.0.0.1", "--port", str(port)]


def _our_request(cell: Cell) -> Request:
    body = json.dumps({"model": cell.model, "n": cell.images, "seed": 7})
    return Request("/sample", {**_JSON, "Accept": _PNG if cell.png else _RAW}, body.encode())


def _plain_request(cell: Cell) -> Request:
    body = {"n": cell.images, "seed": 7} | ({"png": True} if cell.png else {})
    return Request("/sample", _JSON, json.dumps(body).encode())


def _v2_request(cell: Cell) -> Request:
    values = {"n": cell.images, "seed": 7, "png": int(cell.png)}
    inputs = [{"name": name, "shape": [1, 1], "datatype": "INT64", "data": [value]} for name, value in values.items()]
    body = {"inputs": inputs, "outputs": [{"name": "image", "parameters": {"binary_data": True}}]}
    return Request("/v2/models/sample/infer", _JSON, json.dumps(body).encode())


CONTENDERS = {
    contender.key: contender
    for contender in (
        Contender(OURS, "genserve", _module("service"), _our_request),
        Contender(
            "genserve-1",
            "genserve, 1 worker",
            _module("service"),
            _our_request,
            settings={"GENSERVE_WORKERS": "1"},
        ),
        Contender("fastapi", "FastAPI", _module("benchmarks.peers.fastapi_server"), _plain_request, "fastapi"),
        Contender("litserve", "LitServe", _module("benchmarks.peers.litserve_server"), _plain_request, "litserve"),
        Contender("ray", "Ray Serve", _module("benchmarks.peers.ray_server"), _plain_request, "ray"),
        Contender("bentoml", "BentoML", _bentoml, _plain_request, "bentoml"),
        Contender(
            "triton",
            "NVIDIA Triton",
            _module("benchmarks.peers.triton_server"),
            _v2_request,
            "nvidia-pytriton",
            DEBIAN_PYTHON,  # its Python backend is built for Debian's own and finds no other's library
        ),
    )
}


def base_python(contender: Contender) -> str:
    """The python that its environment is made with."""
    return contender.base or sys.executable
