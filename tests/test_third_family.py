"""A family in one file, named by its dotted path in a recipe, trains, exports, publishes and serves."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.latents import latents
from bundle.priors import Normal
from bundle.store import Bundle, Store
from tests.service.support import serving
from training.__main__ import main
from training.onnx_graph import OnnxGraph

DATA = Path(__file__).parent / "data"
FAMILY = "tests.training.toy_family"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("third")
    with np.load(DATA / "mnist_small.npz") as arrays:  # too few test images for evaluation to start
        np.savez(folder / "few.npz", x_train=arrays["x_train"], x_test=arrays["x_test"][:8])
    (folder / "toy.toml").write_text(
        f'name = "toy"\nfamily = "{FAMILY}"\n[data]\nname = "npz"\npath = "few.npz"\n'
        "[model]\nlatent_dim = 8\n[train]\nbatch_size = 32\nepochs = 60\nema = 0.9\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENSERVE_DATA", str(folder))
        patch.setattr("training.__main__._stop_on_signal", lambda: lambda: False)  # handlers would outlive the test
        assert (
            main(["--store", str(folder / "store"), "--runs", str(folder / "runs"), "train", f"{folder}/toy.toml"]) == 0
        )
    return Store(folder / "store").open("toy")


def test_bundle_names_the_family_and_has_its_graphs_its_prior_and_its_defaults(bundle: Bundle) -> None:
    bundle.verify()
    assert bundle.manifest.family == FAMILY
    assert set(bundle.manifest.graphs) == {"decode", "encode"}
    assert bundle.manifest.prior == Normal(dim=8)
    assert bundle.manifest.training.recipe["model"] == {"latent_dim": 8, "lr": 0.01}


def test_linear_model_learns_to_reconstruct_digits(bundle: Bundle) -> None:
    images = np.load(DATA / "mnist_small.npz")["x_train"][:, None] / np.float32(127.5) - 1
    codes = OnnxGraph(bundle.path / "encode.onnx").run(image=images.astype(np.float32))["mean"]
    again = OnnxGraph(bundle.path / "decode.onnx").run(z=codes)["image"]
    assert np.mean((again - images) ** 2) < 0.8 * np.mean((images - images.mean(0)) ** 2)


def test_service_draws_the_same_png_for_the_same_seed_without_knowing_the_family(bundle: Bundle) -> None:
    body = {"model": "toy", "n": 2, "seed": 7}
    with serving(bundle.path.parents[1], default_model=None, lanes=1) as client:
        answer = client.post("/sample", body)
        assert answer.status_code == 200, answer.text
        assert client.post("/sample", body).json()["images"] == answer.json()["images"]
        alone = client.post("/sample", {**body, "n": 1, "start": 1}).json()["images"]
        other = client.post("/sample", {**body, "seed": 8}).json()["images"]
        models = client.get("/models").json()["models"]
    pngs = [image["png"] for image in answer.json()["images"]]
    assert alone[0]["png"] == pngs[1]
    assert not {image["png"] for image in other} & set(pngs)
    assert [(model["name"], model["family"]) for model in models] == [("toy", FAMILY)]
    pixels = OnnxGraph(bundle.path / "decode.onnx").run(z=latents(Normal(dim=8), 7, 0, 2))["pixels"]
    for png, want in zip(pngs, pixels, strict=True):
        drawn = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
        np.testing.assert_array_equal(drawn, want[..., 0])


def test_service_reconstructs_an_uploaded_digit_with_it(bundle: Bundle) -> None:
    file = io.BytesIO()
    Image.fromarray(np.load(DATA / "mnist_small.npz")["x_test"][0]).save(file, "PNG")
    image = base64.b64encode(file.getvalue()).decode()
    with serving(bundle.path.parents[1], default_model=None, lanes=1) as client:
        answer = client.post("/reconstruct", {"model": "toy", "images": [image]})
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["images"]) == 1
