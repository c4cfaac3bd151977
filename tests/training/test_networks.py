"""Sizes, labels, maxout, and what spectral normalisation promises."""

import pytest
import torch
from torch import Tensor, nn

from training.networks.adversarial import Discriminator, conv_discriminator, conv_generator, mlp_discriminator
from training.networks.autoencoding import conv_decoder, conv_encoder, mlp_decoder, mlp_encoder
from training.networks.conv import Pyramid, without_spectral_norm
from training.networks.mlp import Maxout

IMAGE = (3, 16, 24)


@pytest.mark.parametrize(
    ("side", "levels", "smallest"), [(28, 2, 7), (32, 3, 4), (64, 4, 4), (8, 1, 4), (14, 1, 7), (20, 2, 5)]
)
def test_pyramid_halves_down_to_four_and_doubles_the_channels(side: int, levels: int, smallest: int) -> None:
    pyramid = Pyramid.of((1, side, side), 8)
    assert (pyramid.levels, pyramid.smallest) == (levels, (8 * 2 ** (levels - 1), smallest, smallest))
    assert [pyramid.width_at(level) for level in range(1, levels + 1)] == [8 * 2**i for i in range(levels)]


@pytest.mark.parametrize("classes", [0, 5])
def test_networks_take_images_that_are_not_square_and_answer_in_their_shapes(classes: int) -> None:
    n, label = 3, torch.tensor([0, 4, 2]) if classes else None
    image, z = torch.randn(n, *IMAGE), torch.randn(n, 6)
    for encoder in (
        conv_encoder(IMAGE, 4, 8, 12, classes, batch_norm=True),
        mlp_encoder(IMAGE, [9, 8, 7], 12, classes),
    ):
        assert encoder(image, label).shape == (n, 12)
    for decoder in (conv_decoder(IMAGE, 4, 8, 6, classes, batch_norm=True), mlp_decoder(IMAGE, [9, 8], 6, classes)):
        assert decoder(z, label).shape == (n, *IMAGE)
    assert conv_generator(IMAGE, 6, 4, classes)(z, label).shape == (n, *IMAGE)
    for discriminator in (
        conv_discriminator(IMAGE, 4, "none", classes),
        mlp_discriminator(IMAGE, [8], 2, 0.5, classes),
    ):
        assert discriminator(image, label).shape == (n,)


def test_label_changes_the_answer_of_every_conditional_network() -> None:
    torch.manual_seed(0)
    image, z, a, b = torch.randn(1, *IMAGE), torch.randn(1, 6), torch.tensor([1]), torch.tensor([3])
    networks: list[tuple[nn.Module, Tensor]] = [
        (conv_encoder(IMAGE, 4, 8, 12, 5, batch_norm=False), image),
        (conv_decoder(IMAGE, 4, 8, 6, 5, batch_norm=False), z),
        (conv_generator(IMAGE, 6, 4, 5), z),
        (conv_discriminator(IMAGE, 4, "spectral", 5), image),
    ]
    for network, x in networks:
        network.eval()
        assert not torch.allclose(network(x, a), network(x, b), atol=1e-7)


def test_maxout_takes_the_largest_of_its_linear_maps() -> None:
    torch.manual_seed(0)
    layer, x = Maxout(4, 3, pieces=5), torch.randn(7, 4)
    maps = (x @ layer.linear.weight.T + layer.linear.bias).reshape(7, 3, 5)
    torch.testing.assert_close(layer(x), maps.max(2).values)


def spectral(classes: int) -> Discriminator:
    torch.manual_seed(0)
    return conv_discriminator((1, 16, 16), 8, "spectral", classes)


@pytest.mark.parametrize("classes", [0, 5])
def test_every_weight_of_a_spectral_discriminator_has_norm_one(classes: int) -> None:
    plain = without_spectral_norm(spectral(classes))
    weights = {name: weight for name, weight in plain.named_parameters() if name.endswith("weight")}
    assert set(weights) == {"body.layers.0.weight", "body.layers.2.weight", "head.weight"} | (
        {"embedding.weight"} if classes else set()
    )
    for weight in weights.values():
        assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() == pytest.approx(1, abs=1e-5)


def test_plain_copy_answers_as_the_trained_one_once_its_estimate_has_settled_and_leaves_it_in_working_order() -> None:
    network, image = spectral(5), torch.randn(4, 1, 16, 16)
    label = torch.arange(4)
    with torch.no_grad():
        for _ in range(200):  # each step in training mode is one of the power iteration
            network(image, label)
    network.eval()
    for _ in range(2):
        plain = without_spectral_norm(network)
        torch.testing.assert_close(plain(image, label), network(image, label), atol=1e-4, rtol=1e-3)
    assert not any("parametrizations" in name for name, _ in plain.named_parameters())
    assert network.train()(image, label).requires_grad
