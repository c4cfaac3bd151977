"""The table of families and recipes that `test_families.py` puts through one list of properties."""

from dataclasses import dataclass, field
from typing import Any

from tests.training.samples import context, digits, recipe
from training.families.base import Context
from training.recipe import resolved

_VAE: dict[str, Any] = {"channels": 4, "hidden": [8], "latent_dim": 3}
_MLP_VAE: dict[str, Any] = {"network": "mlp", "hidden": [12, 8], "latent_dim": 3}
_GAN: dict[str, Any] = {"channels": 4, "d_channels": 4, "latent_dim": 3}
_PAPER: dict[str, Any] = {
    "network": "mlp",
    "latent_dim": 5,
    "prior": "uniform",
    "hidden": [12, 12],
    "d_hidden": [8, 8],
    "maxout_pieces": 3,
    "loss": "minimax",
    "d_steps": 2,
}


@dataclass(frozen=True)
class Case:
    """One recipe.

    Attributes:
        family, model, train: Of the recipe.
        graphs: That it must export.
        flat: Parameters whose gradient may be exactly zero by the formula of the loss.
        twin: The case whose graphs have the same structure, and which is exported in place of this one.
    """

    family: str
    model: dict[str, Any]
    graphs: set[str]
    train: dict[str, Any] = field(default_factory=dict)
    flat: frozenset[str] = frozenset()
    twin: str | None = None

    def context(self) -> Context:
        """For the tiny digits."""
        return context(recipe(self.family, self.model, **self.train), digits())


def _vae(model: dict[str, Any], *, score: bool = True, **options: Any) -> Case:
    graphs = {"encode", "decode", "score"} if score else {"encode", "decode"}
    return Case("vae", model, graphs, **options)


def _gan(model: dict[str, Any], **options: Any) -> Case:
    return Case("gan", model, {"decode", "discriminate"}, **options)


def _inference(objective: str, parent: dict[str, Any], **options: Any) -> Case:
    model = {"parent": resolved(recipe("gan", parent)), "objective": objective, "channels": 4}
    return Case("inference", model, {"decode", "discriminate", "encode"}, **options)


# A critic's last bias cancels between real and fake, as it does in a hinge while both are inside the margin.
_CANCELS = frozenset({"discriminator.head.bias"})

CASES: dict[str, Case] = {
    "vae-conv-bernoulli": _vae({**_VAE, "binarize": True}),
    "vae-mlp-gaussian": _vae({**_MLP_VAE, "likelihood": "gaussian"}, train={"lr_schedule": "cosine"}),
    "vae-fixed-sigma": _vae({**_VAE, "likelihood": "gaussian", "sigma": 0.3}, twin="vae-conv-bernoulli"),
    "beta-vae": _vae({**_MLP_VAE, "beta": 4.0}, twin="vae-mlp-gaussian", train={"lr_schedule": "linear"}),
    "vae-conditional": _vae({**_VAE, "conditional": True}),
    "vae-batch-norm": _vae({**_VAE, "batch_norm": True}),
    "vae-bfloat16": _vae(_VAE, twin="vae-conv-bernoulli", train={"precision": "bfloat16"}),
    "ae-mixture": _vae({**_VAE, "noise": False, "beta": 0, "prior": "mixture", "mixture_components": 2}, score=False),
    "ae-without-prior": _vae({**_MLP_VAE, "noise": False, "beta": 0, "prior": "none"}, score=False, twin="ae-mixture"),
    "gan-minimax": _gan({**_GAN, "loss": "minimax"}, twin="gan-non-saturating"),
    "gan-non-saturating": _gan({**_GAN, "loss": "non-saturating"}),
    "gan-least-squares": _gan({**_GAN, "loss": "least-squares", "d_norm": "batch"}),
    "gan-wasserstein-clip": _gan(
        {**_GAN, "loss": "wasserstein", "clip": 0.05, "d_steps": 2}, twin="gan-non-saturating", flat=_CANCELS
    ),
    "gan-wasserstein-gp": _gan(
        {**_GAN, "loss": "wasserstein", "gradient_penalty": 10.0}, twin="gan-non-saturating", flat=_CANCELS
    ),
    "gan-wasserstein-gp-bfloat16": _gan(
        {**_GAN, "loss": "wasserstein", "gradient_penalty": 10.0},
        twin="gan-non-saturating",
        flat=_CANCELS,
        train={"precision": "bfloat16"},
    ),
    "gan-hinge-spectral": _gan({**_GAN, "loss": "hinge", "d_norm": "spectral"}, flat=_CANCELS),
    "gan-hinge": _gan({**_GAN, "loss": "hinge"}, twin="gan-non-saturating", flat=_CANCELS),
    "gan-r1-augmented": _gan({**_GAN, "r1": 1.0, "r1_every": 2, "augment": 0.2}, twin="gan-non-saturating"),
    "gan-r1-bfloat16": _gan(
        {**_GAN, "r1": 1.0, "r1_every": 2, "augment": 0.2},
        twin="gan-non-saturating",
        flat=_CANCELS,  # logits near 0 have gradients of plus and minus a half, in so few bits
        train={"precision": "bfloat16"},
    ),
    "gan-conditional": _gan({**_GAN, "conditional": True}),
    "gan-conditional-spectral": _gan({**_GAN, "conditional": True, "d_norm": "spectral"}, twin="gan-conditional"),
    "gan-paper-mlp": _gan(_PAPER),
    "gan-mlp-conditional": _gan({**_PAPER, "conditional": True, "prior": "normal"}, twin="gan-paper-mlp"),
    "inference-z": _inference("z", _GAN, twin="inference-cycle"),
    "inference-cycle": _inference("cycle", _GAN),
    "inference-of-spectral": _inference("cycle", {**_GAN, "d_norm": "spectral"}, twin="inference-cycle"),
    "inference-of-paper-mlp": _inference("cycle", _PAPER, train={"precision": "bfloat16"}, twin="inference-cycle"),
}
EXPORTED = sorted(name for name, case in CASES.items() if case.twin is None)
