"""TensorBoard reads what a run writes: each step once and in order, whatever was stopped, killed and started again."""

import io
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.training.samples import ROOT, context, digits, recipe
from training.families.base import build_family
from training.loop import Loop
from training.progress import Display
from training.tensorboard_events import FOLDER, TensorBoard
from training.watching.sink import About, Ending, Picture, Snapshot

GAN: dict[str, Any] = {"network": "mlp", "hidden": [4], "d_hidden": [4], "latent_dim": 2}


def about(folder: Path, step: int = 0) -> About:
    return About("tiny", {"name": "tiny", "family": "gan"}, folder, step, 100, "cpu")


def snapshot(step: int, loss: float) -> Snapshot:
    return Snapshot(step, 100, "adversarial", 1.0, 50.0, 1.0, step / 10, {"generator.loss": loss})


def session(folder: Path, first: int, last: int, loss: float) -> None:
    """Steps `first` to `last` of a run that went on after the step before."""
    writer = TensorBoard(about(folder, first - 1))
    for step in range(first, last + 1):
        writer.progress(snapshot(step, loss))
    writer.close(Ending.STOPPED)


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / FOLDER), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def steps(folder: Path, tag: str = "generator/loss") -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def test_run_that_went_back_to_its_checkpoint_shows_each_step_once_with_its_latest_value(tmp_path: Path) -> None:
    session(tmp_path, 1, 10, loss=1.0)
    session(tmp_path, 7, 12, loss=2.0)
    session(tmp_path, 13, 14, loss=3.0)
    values = [1.0] * 6 + [2.0] * 6 + [3.0] * 2
    assert steps(tmp_path) == list(enumerate(values, start=1))


def test_sessions_are_read_in_their_order_though_the_clock_went_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    session(tmp_path, 1, 3, loss=1.0)
    monkeypatch.setattr(time, "time", lambda: real() - 86_400)
    session(tmp_path, 3, 4, loss=2.0)
    assert steps(tmp_path) == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0)]


def test_record_that_a_kill_cut_short_costs_that_record_alone(tmp_path: Path) -> None:
    session(tmp_path, 1, 5, loss=1.0)
    (path,) = (tmp_path / FOLDER).iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    session(tmp_path, 4, 6, loss=2.0)
    assert steps(tmp_path) == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0)]


def test_pictures_are_the_very_png_and_the_recipe_can_be_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("L", (30, 20), 77).save(file, "PNG")
    writer = TensorBoard(about(tmp_path))
    writer.picture(Picture(8, 1.0, file.getvalue()))
    writer.close(Ending.PUBLISHED)
    found = read(tmp_path)
    (image,) = found.Images("samples")
    assert (image.step, image.width, image.height) == (8, 30, 20)
    assert image.encoded_image_string == file.getvalue()
    (text,) = found.Tensors("recipe")
    assert b'"family": "gan"' in text.tensor_proto.string_val[0]


def test_every_run_leaves_scalars_and_grids_of_each_epoch_and_goes_on_without_a_step_twice(tmp_path: Path) -> None:
    case = context(recipe("gan", GAN, picture_epochs=0.5), digits())
    first = Loop(build_family(case), digits().train, tmp_path)
    with Display(first) as display:
        first.run(display, lambda: first.round == 3)
        display.stopped()
    first.round, first.stream.position = 2, 0  # as if it had been killed a round after its checkpoint
    first.save()
    second = Loop(build_family(case), digits().train, tmp_path)
    assert second.round == 2
    with Display(second) as display:
        assert second.run(display)
    found = read(tmp_path)
    expected = {"generator/loss", "discriminator/loss", "run/images_per_second", "run/epoch"}
    assert expected <= set(found.Tags()["scalars"])
    assert [event.step for event in found.Images("samples")] == [2, 4]
    shown = [step for step, _ in steps(tmp_path)]
    assert shown == sorted(set(shown))
    assert shown[-1] == 4


def test_neither_tensorflow_nor_torch_is_imported(tmp_path: Path) -> None:
    for name in ("tensorflow", "torch"):  # found before any that is installed
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    code = (
        "from pathlib import Path; from training.tensorboard_events import TensorBoard; "
        "from training.watching.sink import About, Ending; "
        f"sink = TensorBoard(About('n', {{}}, Path({str(tmp_path)!r}), 0, 1, 'cpu')); "
        "sink.close(Ending.STOPPED); print('done')"
    )
    path = f"{tmp_path}:{ROOT}"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": path}, check=False
    )
    assert answer.stdout.strip() == "done", answer.stderr
