"""The one training loop: stages, players, EMA, checkpoints. It knows no family."""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.checkpoint import Checkpoint
from training.data.dataset import ImageSet, content_sha256
from training.data.stream import Batch, BatchStream
from training.ema import Ema
from training.errors import CheckpointError, DivergedError
from training.families.base import Family, Player, Stage
from training.recipe import Recipe, resolved

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """What the loop tells after each round."""

    round: int
    rounds: int
    stage: str
    seconds: float
    terms: dict[str, Tensor]

    def scalars(self) -> dict[str, float]:
        """The latest value of each logged term."""
        return {name: float(value) for name, value in self.terms.items()}


Report = Callable[[Progress], None]


class Loop:
    """A run of a family on a training set, resumable after any round."""

    def __init__(self, family: Family, data: ImageSet, folder: Path, device: str = "cpu") -> None:
        """Start, or go on from the checkpoint in `folder`, which may be another device's.

        All random numbers are drawn on the CPU, so every device sees the same ones.

        Raises:
            CheckpointError: If the checkpoint is damaged or of another recipe.
        """
        self.family = family
        self.recipe: Recipe = family.context.recipe
        self.folder = folder
        train = self.recipe.train
        torch.set_num_threads(train.threads)
        torch.manual_seed(self.recipe.seed)
        self.device = torch.device(device)
        family.networks.to(self.device)
        self.stages = family.stages()
        if train.precision == "bfloat16":
            family.networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.base_lr = {name: adam.lr for name, adam in family.optimizers().items()}
        self.optimizers = {
            name: torch.optim.Adam(adam.parameters, lr=adam.lr, betas=adam.betas)
            for name, adam in family.optimizers().items()
        }
        self.ema = Ema(family.networks, train.ema)
        self.data_sha256 = content_sha256(data if family.label_names else ImageSet(data.images))
        self.stream = BatchStream(data, train.batch_size, self.recipe.seed)
        self.rounds = train.total_rounds(len(data))
        self.round = 0
        self.seconds = 0.0
        self._resume()

    def run(self, report: Report, stop: Callable[[], bool] = lambda: False, checkpoint_s: float | None = None) -> bool:
        """Play all rounds that are left.

        Args:
            report: Called after each round.
            stop: Asked after each round; the run then saves and ends.
            checkpoint_s: Seconds between checkpoints; None for the recipe's.

        Returns:
            Whether the run is complete.

        Raises:
            DivergedError: If a loss is no finite number.
        """
        self.family.networks.train()
        pause = 60 * self.recipe.train.checkpoint_minutes if checkpoint_s is None else checkpoint_s
        saved = began = time.monotonic()
        before = self.seconds
        while self.round < self.rounds and not stop():
            stage = self._stage()
            terms = self._play(stage)
            self.ema.update(self.family.networks, self.round)
            self.round += 1
            now = time.monotonic()
            self.seconds = before + now - began
            report(Progress(self.round, self.rounds, stage.name, self.seconds, terms))
            if now - saved > pause:
                self.save()
                saved = time.monotonic()  # a slow disk may take longer than the pause
        self.save()
        return self.round >= self.rounds

    def save(self) -> None:
        """Write the checkpoint."""
        self.folder.mkdir(parents=True, exist_ok=True)
        Checkpoint(
            recipe=resolved(self.recipe),
            round=self.round,
            position=self.stream.position,
            seconds=self.seconds,
            networks=self.family.networks.state_dict(),
            ema=self.ema.state,
            optimizers={name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            global_random=torch.get_rng_state(),
            generator=self.family.generator.get_state(),
            data=self.data_sha256,
        ).save(self.checkpoint_path)

    @property
    def checkpoint_path(self) -> Path:
        """Where the checkpoint is."""
        return self.folder / "checkpoint.pt"

    def _resume(self) -> None:
        found = Checkpoint.load(self.checkpoint_path, resolved(self.recipe), self.data_sha256)
        if found is None:
            return
        self.round, self.seconds, self.stream.position = found.round, found.seconds, found.position
        try:
            self.family.networks.load_state_dict(found.networks)
            for name, optimizer in self.optimizers.items():
                optimizer.load_state_dict(found.optimizers[name])
        except (RuntimeError, ValueError, KeyError) as error:  # the code has moved on
            raise CheckpointError(
                f"{self.checkpoint_path} has other networks; train with --restart: {error}"
            ) from error
        self.ema.state = {name: value.to(self.device) for name, value in found.ema.items()}
        torch.set_rng_state(found.global_random)
        self.family.generator.set_state(found.generator)
        _log.info("going on after round %d of %d", self.round, self.rounds)

    def _stage(self) -> Stage:
        progress = self.round / self.rounds
        return next(stage for stage in self.stages if progress < stage.until)

    def _play(self, stage: Stage) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        for player in stage.players:
            if self.round % player.every:
                continue
            optimizer = self._scheduled(player.optimizer)
            with _only_trainable(self.family.networks, optimizer):
                for _ in range(player.repeat):
                    terms |= self._step(player, optimizer)
        return terms

    def _step(self, player: Player, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        batch = self._batch()
        half = self.recipe.train.precision == "bfloat16" and not player.full_precision
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            terms = player.loss(batch)
        loss = terms["loss"]
        if not torch.isfinite(loss):
            raise DivergedError(
                f"{player.name} loss is {loss.item()} in round {self.round}; lower its learning rate, "
                f"or use another loss or penalty. The last checkpoint is in {self.folder}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if player.after:
            player.after()
        return {f"{player.name}.{name}": value.detach() for name, value in terms.items()}

    def _batch(self) -> Batch:
        batch = self.stream.next()
        image = batch.image.to(self.device)
        if self.recipe.train.precision == "bfloat16":
            image = image.contiguous(memory_format=torch.channels_last)
        return Batch(image, None if batch.label is None else batch.label.to(self.device))

    def _scheduled(self, name: str) -> torch.optim.Optimizer:
        optimizer = self.optimizers[name]
        progress = self.round / self.rounds
        factor = {
            "constant": 1.0,
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        }[self.recipe.train.lr_schedule]
        for group in optimizer.param_groups:
            group["lr"] = self.base_lr[name] * factor
        return optimizer


@contextlib.contextmanager
def _only_trainable(networks: nn.ModuleDict, optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Gradients for this optimiser's parameters alone: the others' would be computed for nothing."""
    moved: set[Any] = {p for group in optimizer.param_groups for p in group["params"]}
    others = [p for p in networks.parameters() if p.requires_grad and p not in moved]
    for parameter in others:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)
