"""The commands of `python -m training`, on tiny models and real digits."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.hashing import check
from bundle.latents import latents
from bundle.optional import OPTIONAL, read_optional
from bundle.store import Bundle, Store
from tests.training.samples import DATA
from training import __main__ as program
from training.loop import Progress
from training.onnx_graph import OnnxGraph
from training.progress import Display

GAN = """
name = "tiny"
family = "gan"
seed = 2
[data]
name = "npz"
path = "{data}"
[model]
channels = 2
d_channels = 2
latent_dim = 4
[train]
batch_size = 32
epochs = 0.5
ema = 0.5
[export]
storage = "float16"
"""
INFERENCE = """
name = "inference"
family = "inference"
[data]
name = "mnist"
[model]
parent = {}
channels = 2
[train]
batch_size = 32
epochs = 0.5
ema = 0.5
"""
QUICK = ["samples=100", "probe_images=256", "iwae_samples=2", "neighbour_images=4", "discriminator_images=8"]

Run = Callable[..., int]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recipes, data and a store that holds a GAN as `tiny@1`, with an encoder as `tiny@2`."""
    folder = tmp_path_factory.mktemp("home")
    with np.load(DATA / "mnist_small.npz") as arrays:  # too few test images for evaluation to start
        np.savez(folder / "few.npz", **{key: arrays[key][: 64 if "train" in key else 8] for key in arrays.files})
    (folder / "gan.toml").write_text(GAN.replace("{data}", "few.npz"))
    (folder / "inference.toml").write_text(INFERENCE)
    with pytest.MonkeyPatch.context() as patch:
        _prepare(patch, folder)
        assert _command(folder, "train", str(folder / "gan.toml")) == 0
        assert _command(folder, "infer", "--recipe", str(folder / "inference.toml"), "tiny") == 0
    return folder


def _prepare(patch: pytest.MonkeyPatch, folder: Path) -> None:
    patch.setenv("GENSERVE_DATA", str(folder))
    patch.setenv("COLUMNS", "300")


def _command(folder: Path, *arguments: str) -> int:
    places = ["--store", str(folder / "store"), "--runs", str(folder / "runs")]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return program.main([*places, *arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@pytest.fixture
def run(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on a copy of `home`."""
    shutil.copytree(home, tmp_path / "home")
    _prepare(monkeypatch, tmp_path / "home")
    return lambda *arguments: _command(tmp_path / "home", *arguments)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home" / "store")


def pixels(bundle: Bundle) -> Any:
    assert bundle.manifest.prior is not None
    return OnnxGraph(bundle.path / "decode.onnx").run(z=latents(bundle.manifest.prior, 0, 0, 20))["pixels"]


def infer(run: Run, tmp_path: Path, *arguments: str) -> int:
    return run("infer", "--recipe", str(tmp_path / "home" / "inference.toml"), *arguments)


def test_train_publishes_what_a_reader_needs_to_do_it_again(home: Path) -> None:
    bundle = Store(home / "store").open("tiny@1")
    bundle.verify()
    manifest = bundle.manifest
    assert (manifest.training.steps, manifest.training.images, manifest.training.seed) == (1, 32, 2)
    assert manifest.training.recipe["model"]["loss"] == "non-saturating"
    assert manifest.data.name == "few"
    assert not any(part in str(manifest.to_json()) for part in (str(home), str(Path.home()) + "/"))
    assert {file.name for file in bundle.path.iterdir()} >= {"manifest.json", "decode.onnx", "decode.pt", "decode.pt2"}
    assert [row.batch for row in manifest.graphs["decode"].latency] == [1, 2, 4, 8, 16, 32, 64]


def test_infer_publishes_the_generator_as_it_was_with_an_encoder(home: Path) -> None:
    store = Store(home / "store")
    first, second = store.open("tiny@1"), store.open("tiny")
    second.verify()
    assert second.manifest.version == 2
    assert set(second.manifest.graphs) == {*first.manifest.graphs, "encode"}
    assert second.manifest.parent is not None
    assert (second.manifest.parent.version, second.manifest.parent.digest) == (1, first.digest)
    np.testing.assert_array_equal(pixels(second), pixels(first))
    assert (second.path / "decode.onnx").read_bytes() == (first.path / "decode.onnx").read_bytes()
    assert second.manifest.data == first.manifest.data


def test_infer_on_a_model_with_an_encoder_replaces_the_encoder(run: Run, store: Store, tmp_path: Path) -> None:
    shutil.rmtree(store.open("tiny@1").path)  # the second version holds all that is needed
    assert infer(run, tmp_path, "tiny@2", "--restart", "--set", "seed=9") == 0
    second, third = store.open("tiny@2"), store.open("tiny@3")
    assert third.manifest.parent == second.manifest.parent
    assert third.manifest.training.recipe["model"]["parent"]["family"] == "gan"
    np.testing.assert_array_equal(pixels(third), pixels(second))
    assert third.manifest.graphs["encode"].file.sha256 != second.manifest.graphs["encode"].file.sha256


def test_encoder_of_older_weights_is_never_published_with_newer_ones(
    run: Run, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    longer = ["--set", "train.epochs=1", str(tmp_path / "home" / "gan.toml")]
    assert run("train", *longer) == 0
    shorter = store.open("tiny@3").manifest.training.recipe
    assert infer(run, tmp_path, "tiny@3") == 1
    assert "parent_digest" in capsys.readouterr().err
    assert infer(run, tmp_path, "tiny@3", "--restart") == 0
    assert store.open("tiny@4").manifest.training.recipe["model"]["parent"] == shorter
    np.testing.assert_array_equal(pixels(store.open("tiny@4")), pixels(store.open("tiny@3")))


def test_infer_refuses_what_it_cannot_invert(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan = str(tmp_path / "home" / "gan.toml")
    assert run("train", gan, "--set", "name=labelled", "--set", "model.conditional=true") == 0
    assert infer(run, tmp_path, "labelled") == 1
    assert "'labelled' is class-conditional; inference needs a generator without labels" in capsys.readouterr().err
    assert run("infer", "--recipe", gan, "tiny") == 1
    assert "recipe 'tiny' has family 'gan'; expected 'inference'" in capsys.readouterr().err
    assert infer(run, tmp_path, "nobody") == 1
    assert "no model 'nobody'" in capsys.readouterr().err


def test_export_makes_the_optional_files_again_to_the_byte(
    run: Run, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = store.open("tiny@1").path
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    optional = [name for name in before if name.endswith((".pt", ".pt2"))]
    assert len(optional) == 4
    for name in [*optional, OPTIONAL]:
        (folder / name).unlink()
    store.open("tiny@1").verify()
    assert run("export", "tiny@1") == 0
    assert "decode.pt2" in capsys.readouterr().out
    made = read_optional(folder)
    assert made is not None
    for file in made.files.values():
        check(folder, file)
    assert made.unavailable == {}
    assert all(share < 0.01 for share in made.pixel_difference.values())
    assert {path.name: path.read_bytes() == before[path.name] for path in folder.iterdir()} == dict.fromkeys(
        before, True
    )


def test_export_of_a_damaged_bundle_is_refused(run: Run, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    weights = store.open("tiny@1").path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert run("export", "tiny@1") == 1
    assert "DamagedBundleError" in capsys.readouterr().err


def test_evaluate_prints_figures_of_what_the_model_can_do(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(DATA / "mnist_small.npz", tmp_path / "home" / "few.npz")  # now there are enough test images
    settings = [part for setting in QUICK for part in ("--set", setting)]
    assert run("evaluate", "tiny", *settings) == 0
    table = capsys.readouterr().out
    assert "frechet" in table.lower()
    assert "psnr" in table.lower()
    assert run("evaluate", "tiny", "--set", "sampels=3") == 1
    assert "sampels: unknown key; known keys are" in capsys.readouterr().err


def test_list_shows_every_bundle_and_fails_if_one_is_damaged(
    run: Run, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    table = capsys.readouterr().out
    assert all(
        part in table for part in ("tiny@1", "gan", "decode discriminate", "28x28x1", "few", "tiny@2", "inference")
    )
    (store.open("tiny@1").path / "manifest.json").write_text("{")
    assert run("list") == 1
    assert "tiny@1: " in capsys.readouterr().err


def test_train_that_is_asked_to_end_saves_and_goes_on_later(
    run: Run, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = [str(tmp_path / "home" / "gan.toml"), "--set", "name=longer", "--set", "train.epochs=2"]
    original = Display.__call__

    def interrupted(self: Display, progress: Progress) -> None:
        original(self, progress)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "__call__", interrupted)
        assert run("train", *recipe) == 130
    assert store.versions("longer") == []
    assert "stopped after round 1 of 4; the same command goes on from there" in caplog.text
    assert run("train", *recipe) == 0
    assert "going on after round 1 of 4" in caplog.text
    assert store.open("longer").manifest.training.steps == 4
    assert run("train", *recipe, "--set", "seed=7") == 1
    assert run("train", *recipe, "--set", "seed=7", "--restart") == 0
    assert store.open("longer").manifest.training.seed == 7
