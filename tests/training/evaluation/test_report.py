"""From graphs to metrics, end to end."""

import numpy as np
import pytest
from pydantic import ValidationError

from bundle.priors import Normal
from bundle.recipes import EvaluationSettings
from tests.training.evaluation.tiny_graphs import (
    CLASSES,
    LATENT,
    SIDE,
    decoder,
    discriminator,
    encoder,
    exact_score,
    linear_gaussian,
    squares,
)
from training.evaluation.report import draw_neighbours, evaluate

PRIOR = Normal(dim=LATENT)
SETTINGS = EvaluationSettings(
    samples=150, parzen=True, parzen_iterations=1, iwae_samples=5, discriminator_images=100, probe_images=2_000
)
FIDELITY = ["frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage"]
MODES = ["modes_covered", "class_kl"]
NEIGHBOURS = ["nearest_neighbour_ratio", "nearest_neighbour_ratio_features"]


def floors(names):
    return [f"{name}_floor" for name in names]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def metrics(cache):
    graphs = {
        "decode": decoder(),
        "encode": encoder(),
        "score": linear_gaussian(1.5).score(),
        "discriminate": discriminator(),
    }
    return {metric.name: metric for metric in evaluate(graphs, PRIOR, squares(), SETTINGS, cache)}


def test_every_capability_is_measured(metrics):
    expected = [*FIDELITY, *floors(FIDELITY), *MODES, *floors(MODES), *NEIGHBOURS]
    expected += ["parzen_log_likelihood", "parzen_log_likelihood_kmeans", "parzen_log_likelihood_train"]
    expected += ["elbo", "iwae_5", "effective_sample_size_5", "psnr", "ssim", "label_kept"]
    expected += ["d_real_train", "d_real_test", "d_fake"]
    assert list(metrics) == expected


def test_floor_of_real_images_beats_a_random_decoder(metrics):
    assert metrics["frechet_distance"].value > 5 * metrics["frechet_distance_floor"].value
    assert metrics["kernel_distance"].value > metrics["kernel_distance_floor"].value
    assert metrics["precision"].value < metrics["precision_floor"].value
    assert metrics["coverage"].value < metrics["coverage_floor"].value
    assert metrics["modes_covered_floor"].value == CLASSES


def test_protocols_name_probe_counts_and_seed(metrics):
    assert "120 samples of seed 0 and 120 test images; labels probe " in metrics["frechet_distance"].protocol
    assert "120 training images in the samples' place" in metrics["frechet_distance_floor"].protocol
    assert "5 importance samples" in metrics["iwae_5"].protocol
    assert "Gaussian windows on 150 images" in metrics["parzen_log_likelihood_kmeans"].protocol


def test_answers_repeat_from_the_cache(metrics, cache):
    again = evaluate({"decode": decoder()}, PRIOR, squares(), SETTINGS, cache)
    assert again
    assert all(metric == metrics[metric.name] for metric in again)


def test_binarised_scoring_says_so_and_differs(metrics, cache):
    settings = SETTINGS.model_copy(update={"binarize": True})
    found = evaluate({"score": linear_gaussian(1.5).score()}, PRIOR, squares(), settings, cache)
    assert [metric.name for metric in found] == ["elbo", "iwae_5", "effective_sample_size_5"]
    assert "binarised once with seed 0" in found[0].protocol
    assert found[0].value != metrics["elbo"].value


def test_exact_score_is_called_log_likelihood(cache):
    found = evaluate({"score": exact_score()}, None, squares(), SETTINGS, cache)
    assert [(metric.name, metric.protocol) for metric in found] == [("log_likelihood", "exact; 120 test images")]


def test_autoencoder_without_prior_is_only_reconstructed(cache):
    found = evaluate({"decode": decoder(), "encode": encoder()}, None, squares(), SETTINGS, cache)
    assert [metric.name for metric in found] == ["psnr", "ssim", "label_kept"]


def test_conditional_model_is_judged_by_its_labels_too(cache):
    graphs = {"decode": decoder(CLASSES), "discriminate": discriminator(conditional=True)}
    found = {metric.name: metric for metric in evaluate(graphs, PRIOR, squares(), SETTINGS, cache)}
    assert 0 <= found["label_agreement"].value <= 1
    assert found["d_real_train"].split == "train"


def test_unlabelled_data_are_measured_with_rotations_and_without_modes(tmp_path):
    found = evaluate({"decode": decoder(), "encode": encoder()}, PRIOR, squares(labelled=False), SETTINGS, tmp_path)
    names = [metric.name for metric in found]
    assert not {"modes_covered", "class_kl", "label_kept"} & set(names)
    assert "rotation probe" in found[0].protocol


def test_graphs_of_other_kinds_measure_nothing(cache):
    assert evaluate({"translate": decoder()}, PRIOR, squares(), SETTINGS, cache) == []


def test_decoder_that_needs_more_than_latents_is_passed_over(cache, caplog):
    graphs = {"decode": exact_score(), "encode": encoder()}  # a "decoder" that takes images
    assert evaluate(graphs, PRIOR, squares(), SETTINGS, cache) == []
    assert "decode takes ['image']" in caplog.text


def test_a_handful_of_images_measures_nothing_rather_than_failing(tmp_path, caplog):
    data = squares(train=100, test=19)
    assert evaluate({"decode": decoder()}, PRIOR, data, SETTINGS, tmp_path) == []
    assert "split of 19 images" in caplog.text


def test_neighbours_come_as_pairs_to_look_at():
    pairs = draw_neighbours(decoder(), PRIOR, squares(), count=5, seed=3)
    assert pairs.shape == (5, 2, SIDE, SIDE, 1)
    assert pairs.dtype == np.uint8


def test_unknown_settings_are_refused():
    with pytest.raises(ValidationError, match="sampels"):
        EvaluationSettings(sampels=3)
