"""The nouns of training: player, stage, graph, family. The loop and the export know nothing else of a model."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from bundle.manifest import GraphName, TensorSpec
from bundle.priors import Prior
from training.data.dataset import Dataset
from training.data.stream import Batch
from training.errors import RecipeError
from training.recipe import Recipe, Table

Terms = Mapping[str, Tensor]


@dataclass(frozen=True)
class Adam:
    """An optimiser: Adam over some parameters. Kingma, Ba, 2015, https://arxiv.org/abs/1412.6980."""

    parameters: Sequence[nn.Parameter]
    lr: float
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Player:
    """A loss and what it moves.

    Attributes:
        name: In logs.
        optimizer: Which of the family's optimisers makes the step; players may share one.
        loss: Batch → named scalars; the one called "loss" goes down, the others are logged.
        repeat: Steps per round (k of the GAN paper).
        every: Plays only in each `every`-th round (lazy regularisation).
        full_precision: Computes in float32 even where the recipe asks for bfloat16.
        after: Called after each step (weight clipping).
    """

    name: str
    optimizer: str
    loss: Callable[[Batch], Terms]
    repeat: int = 1
    every: int = 1
    full_precision: bool = False
    after: Callable[[], None] | None = None


@dataclass(frozen=True)
class Stage:
    """Some players for a share of the run.

    Attributes:
        name: In logs.
        until: Share of all rounds after which the stage ends; the last stage has 1.
        players: In the order of their turns.
    """

    name: str
    until: float
    players: Sequence[Player]


@dataclass(frozen=True)
class Graph:
    """A graph to export: a module in eval mode, and its interface in the order of its arguments and results."""

    module: nn.Module
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    likelihood: Literal["exact", "bound"] | None = None


@dataclass(frozen=True)
class Context:
    """What a family is built for."""

    recipe: Recipe
    image: tuple[int, int, int]  # (channels, height, width)
    label_names: tuple[str, ...] | None

    @property
    def classes(self) -> int:
        """Number of classes; 0 where there are none."""
        return len(self.label_names or ())


@dataclass
class Family(ABC):
    """Owns networks; says who plays and what is exported.

    A family is one file in `training/families/` (or any importable module, named with its dots) with a function
    `build(context: Context) -> Family`. All that it learns is in `networks`; all its random numbers come from
    `generator`, whose state is part of every checkpoint.
    """

    context: Context
    recipe: Table = field(init=False)  # the family's part of the recipe, defaults filled in
    networks: nn.ModuleDict = field(init=False)
    generator: torch.Generator = field(default_factory=torch.Generator, init=False)

    @abstractmethod
    def optimizers(self) -> dict[str, Adam]:
        """Optimisers by name."""

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """What is played, in order."""

    @abstractmethod
    def graphs(self) -> dict[GraphName, Graph]:
        """What is exported, from the networks as they are."""

    @property
    @abstractmethod
    def prior(self) -> Prior | None:
        """What `decode` takes its codes from; None where the model has no prior."""

    def fit(self, data: Dataset) -> None:  # noqa: B027 (most families have nothing to fit)
        """Called once after training, on the networks to be exported: for what is fitted rather than trained."""

    @property
    def label_names(self) -> tuple[str, ...] | None:
        """Classes of the graphs' `label` input; None where they take none."""
        return None


def build_family(context: Context) -> Family:
    """The family that the recipe names.

    Raises:
        RecipeError: If there is no such family, or its part of the recipe is not valid.
    """
    name = context.recipe.family
    module_name = name if "." in name else f"training.families.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise RecipeError(f"no family {name!r}: module {error.name!r} cannot be found") from error
    if not hasattr(module, "build"):
        raise RecipeError(f"module {module_name!r} is no family: it has no function build(context)")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.recipe.seed)  # initial weights
        family: Family = module.build(context)
    family.generator.manual_seed(context.recipe.seed)
    model = family.recipe.model_dump(mode="json")
    family.context = replace(context, recipe=context.recipe.model_copy(update={"model": model}))
    return family
