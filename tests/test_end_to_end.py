"""From the outside, as users come: the shipped models on both runtimes and over HTTP, and a folder of one's own."""

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from bundle.store import Store
from tests.service.support import Pixels, pixels_of, process, serving
from training.bundles import export_again

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests/data"
NAMES = Store(ROOT / "models").names()
INVERTIBLE = {
    "avatars-gan": "avatars_small",
    "fashion-gan": "fashion_mnist_small",
    "fashion-vae": "fashion_mnist_small",
}
TINY_SHARE = 1e-3


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with process(ROOT / "models") as (_, address), httpx.Client(base_url=address, timeout=60) as found:
        yield found


def test_readme_command_draws_sixteen_garments(client: httpx.Client) -> None:
    body = {"model": "fashion-vae", "n": 16, "seed": 7}
    grid = client.post("/sample", json=body, headers={"accept": "image/png"})
    assert grid.status_code == 200
    with Image.open(io.BytesIO(grid.content)) as image:
        assert image.size == (4 * 28 + 3 * 2, 4 * 28 + 3 * 2)


@pytest.mark.parametrize("name", NAMES)
def test_image_of_a_seed_is_the_same_alone_in_a_batch_and_at_an_offset(client: httpx.Client, name: str) -> None:
    def draw(**body: object) -> list[str]:
        answer = client.post("/sample", json={"model": name, "seed": 11, **body})
        return [image["png"] for image in answer.json()["images"]]

    together = draw(n=9)
    assert [draw(n=1, start=i)[0] for i in range(9)] == together
    assert draw(n=4, start=5) == together[5:]


@pytest.mark.parametrize(("name", "data"), INVERTIBLE.items())
def test_real_test_image_comes_back_nearer_to_itself_than_to_others(client: httpx.Client, name: str, data: str) -> None:
    with np.load(DATA / f"{data}.npz") as arrays:
        real = arrays["x_test" if "x_test" in arrays.files else "images"][-12:]
    real = real.reshape(*real.shape[:3], -1)
    files = [("images", (f"{i}.png", png(image), "image/png")) for i, image in enumerate(real)]
    answer = client.post("/reconstruct", data={"model": name}, files=files, headers={"accept": "application/x-npy"})
    again = np.load(io.BytesIO(answer.content))
    distances = np.abs(again[:, None].astype(float) - real[None].astype(float)).mean(axis=(2, 3, 4))
    found = distances.argmin(axis=1) == np.arange(len(real))
    assert found.mean() > 0.8


def test_way_between_two_uploads_through_three_waypoints_is_a_gif_a_strip_and_json(client: httpx.Client) -> None:
    ends = client.post("/sample", json={"model": "avatars-gan", "n": 2, "seed": 5}).json()["images"]
    body = {
        "model": "avatars-gan",
        "from": {"image": ends[0]["png"]},
        "via": [{"seed": 1}, {"seed": 2}, {"seed": 3}],
        "to": {"image": ends[1]["png"]},
        "steps": 9,
    }
    assert len(client.post("/interpolate", json=body).json()["images"]) == 9
    strip = client.post("/interpolate", json=body, headers={"accept": "image/png"})
    assert pixels_of(strip.content).shape == (64, 9 * 64 + 8 * 2, 3)
    with Image.open(io.BytesIO(client.post("/interpolate", json=body, headers={"accept": "image/gif"}).content)) as gif:
        assert getattr(gif, "n_frames", 1) == 9


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_torchscript_draws_the_pixels_that_onnx_draws(name: str, tmp_path: Path) -> None:
    bundle = Store(ROOT / "models").open(name)
    copy = tmp_path / name / str(bundle.manifest.version)
    copy.mkdir(parents=True)
    for file in ["manifest.json", *(record.path for record in bundle.manifest.files())]:
        (copy / file).write_bytes((bundle.path / file).read_bytes())
    made = export_again(Store(tmp_path), name)
    assert not made.unavailable
    assert max(made.pixel_difference.values()) < TINY_SHARE
    body = {"model": name, "n": 64, "seed": 3}
    drawn: list[Pixels] = []
    for runtime in ("onnxruntime", "torchscript"):
        with serving(tmp_path, runtime=runtime, lanes=1) as client:
            answer = client.post("/sample", body, headers={"accept": "application/x-npy"})
            drawn.append(np.load(io.BytesIO(answer.content)))
    assert np.mean(drawn[0] != drawn[1]) < TINY_SHARE


@pytest.mark.slow
def test_newcomer_trains_on_a_folder_of_pictures_and_serves_them(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    with np.load(DATA / "avatars_small.npz") as arrays:
        for i, image in enumerate(arrays["images"]):
            Image.fromarray(image).resize((90, 70)).save(pictures / f"{i}.{'png' if i % 2 else 'jpg'}")
    command = [sys.executable, "-m", "training", "--store", str(tmp_path / "models"), "--runs", str(tmp_path / "runs")]
    changes = [f"data.path={pictures}", "train.rounds=120", "evaluate.probe_images=256", "name=faces"]
    options = [argument for change in changes for argument in ("--set", change)]
    subprocess.run([*command, "train", "configs/folder-vae.toml", *options], cwd=ROOT, check=True)
    with process(tmp_path / "models", GENSERVE_DEFAULT_MODEL="faces") as (_, address):
        face = httpx.post(f"{address}/sample", json={"seed": 1}, headers={"accept": "image/png"}, timeout=60)
        assert pixels_of(face.content).shape == (64, 64, 3)


def png(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()
