"""A checkpoint is whole or not there, belongs to one recipe, and outlives a kill at any moment."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bundle.store import Store
from tests.training.samples import DATA, ROOT, context, digits, recipe
from training.__main__ import main
from training.checkpoint import Checkpoint
from training.data.dataset import Dataset, ImageSet
from training.data.load import load_dataset
from training.errors import CheckpointError, DivergedError
from training.export.publish import load_weights
from training.families.base import Context, build_family
from training.loop import Loop
from training.recipe import read_recipe

MODEL = {"network": "mlp", "hidden": [8], "latent_dim": 2}


def new_loop(folder: Path, model: dict[str, Any] | None = None, dataset: Dataset | None = None, **train: Any) -> Loop:
    dataset = dataset or digits()
    return Loop(build_family(context(recipe("vae", model or MODEL, **train), dataset)), dataset.train, folder)


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of a run that was stopped after two of four rounds."""
    loop = new_loop(tmp_path)
    loop.run(lambda _: None, stop=lambda: loop.round == 2)
    return tmp_path


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_checkpoint_is_refused_and_left_alone(stopped: Path, keep: float) -> None:
    path = stopped / "checkpoint.pt"
    raw = path.read_bytes()
    cut = raw[: int(keep if keep >= 1 else keep * len(raw))]
    path.write_bytes(cut)
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt cannot be read .*; remove it, or train with --restart"):
        new_loop(stopped)
    assert path.read_bytes() == cut


@pytest.mark.parametrize("content", [[1, 2], {"round": 1}, {"recipe": {}}, "text"])
def test_file_that_holds_something_else_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError, match="cannot be read"):
        new_loop(tmp_path)


def test_flipped_bytes_never_pass_as_another_state(stopped: Path) -> None:
    path = stopped / "checkpoint.pt"
    raw = path.read_bytes()
    whole = torch.load(path, weights_only=True)
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.integers(0, len(raw), 60):
        damaged = bytearray(raw)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            loop = new_loop(stopped)
        except CheckpointError:
            refused += 1
        else:  # the byte was padding, or a field that nothing reads
            assert all(torch.equal(loop.ema.state[key], whole["ema"][key]) for key in whole["ema"])
    assert refused > 30
    path.write_bytes(raw)
    assert new_loop(stopped).round == 2


@pytest.mark.parametrize(
    ("model", "train", "named"),
    [
        ({**MODEL, "latent_dim": 3}, {}, [r"model\.latent_dim \(2 there, 3 here\)"]),
        ({**MODEL, "beta": 2.0}, {"batch_size": 8}, [r"model\.beta", r"train\.batch_size \(16 there, 8 here\)"]),
        (MODEL, {"ema": 0.5}, [r"train\.ema"]),
        (MODEL, {"threads": 2}, [r"train\.threads"]),
        (MODEL, {"lr_schedule": "cosine"}, [r"train\.lr_schedule"]),
        (MODEL, {"precision": "bfloat16"}, [r"train\.precision"]),
    ],
)
def test_checkpoint_of_another_recipe_is_refused_by_the_keys_that_differ(
    stopped: Path, model: dict[str, Any], train: dict[str, Any], named: list[str]
) -> None:
    for message in named:
        with pytest.raises(CheckpointError, match=f"differs in .*{message}.*--restart, or undo the change"):
            new_loop(stopped, model, **train)
    torch.set_num_threads(1)


def test_recipe_with_its_defaults_written_out_is_the_same_recipe(stopped: Path) -> None:
    assert new_loop(stopped, {**MODEL, "beta": 1.0, "noise": True}).round == 2


def test_what_is_free_to_change_does_not_bind_the_checkpoint(stopped: Path) -> None:
    assert new_loop(stopped, checkpoint_minutes=9.0, picture_epochs=3.0).round == 2


def test_constant_rate_may_be_trained_longer_with_the_result_of_one_long_run(stopped: Path, tmp_path: Path) -> None:
    longer = new_loop(stopped, epochs=2)
    assert longer.rounds == 8
    assert longer.run(lambda _: None)
    straight = new_loop(tmp_path / "straight", epochs=2)
    assert straight.run(lambda _: None)
    state = straight.family.networks.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in longer.family.networks.state_dict().items())


def test_schedule_that_ends_at_zero_binds_the_length(tmp_path: Path) -> None:
    new_loop(tmp_path, lr_schedule="linear").save()
    with pytest.raises(CheckpointError, match=r"train\.epochs \(1.0 there, 2.0 here\)"):
        new_loop(tmp_path, lr_schedule="linear", epochs=2)


def test_shorter_run_than_was_played_is_complete(stopped: Path) -> None:
    loop = new_loop(stopped, epochs=0.25)
    assert (loop.round, loop.rounds) == (2, 1)
    assert loop.run(lambda _: None)


def test_data_with_other_classes_is_refused_rather_than_a_stack_trace(tmp_path: Path) -> None:
    model = {**MODEL, "conditional": True}
    new_loop(tmp_path, model).save()
    ten = digits()
    other = Dataset("digits", ten.sha256, ten.train, ten.test, (*(ten.label_names or ()), "more"), "", "")
    with pytest.raises(CheckpointError, match="other networks; train with --restart"):
        new_loop(tmp_path, model, other)


def test_run_never_goes_on_with_other_images(stopped: Path) -> None:
    with pytest.raises(CheckpointError, match="other images or labels; train with --restart"):
        new_loop(stopped, dataset=digits(train=63))


@pytest.mark.parametrize("conditional", [False, True])
def test_other_labels_matter_to_a_family_that_takes_them(conditional: bool, tmp_path: Path) -> None:
    model = {**MODEL, "conditional": conditional}
    new_loop(tmp_path, model).save()
    ten = digits()
    assert ten.train.labels is not None
    other = dataclasses.replace(ten, train=ImageSet(ten.train.images, 9 - ten.train.labels))
    if conditional:
        with pytest.raises(CheckpointError, match="other images or labels"):
            new_loop(tmp_path, model, other)
    else:
        assert new_loop(tmp_path, model, other).round == 0


@pytest.mark.parametrize("when", ["writing", "renaming"])
def test_save_that_fails_half_way_leaves_the_old_checkpoint(
    stopped: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stopped / "checkpoint.pt"
    before = path.read_bytes()
    loop = new_loop(stopped)
    loop.round = 3

    def killed(*arguments: Any) -> None:
        if when == "writing":
            arguments[1].write(before[:100])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", killed) if when == "writing" else patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            loop.save()
    assert path.read_bytes() == before
    assert new_loop(stopped).round == 2
    loop.save()  # what the kill left aside is no obstacle
    assert new_loop(stopped).round == 3
    assert [file.name for file in stopped.iterdir()] == ["checkpoint.pt"]


def test_loss_that_is_no_number_ends_the_run_with_advice_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    loop = new_loop(tmp_path)
    loop.run(lambda _: None, stop=lambda: loop.round == 1)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    loop = new_loop(tmp_path)
    with torch.no_grad():
        next(loop.family.networks.parameters()).fill_(float("nan"))
    with pytest.raises(DivergedError, match="vae loss is nan in round 1; lower its learning rate"):
        loop.run(lambda _: None)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_running_writes_a_checkpoint_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 61))
    monkeypatch.setattr("training.loop.time.monotonic", lambda: next(clock))
    saved: list[int] = []
    loop = new_loop(tmp_path, checkpoint_minutes=2.0)
    original = Checkpoint.save

    def note(self: Checkpoint, path: Path) -> None:
        saved.append(self.round)
        original(self, path)

    monkeypatch.setattr(Checkpoint, "save", note)
    assert loop.run(lambda _: None)
    assert saved == [2, 4, 4]


def test_epochs_count_images_of_rounds(tmp_path: Path) -> None:
    dataset = digits()
    images = ImageSet(dataset.train.images[:50], dataset.train.labels)  # 50 images in batches of 16
    tiny = recipe("vae", MODEL, epochs=2)
    loop = Loop(build_family(Context(tiny, images.shape, None)), images, tmp_path)
    assert loop.rounds == 7


def _wait(until: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not until():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


def test_run_killed_with_sigkill_and_started_again_publishes_the_weights_of_a_run_that_was_never_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with np.load(DATA / "mnist_small.npz") as arrays:  # too few test images for evaluation to start
        np.savez(tmp_path / "few.npz", x_train=arrays["x_train"], x_test=arrays["x_test"][:8])
    path = tmp_path / "killed.toml"
    path.write_text(
        'name = "killed"\nfamily = "gan"\nseed = 5\n[data]\nname = "npz"\npath = "few.npz"\n'
        '[model]\nnetwork = "mlp"\nhidden = [8]\nd_hidden = [8]\nlatent_dim = 2\n'
        "[train]\nbatch_size = 8\nepochs = 25\ncheckpoint_minutes = 0.001\npicture_epochs = 1000\n"
    )
    monkeypatch.setenv("GENSERVE_DATA", str(tmp_path))
    arguments = ["--store", str(tmp_path / "store"), "--runs", str(tmp_path / "runs"), "train", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    checkpoint = tmp_path / "runs" / "killed" / "checkpoint.pt"
    process = subprocess.Popen(
        [sys.executable, "-m", "training", *arguments], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        _wait(checkpoint.exists, process)
    finally:
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    killed_after = torch.load(checkpoint, weights_only=True)["round"]
    assert 0 < killed_after < 800
    assert not (tmp_path / "store").exists()

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        assert main(arguments) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    published = Store(tmp_path / "store").open("killed@1")
    published.verify()

    parsed = read_recipe(path)
    dataset = load_dataset(parsed.data)
    straight = Loop(
        build_family(Context(parsed, dataset.train.shape, dataset.label_names)), dataset.train, tmp_path / "straight"
    )
    assert straight.run(lambda _: None)
    weights = load_weights(published.path / published.manifest.weights.path)
    assert weights.keys() == straight.ema.state.keys()
    assert all(torch.equal(weights[key], straight.ema.state[key]) for key in weights)
    assert published.manifest.training.steps == 800
