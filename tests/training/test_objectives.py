"""Formulas against known answers, in float64."""

import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, MultivariateNormal, Normal, kl_divergence

from training.networks.augment import translate
from training.objectives.adversarial import GAN_LOSSES, GanLossName, gradient_penalty, r1_penalty
from training.objectives.elbo import (
    bernoulli_log_likelihood,
    gaussian_log_likelihood,
    importance_weighted_bound,
    kl_to_standard_normal,
    negative_elbo,
    normal_log_density,
    standard_normal_log_density,
)

N, SHAPE = 5, (5, 3, 4, 4)


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def log_prob(distribution: Distribution, value: Tensor) -> Tensor:
    found: Tensor = distribution.log_prob(value)
    return found


def test_kl_equals_that_of_torch_distributions_and_is_zero_at_the_prior() -> None:
    mean, logvar = torch.randn(N, 7), torch.randn(N, 7)
    posterior = Independent(Normal(mean, (0.5 * logvar).exp()), 1)
    prior = Independent(Normal(torch.zeros(N, 7), torch.ones(N, 7)), 1)
    torch.testing.assert_close(kl_to_standard_normal(mean, logvar), kl_divergence(posterior, prior))
    assert (kl_to_standard_normal(mean, logvar) > 0).all()
    assert kl_to_standard_normal(torch.zeros(2, 3), torch.zeros(2, 3)).tolist() == [0.0, 0.0]


def test_densities_equal_those_of_torch_distributions() -> None:
    z, mean, logvar = torch.randn(N, 2, 7), torch.randn(N, 2, 7), torch.randn(N, 2, 7)
    torch.testing.assert_close(standard_normal_log_density(z), log_prob(Normal(0.0, 1.0), z).sum(-1))
    want = log_prob(Normal(mean, (0.5 * logvar).exp()), z).sum(-1)
    torch.testing.assert_close(normal_log_density(z, mean, logvar), want)


def test_likelihoods_equal_those_of_torch_distributions_in_nats_per_image() -> None:
    x, logits = torch.rand(SHAPE), 3 * torch.randn(SHAPE)
    bits = torch.bernoulli(x)
    want = log_prob(Independent(Bernoulli(logits=logits), 3), bits)
    torch.testing.assert_close(bernoulli_log_likelihood(bits, logits), want)
    log_sigma = torch.tensor(-0.7)
    want = log_prob(Independent(Normal(logits, log_sigma.exp()), 3), x)
    torch.testing.assert_close(gaussian_log_likelihood(x, logits, log_sigma), want)


def test_bernoulli_likelihood_stays_finite_where_probabilities_underflow() -> None:
    logits = torch.full((1, 1, 1, 2), 1e4)
    assert bernoulli_log_likelihood(torch.zeros(1, 1, 1, 2), logits).item() == -2e4


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_beta_weighs_the_rate_in_the_loss_but_not_in_the_bound(beta: float) -> None:
    terms = negative_elbo(torch.tensor([-3.0, -5.0]), torch.tensor([1.0, 3.0]), beta)
    assert (terms.distortion.item(), terms.rate.item(), terms.elbo.item()) == (4.0, 2.0, -6.0)
    assert terms.loss.item() == 4.0 + 2.0 * beta


class LinearGaussian:
    """z ~ N(0, I), x given z ~ N(Wz, s²): log p(x) and the posterior are known."""

    def __init__(self) -> None:
        self.W, self.sigma = torch.randn(6, 2), 0.5
        self.x = torch.randn(1, 6)
        precision = torch.eye(2) + self.W.T @ self.W / self.sigma**2
        self.covariance = torch.linalg.inv(precision)
        self.mean = self.x @ self.W @ self.covariance / self.sigma**2
        evidence = MultivariateNormal(torch.zeros(6), self.W @ self.W.T + self.sigma**2 * torch.eye(6))
        self.log_p = log_prob(evidence, self.x)

    def log_joint(self, z: Tensor) -> Tensor:
        log_sigma = torch.tensor(math.log(self.sigma))
        rows = z.reshape(-1, 2)
        x = self.x.expand(len(rows), -1).reshape(-1, 6, 1, 1)
        log_likelihood = gaussian_log_likelihood(x, (rows @ self.W.T).reshape(-1, 6, 1, 1), log_sigma)
        return log_likelihood.reshape(z.shape[:-1]) + standard_normal_log_density(z)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_bound_is_exact_for_any_k_where_the_posterior_is(k: int) -> None:
    model = LinearGaussian()
    posterior = MultivariateNormal(model.mean[0], model.covariance)
    z = posterior.sample((1, k))
    bound = importance_weighted_bound(model.log_joint(z) - log_prob(posterior, z))
    torch.testing.assert_close(bound, model.log_p)


def test_bound_rises_with_k_towards_the_evidence() -> None:
    model = LinearGaussian()
    mean, logvar = model.mean + 0.3, torch.log(torch.diagonal(model.covariance))[None] + 0.5
    means = []
    for k in (1, 2, 8, 64):
        z = mean + (0.5 * logvar).exp() * torch.randn(4000, k, 2)
        weights = model.log_joint(z) - normal_log_density(z, mean, logvar)
        means.append(importance_weighted_bound(weights).mean().item())
    assert means == sorted(means)
    assert means[-1] < model.log_p.item() + 0.01
    assert model.log_p.item() - means[-1] < 0.1 < model.log_p.item() - means[0]


def _log_sigmoid(logit: float) -> float:
    return -math.log(1 + math.exp(-logit))


_REAL, _FAKE = [0.3, 2.0], [-0.4, 1.5]


def _mean(values: Iterator[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


_CROSS_ENTROPY = -_mean(_log_sigmoid(r) for r in _REAL) - _mean(_log_sigmoid(-f) for f in _FAKE)
_KNOWN: dict[GanLossName, tuple[float, float]] = {
    "minimax": (_CROSS_ENTROPY, _mean(_log_sigmoid(-f) for f in _FAKE)),
    "non-saturating": (_CROSS_ENTROPY, -_mean(_log_sigmoid(f) for f in _FAKE)),
    "least-squares": (
        0.5 * _mean((r - 1) ** 2 for r in _REAL) + 0.5 * _mean(f**2 for f in _FAKE),
        0.5 * _mean((f - 1) ** 2 for f in _FAKE),
    ),
    "wasserstein": (_mean(iter(_FAKE)) - _mean(iter(_REAL)), -_mean(iter(_FAKE))),
    "hinge": (
        _mean(max(0.0, 1 - r) for r in _REAL) + _mean(max(0.0, 1 + f) for f in _FAKE),
        -_mean(iter(_FAKE)),
    ),
}


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_gan_losses_are_the_papers_formulas(name: GanLossName) -> None:
    loss, (discriminator, generator) = GAN_LOSSES[name], _KNOWN[name]
    assert math.isclose(loss.discriminator(torch.tensor(_REAL), torch.tensor(_FAKE)).item(), discriminator)
    assert math.isclose(loss.generator(torch.tensor(_FAKE)).item(), generator)


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_players_want_opposite_things_of_fake_logits(name: GanLossName) -> None:
    real, fake = torch.tensor([0.1]), torch.tensor([0.2], requires_grad=True)
    (down,) = torch.autograd.grad(GAN_LOSSES[name].discriminator(real, fake), fake)
    (up,) = torch.autograd.grad(GAN_LOSSES[name].generator(fake), fake)
    assert down.item() > 0 > up.item()


def test_generator_learns_from_a_discriminator_that_wins_only_if_the_loss_does_not_saturate() -> None:
    logit = torch.tensor([-20.0], requires_grad=True)  # D is sure that the image is fake
    gradients = {}
    for name in ("minimax", "non-saturating"):
        (gradients[name],) = torch.autograd.grad(GAN_LOSSES[name].generator(logit), logit)
    torch.testing.assert_close(gradients["minimax"], -torch.sigmoid(logit))
    torch.testing.assert_close(gradients["non-saturating"], -torch.sigmoid(-logit))
    assert abs(gradients["minimax"].item()) < 1e-8 < 0.99 < abs(gradients["non-saturating"].item())


@pytest.mark.parametrize("name", GAN_LOSSES)
def test_losses_stay_finite_at_extreme_logits(name: GanLossName) -> None:
    real, fake = torch.tensor([1e4, -1e4]), torch.tensor([-1e4, 1e4], requires_grad=True)
    total = GAN_LOSSES[name].discriminator(real, fake) + GAN_LOSSES[name].generator(fake)
    total.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(total)
    assert fake.grad is not None
    assert torch.isfinite(fake.grad).all()


def test_r1_of_a_linear_discriminator_is_half_its_squared_norm() -> None:
    weight = torch.randn(SHAPE[1:], requires_grad=True)

    def discriminate(image: Tensor, label: Tensor | None) -> Tensor:  # noqa: ARG001
        return (image * weight).flatten(1).sum(1) + 7

    penalty = r1_penalty(discriminate, torch.randn(SHAPE), None)
    torch.testing.assert_close(penalty, 0.5 * weight.square().sum())
    penalty.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weight.grad, weight.detach())


def test_r1_of_a_quadratic_discriminator_depends_on_where_the_real_images_are() -> None:
    real = torch.randn(SHAPE)
    penalty = r1_penalty(lambda image, _: 0.5 * image.square().flatten(1).sum(1), real, None)
    torch.testing.assert_close(penalty, 0.5 * real.square().flatten(1).sum(1).mean())


def test_gradient_penalty_of_a_linear_discriminator_is_the_distance_of_its_norm_from_one() -> None:
    weight = torch.randn(SHAPE[1:], requires_grad=True)

    def discriminate(image: Tensor, label: Tensor | None) -> Tensor:  # noqa: ARG001
        return (image * weight).flatten(1).sum(1)

    penalty = gradient_penalty(discriminate, torch.randn(SHAPE), torch.randn(SHAPE), torch.rand(N, 1, 1, 1), None)
    norm = weight.detach().norm()
    torch.testing.assert_close(penalty, (norm - 1).square())
    penalty.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(weight.grad, 2 * (norm - 1) * weight.detach() / norm)


@pytest.mark.parametrize(("weight", "at"), [(0.0, "fake"), (1.0, "real")])
def test_gradient_penalty_looks_between_real_and_fake(weight: float, at: str) -> None:
    images = {"real": torch.randn(SHAPE), "fake": torch.randn(SHAPE)}
    seen = []

    def discriminate(image: Tensor, label: Tensor | None) -> Tensor:  # noqa: ARG001
        seen.append(image.detach())
        return image.flatten(1).sum(1)

    gradient_penalty(discriminate, images["real"], images["fake"], torch.full((N, 1, 1, 1), weight), None)
    torch.testing.assert_close(seen[0], images[at])


def test_translation_shifts_each_image_by_its_own_whole_pixels_and_repeats_edges() -> None:
    image = torch.randn(50, 2, 10, 10)
    shifted = translate(image, 0.2, torch.Generator().manual_seed(0))
    assert shifted.shape == image.shape
    padded = F.pad(image, (2, 2, 2, 2), mode="replicate")
    shifts = set()
    for i in range(len(image)):
        found = [
            (top, left)
            for top in range(5)
            for left in range(5)
            if torch.equal(padded[i, :, top : top + 10, left : left + 10], shifted[i])
        ]
        assert len(found) == 1
        shifts.add(found[0])
    assert {top for top, _ in shifts} == {left for _, left in shifts} == {0, 1, 2, 3, 4}


def test_translation_by_nothing_gives_the_very_images_and_gradients_pass_through_it() -> None:
    image = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert translate(image, 0.0, torch.Generator()) is image
    translate(image, 0.25, torch.Generator().manual_seed(0)).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert image.grad.sum().item() == image.numel()
