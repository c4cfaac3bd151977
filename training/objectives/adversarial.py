"""The losses of two players, and the penalties that keep them in bounds.

Logits are those of the discriminator (for Wasserstein: the critic's values), shape (n,). Every loss is a mean over n.
"""

from typing import Literal, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

GanLossName = Literal["minimax", "non-saturating", "least-squares", "wasserstein", "hinge"]


class _DiscriminatorLoss(Protocol):
    def __call__(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor: ...


class _GeneratorLoss(Protocol):
    def __call__(self, fake_logits: Tensor) -> Tensor: ...


class GanLoss(NamedTuple):
    """What each player wants to go down."""

    discriminator: _DiscriminatorLoss
    generator: _GeneratorLoss


def cross_entropy_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """−log D(x) − log(1 − D(G(z))). Goodfellow et al., 2014, https://arxiv.org/abs/1406.2661, eq. 1."""
    return F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()


def minimax_generator(fake_logits: Tensor) -> Tensor:
    """log(1 − D(G(z))), the game's own loss, flat where the discriminator wins. Goodfellow et al., 2014, eq. 1."""
    return -F.softplus(fake_logits).mean()


def non_saturating_generator(fake_logits: Tensor) -> Tensor:
    """−log D(G(z)). Goodfellow et al., 2014, section 3."""
    return F.softplus(-fake_logits).mean()


def least_squares_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """½(D(x) − 1)² + ½D(G(z))². Mao et al., 2017, https://arxiv.org/abs/1611.04076."""
    return 0.5 * ((real_logits - 1).square().mean() + fake_logits.square().mean())


def least_squares_generator(fake_logits: Tensor) -> Tensor:
    """½(D(G(z)) − 1)². Mao et al., 2017."""
    return 0.5 * (fake_logits - 1).square().mean()


def wasserstein_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Critic of Arjovsky, Chintala, Bottou, 2017, https://arxiv.org/abs/1701.07875."""
    return fake_logits.mean() - real_logits.mean()


def wasserstein_generator(fake_logits: Tensor) -> Tensor:
    """−critic(G(z)). Arjovsky, Chintala, Bottou, 2017."""
    return -fake_logits.mean()


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """max(0, 1 − D(x)) + max(0, 1 + D(G(z))). Lim, Ye, 2017, https://arxiv.org/abs/1705.02894."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


GAN_LOSSES: dict[GanLossName, GanLoss] = {
    "minimax": GanLoss(cross_entropy_discriminator, minimax_generator),
    "non-saturating": GanLoss(cross_entropy_discriminator, non_saturating_generator),
    "least-squares": GanLoss(least_squares_discriminator, least_squares_generator),
    "wasserstein": GanLoss(wasserstein_discriminator, wasserstein_generator),
    "hinge": GanLoss(hinge_discriminator, wasserstein_generator),
}


class _Discriminate(Protocol):
    def __call__(self, image: Tensor, label: Tensor | None) -> Tensor: ...


def r1_penalty(discriminate: _Discriminate, real: Tensor, label: Tensor | None) -> Tensor:
    """½ E‖∇D(x)‖² on real images (n, c, h, w). Mescheder, Geiger, Nowozin, 2018, https://arxiv.org/abs/1801.04406."""
    real = real.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminate(real, label).sum(), real, create_graph=True)
    return 0.5 * gradient.square().flatten(1).sum(1).mean()


def gradient_penalty(
    discriminate: _Discriminate, real: Tensor, fake: Tensor, weight: Tensor, label: Tensor | None
) -> Tensor:
    """E(‖∇D(x̂)‖ − 1)² between real and fake. Gulrajani et al., 2017, https://arxiv.org/abs/1704.00028.

    Args:
        discriminate: (image, label) → logits (n,).
        real, fake: Images (n, c, h, w).
        weight: Where between them, uniform in [0, 1], shape (n, 1, 1, 1).
        label: (n,), or None.
    """
    between = torch.lerp(fake.detach().to(real.dtype), real, weight).requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminate(between, label).sum(), between, create_graph=True)
    penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
