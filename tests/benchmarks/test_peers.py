"""What peers do is what we do, and their environments are pinned."""

import io
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from benchmarks.cells import Cell
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.environments import environment, pins
from benchmarks.errors import BenchmarkError
from benchmarks.peers.work import Work, encode
from bundle.store import Bundle
from service.formats.stills import near_square, tile
from tests.support.bundles import publish

PEERS = [contender for contender in CONTENDERS.values() if contender.package]


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    bundle = publish(tmp_path)
    monkeypatch.setenv("BENCH_MODEL", str(bundle.path / "decode.onnx"))
    return bundle


def test_peers_run_the_same_file(bundle: Bundle) -> None:
    work = Work()
    z = work.codes(3, 7)
    session = ort.InferenceSession(str(bundle.path / "decode.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(work.pixels(z), session.run(["pixels"], {"z": z})[0])
    np.testing.assert_array_equal(work.codes(3, 7), z)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 5])
def test_peers_answer_with_the_bytes_and_the_grid_that_we_answer_with(n: int, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 6, 4, channels), dtype=np.uint8)
    assert encode(pixels, png=False) == pixels.tobytes()
    grid = np.asarray(Image.open(io.BytesIO(encode(pixels, png=True))))
    np.testing.assert_array_equal(grid.reshape(*grid.shape[:2], channels), tile(pixels, near_square(n)))


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
def test_every_package_of_a_peer_has_one_version(peer: Contender) -> None:
    lines = pins(peer.key).read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    named = {line.partition("==")[0].lower() for line in lines}
    assert {peer.package, "onnxruntime", "numpy", "pillow"} <= named


def test_all_subjects_run_one_version_of_the_runtime() -> None:
    found = {line for peer in PEERS for line in pins(peer.key).read_text().split() if line.startswith("onnxruntime==")}
    assert found == {f"onnxruntime=={ort.__version__}"}


@pytest.mark.parametrize("contender", CONTENDERS.values(), ids=lambda contender: contender.key)
def test_request_says_what_the_cell_asks_for(contender: Contender) -> None:
    requests = [contender.request(Cell("tiny", n, 1, png)) for n in (1, 16) for png in (False, True)]
    assert len({(one.body, one.headers.get("Accept")) for one in requests}) == 4
    assert all(json.loads(one.body) for one in requests)


def test_peer_that_cannot_be_installed_says_why(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="/no/such/python cannot be started"):
        environment("triton", "/no/such/python", tmp_path)
