"""Who plays how often, at which rate, and what the average is."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training.family_cases import CASES
from tests.training.samples import context, digits, recipe
from training.ema import Ema
from training.families.base import build_family
from training.loop import Loop, Progress
from training.progress import PICTURE_IMAGES, Display

GAN: dict[str, Any] = {"network": "mlp", "hidden": [4], "d_hidden": [4], "latent_dim": 2}


def new_loop(folder: Path, model: dict[str, Any], family: str = "gan", **train: Any) -> Loop:
    case = context(recipe(family, model, **train), digits())
    return Loop(build_family(case), digits().train, folder)


def played(loop: Loop) -> list[set[str]]:
    """Players of each round."""
    rounds: list[set[str]] = []
    assert loop.run(lambda progress: rounds.append({name.partition(".")[0] for name in progress.terms}))
    return rounds


def test_discriminator_plays_k_times_and_r1_in_every_nth_round_each_on_a_batch_of_its_own(tmp_path: Path) -> None:
    loop = new_loop(tmp_path, {**GAN, "d_steps": 3, "r1": 1.0, "r1_every": 2})
    both = {"discriminator", "generator"}
    assert played(loop) == [both | {"r1"}, both, both | {"r1"}, both]
    assert loop.stream.position == 16 * (4 * (3 + 1) + 2)


def test_clipping_holds_after_every_step_of_the_critic_its_penalty_included(tmp_path: Path) -> None:
    model = {**GAN, "loss": "wasserstein", "clip": 0.01, "r1": 1.0, "r1_every": 1, "d_lr": 0.1}
    loop = new_loop(tmp_path, model)
    assert loop.run(lambda _: None)
    bound = torch.tensor(0.01)
    weights = list(loop.family.networks["discriminator"].parameters())
    assert all((weight.abs() <= bound).all() for weight in weights)
    assert any((weight.abs() == bound).any() for weight in weights)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4]),
    ],
)
def test_learning_rates_follow_the_schedule(schedule: str, factors: list[float], tmp_path: Path) -> None:
    loop = new_loop(tmp_path, {**GAN, "g_lr": 0.5, "d_lr": 0.25}, lr_schedule=schedule)
    rates: list[tuple[float, float]] = []

    def note(_: Progress) -> None:
        generator, discriminator = loop.optimizers["generator"], loop.optimizers["discriminator"]
        rates.append((generator.param_groups[0]["lr"], discriminator.param_groups[0]["lr"]))

    assert loop.run(note)
    assert [pytest.approx(rate) for rate in rates] == [(0.5 * factor, 0.25 * factor) for factor in factors]


def test_frozen_generator_keeps_its_statistics_too(tmp_path: Path) -> None:
    case = CASES["inference-cycle"]
    loop = new_loop(tmp_path, case.model, "inference")
    before = {key: value.clone() for key, value in loop.family.networks["parent"].state_dict().items()}
    assert loop.run(lambda _: None)
    after = loop.family.networks["parent"].state_dict()
    averaged = {key.removeprefix("parent."): value for key, value in loop.ema.state.items() if "parent." in key}
    assert any("running_mean" in key for key in before)
    assert all(torch.equal(after[key], before[key]) and torch.equal(averaged[key], before[key]) for key in before)


def test_average_starts_with_the_weights_and_its_memory_grows_up_to_the_decay() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 0.0)
    ema = Ema(module, decay=0.5)
    found, expected, value = [], [], 0.0
    for step in range(20):
        nn.init.constant_(module.weight, float(step + 1))
        ema.update(module, step)
        decay = min(0.5, (1 + step) / (10 + step))
        value = decay * value + (1 - decay) * (step + 1)
        found.append(ema.state["weight"].item())
        expected.append(value)
    assert found == pytest.approx(expected, rel=1e-5)


def test_loop_counts_the_updates_of_the_average(tmp_path: Path) -> None:
    loop = new_loop(tmp_path, GAN, ema=0.25)
    key = "generator.body.0.0.weight"
    expected = loop.ema.state[key].clone()

    def follow(progress: Progress) -> None:
        decay = min(0.25, progress.round / (9 + progress.round))
        expected.lerp_(loop.family.networks.state_dict()[key], 1 - decay)

    assert loop.run(follow)
    torch.testing.assert_close(loop.ema.state[key], expected)


def test_average_takes_in_running_statistics_and_copies_counters() -> None:
    norm = nn.BatchNorm2d(2)
    ema = Ema(norm, decay=0.9)
    norm(torch.randn(4, 2, 3, 3) + 5)
    ema.update(norm, 0)
    assert ema.state["num_batches_tracked"].item() == 1
    assert norm.running_mean is not None
    assert torch.allclose(ema.state["running_mean"], 0.9 * norm.running_mean)


def test_average_without_decay_is_the_last_state(tmp_path: Path) -> None:
    loop = new_loop(tmp_path, GAN, ema=0.0)
    assert loop.run(lambda _: None)
    state = loop.family.networks.state_dict()
    assert all(torch.equal(loop.ema.state[key], value) for key, value in state.items())


def test_display_leaves_pictures_and_the_last_scalars_behind_and_disturbs_nothing(tmp_path: Path) -> None:
    watched = new_loop(tmp_path / "watched", {**GAN, "d_steps": 2}, picture_epochs=0.5)
    with Display(watched) as display:
        assert watched.run(display)
    alone = new_loop(tmp_path / "alone", {**GAN, "d_steps": 2}, picture_epochs=0.5)
    assert alone.run(lambda _: None)
    assert all(torch.equal(watched.ema.state[key], alone.ema.state[key]) for key in alone.ema.state)
    pictures = sorted(path.name for path in (tmp_path / "watched" / "pictures").iterdir())
    assert pictures == ["0000002.png", "0000004.png"]
    lines = [json.loads(line) for line in (tmp_path / "watched" / "scalars.jsonl").read_text().splitlines()]
    assert lines[-1]["round"] == 4
    assert lines[-1]["images_per_s"] > 0
    assert {"discriminator.loss", "generator.loss", "stage"} <= lines[-1].keys()
    assert PICTURE_IMAGES == 64
