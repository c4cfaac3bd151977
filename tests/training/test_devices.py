"""Runs on other devices than the CPU: the random numbers come from there, all else must not."""

from pathlib import Path

import pytest
import torch

from tests.training.family_cases import CASES
from tests.training.samples import digits
from training.data.stream import Batch
from training.families.base import build_family
from training.loop import Loop


# Its pixels are drawn on the CPU from the batch, which a device without data has not.
@pytest.mark.parametrize("case", [case for case in CASES if not CASES[case].model.get("binarize")])
def test_losses_are_computed_where_the_networks_are(case: str) -> None:
    """The device `meta` has shapes and no data, and refuses to work with tensors of other devices as a GPU does."""
    family = build_family(CASES[case].context())
    family.networks.to("meta")
    n, height, width, channels = (16, *digits().train.images.shape[1:])
    label = torch.zeros(n, dtype=torch.int64, device="meta")
    batch = Batch(torch.empty(n, channels, height, width, device="meta"), label)
    for player in (player for stage in family.stages() for player in stage.players):
        loss = player.loss(batch)["loss"]
        assert (loss.device.type, loss.shape) == ("meta", ())
        loss.backward()  # type: ignore[no-untyped-call]


@pytest.mark.gpu
@pytest.mark.parametrize("case", CASES)
def test_run_begun_on_a_gpu_goes_on_on_a_cpu(case: str, tmp_path: Path) -> None:
    found = CASES[case]
    rounds: list[int] = []

    def loop(device: str) -> Loop:
        return Loop(build_family(found.context()), digits().train, tmp_path, device)

    begun = loop("cuda:0")
    assert not begun.run(lambda progress: rounds.append(progress.round), lambda: len(rounds) == 2)
    assert {value.device.type for value in begun.ema.state.values()} == {"cuda"}
    gone_on = loop("cpu")
    assert gone_on.round == 2
    assert gone_on.run(lambda progress: rounds.append(progress.round))
    assert rounds == list(range(1, gone_on.rounds + 1))
    assert all(torch.isfinite(value).all() for value in gone_on.ema.state.values() if value.is_floating_point())
