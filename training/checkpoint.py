"""Checkpoints: everything that a run needs to go on as if it had never stopped, written whole or not at all."""

import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.errors import CheckpointError

State = dict[str, Any]
_FREE = ("checkpoint_minutes", "picture_epochs")
_FREE_DATA = ("labels", "licence", "attribution")  # labels that matter are in the hash


@dataclass
class Checkpoint:
    """State of a run after a whole number of rounds.

    Attributes:
        recipe: The resolved recipe that the run belongs to.
        round: Rounds played.
        position: Images taken from the stream.
        seconds: Time spent in the loop, over all sessions.
        networks, ema: State of the networks and of their average.
        optimizers: State of each optimiser by name.
        global_random, generator: States of torch's own generator and of the family's.
        data: Hash of the training images, and of their labels where the family takes them.
    """

    recipe: dict[str, Any]
    round: int
    position: int
    seconds: float
    networks: State
    ema: State
    optimizers: dict[str, State]
    global_random: Tensor
    generator: Tensor
    data: str

    def save(self, path: Path) -> None:
        """Write aside, flush, rename: a kill at any moment leaves the old file or the new one."""
        aside = path.with_suffix(".writing")
        with aside.open("wb") as file:
            torch.save(asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        aside.rename(path)

    @classmethod
    def load(cls, path: Path, recipe: dict[str, Any], data: str) -> "Checkpoint | None":
        """The checkpoint of a recipe and of data with this hash; None where there is none yet.

        Raises:
            CheckpointError: If the file cannot be read, or belongs to another recipe or to other data.
        """
        if not path.exists():
            return None
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load passes over the checksums
                if damaged := archive.testzip():
                    raise ValueError(f"its part {damaged} is damaged")
            found = cls(**torch.load(path, map_location="cpu", weights_only=True))  # of whatever device
        except Exception as error:  # zipfile, pickle and torch have many errors for damaged bytes, and no common base
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{path} cannot be read ({reason}); remove it, or train with --restart") from error
        changed = ", ".join(_differences(_binding(found.recipe), _binding(recipe)))
        if changed:
            raise CheckpointError(
                f"{path} belongs to a recipe that differs in {changed}; train with --restart, or undo the change"
            )
        if found.data != data:
            raise CheckpointError(f"{path} belongs to a run on other images or labels; train with --restart")
        return found


def _binding(recipe: dict[str, Any]) -> dict[str, Any]:
    """What of a recipe the weights depend on: a run may be made longer, measured or stored in another way."""
    train = {key: value for key, value in recipe["train"].items() if key not in _FREE}
    if train["lr_schedule"] == "constant":
        del train["epochs"], train["rounds"]
    data = {key: value for key, value in recipe["data"].items() if key not in _FREE_DATA}
    return {"train": train, "data": data, **{key: recipe[key] for key in ("name", "family", "seed", "model")}}


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append(f"{prefix}{key} ({a!r} there, {b!r} here)")
    return found
