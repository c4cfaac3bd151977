"""Running exported graphs: batches, samples, reconstructions, a discriminator's answers."""

import numpy as np
import pytest

from bundle.latents import latents
from bundle.pixels import from_graph, to_graph
from bundle.priors import Normal
from tests.training.evaluation.tiny_graphs import (
    CLASSES,
    LATENT,
    SIDE,
    decoder,
    discriminator,
    encoder,
    exact_score,
    squares,
)
from training.evaluation.discriminator import mean_fake, mean_real
from training.evaluation.reconstruction import compare, reconstructions
from training.evaluation.sampling import Sampler

PRIOR = Normal(dim=LATENT)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_slices_join_to_the_whole_run(batch_size):
    z = latents(PRIOR, 0, 0, 7)
    graph = decoder()
    whole, joined = graph.run(z=z), graph.run_batched(batch_size, z=z)
    for name in graph.outputs:
        np.testing.assert_allclose(joined[name], whole[name], atol=1e-6)


def test_no_rows_give_empty_outputs():
    assert decoder().run_batched(4, z=np.zeros((0, LATENT), np.float32))["image"].shape == (0, 1, SIDE, SIDE)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "takes inputs \\['label', 'z'\\]; it was given \\[\\]"),
        ({"z": np.zeros((2, LATENT), np.float32), "label": np.zeros(3, np.int64)}, "equally many rows"),
    ],
)
def test_wrong_inputs_are_refused_by_name(inputs, message):
    with pytest.raises(ValueError, match=message):
        decoder(CLASSES).run(**inputs)


def test_batch_size_zero_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        decoder().run_batched(0, z=np.zeros((2, LATENT), np.float32))


def test_every_uint8_value_survives_the_way_through_floats():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    assert np.array_equal(from_graph(to_graph(levels)), levels)
    assert to_graph(levels).min() == -1
    assert to_graph(levels).max() == 1


def test_samples_are_the_decoded_latents_of_the_seed_whatever_their_number():
    sampler = Sampler(decoder(), PRIOR)
    some = sampler.images(seed=5, n=3)
    assert np.array_equal(some, decoder().run(z=latents(PRIOR, 5, 0, 3))["pixels"])
    assert np.array_equal(sampler.images(seed=5, n=100)[:3], some)


def test_conditional_samples_get_every_label():
    sampler = Sampler(decoder(CLASSES), PRIOR, CLASSES)
    labels = sampler.labels(seed=0, n=400)
    assert np.bincount(labels, minlength=CLASSES).min() > 60
    expected = decoder(CLASSES).run(z=latents(PRIOR, 0, 0, 5), label=labels[:5])["pixels"]
    assert np.array_equal(sampler.images(seed=0, n=5), expected)


def test_conditional_decoder_needs_labelled_data():
    with pytest.raises(ValueError, match="the data set has none"):
        Sampler(decoder(CLASSES), PRIOR, None)


def test_decoder_with_inputs_that_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"takes inputs \['image'\]"):
        Sampler(exact_score(), PRIOR)


def test_decoded_images_are_reconstructed_exactly():
    images = Sampler(decoder(), PRIOR).images(seed=0, n=80)
    recon = reconstructions(encoder(), decoder(), images)
    assert np.abs(recon.astype(int) - images).max() <= 1
    found = compare(images, recon, None)
    assert found.psnr.value > 50
    assert found.ssim.value > 0.99
    assert found.label_kept is None


def test_discriminator_answers_are_averaged_as_probabilities():
    real = squares().test
    logits = 10 * to_graph(real.images).mean(axis=(1, 2, 3))
    assert mean_real(discriminator(), real, 120).value == pytest.approx(np.mean(1 / (1 + np.exp(-logits))), rel=1e-5)
    logits = logits + real.labels
    found = mean_real(discriminator(conditional=True), real, 120)
    assert found.value == pytest.approx(np.mean(1 / (1 + np.exp(-logits))), rel=1e-5)


def test_discriminator_sees_generated_images_before_rounding():
    sampler = Sampler(decoder(), PRIOR)
    logits = 10 * decoder().run(z=latents(PRIOR, 2, 0, 70))["image"].mean(axis=(1, 2, 3))
    found = mean_fake(discriminator(), sampler, seed=2, n=70)
    assert found.value == pytest.approx(np.mean(1 / (1 + np.exp(-logits))), rel=1e-6)
