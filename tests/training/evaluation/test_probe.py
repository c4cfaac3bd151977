"""The probe learns, repeats itself, and is kept."""

from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
import torch

from tests.training.evaluation.tiny_graphs import CLASSES, squares
from training.data.dataset import Dataset, ImageSet
from training.evaluation.probe import _digest, load_or_train_probe
from training.evaluation.probe_training import ProbeNetwork, ProbeRecipe, Turns

RECIPE = ProbeRecipe(images=4_000, batch_size=32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return load_or_train_probe(squares(), cache, RECIPE), cache


def test_probe_learns_the_labels(trained):
    probe, _ = trained
    data = squares()
    assert probe.knows_labels
    assert probe.accuracy > 0.95
    assert np.mean(probe.classes(data.test.images) == data.test.labels) == pytest.approx(probe.accuracy, abs=1e-6)
    assert probe.describe().startswith(f"labels probe {probe.sha256[:16]}, test accuracy ")


def test_features_are_standardised_over_training_images(trained):
    features = trained[0].features(squares().train.images)
    assert features.shape == (240, 64)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(features.std(axis=0, ddof=1), 1, atol=1e-3)


def test_probe_answers_row_by_row_at_any_batch_size(trained):
    probe, _ = trained
    images = squares().test.images
    whole = probe.features(images[:7])
    np.testing.assert_allclose(np.concatenate([probe.features(images[i : i + 1]) for i in range(7)]), whole, atol=1e-4)
    assert probe.features(images[:0]).shape == (0, 64)


def test_probe_comes_from_the_cache_the_second_time(trained, monkeypatch):
    probe, cache = trained
    monkeypatch.setattr("training.evaluation.probe.train_probe", lambda *_: pytest.fail("trained again"))
    again = load_or_train_probe(squares(), cache, RECIPE)
    assert (again.sha256, again.accuracy, again.task) == (probe.sha256, probe.accuracy, probe.task)
    assert len(list(cache.iterdir())) == 1


def test_same_seed_gives_the_same_probe_and_another_seed_another(trained, tmp_path):
    again = load_or_train_probe(squares(), tmp_path, RECIPE)
    other = load_or_train_probe(squares(), tmp_path, ProbeRecipe(images=4_000, batch_size=32, seed=1))
    assert again.sha256 == trained[0].sha256
    assert other.sha256 != trained[0].sha256


def test_file_says_nothing_about_the_machine(trained):
    model = onnx.load_model_from_string(trained[0].content)
    assert sorted(prop.key for prop in model.metadata_props) == ["task", "test_accuracy"]
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    assert b".py" not in trained[0].content
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_unlabelled_images_are_told_apart_by_rotation(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 60, size=(160, 9, 9, 3), dtype=np.uint8)
    images[:, :4] += 150  # bright on top
    data = Dataset("skies", "d" * 64, ImageSet(images[:120]), ImageSet(images[120:]), None, "", "")
    probe = load_or_train_probe(data, tmp_path, RECIPE)
    assert not probe.knows_labels
    assert probe.accuracy > 0.95
    assert probe.describe().startswith("rotation probe")
    np.testing.assert_allclose(probe.features(data.train.images).std(axis=0, ddof=1), 1, atol=1e-3)


def test_images_that_are_not_square_are_turned_upside_down_only():
    images = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4, 1)
    turns = Turns.of(images)
    assert turns.quarters == (0, 2)
    assert np.array_equal(turns.turn(images, 1), images[:, ::-1, ::-1])
    assert Turns.of(np.zeros((1, 5, 5, 1), np.uint8)).quarters == (0, 1, 2, 3)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (28, 28), (9, 30), (64, 64), (128, 100), (200, 16)])
def test_network_halves_any_image_to_at_most_four_pixels(height, width):
    network = ProbeNetwork(3, height, width, CLASSES, features=64).eval()
    logits, features = network(torch.zeros(2, 3, height, width))
    assert logits.shape == (2, CLASSES)
    assert features.shape == (2, 64)
    assert max(network.trunk[:-1](torch.zeros(1, 3, height, width)).shape[2:]) <= 4


def test_too_few_images_are_refused(tmp_path):
    data = squares(train=1, test=2)
    with pytest.raises(ValueError, match="give more images"):
        load_or_train_probe(data, tmp_path, RECIPE)


def test_every_word_of_the_recipe_changes_the_digest():
    changed = {_digest(replace(RECIPE, **{key: value + 1})) for key, value in asdict(RECIPE).items()}
    assert len(changed | {_digest(RECIPE)}) == len(asdict(RECIPE)) + 1
