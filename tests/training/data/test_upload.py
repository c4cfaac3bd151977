"""Uploaded sets as training sees them."""

from pathlib import Path

import numpy as np
import pytest

from bundle.uploads.store import UploadStore
from tests.bundle.uploads.files import npz, pixels, png, zipped
from training.data.load import load_dataset
from training.errors import DataError
from training.recipe import DataRecipe

X = np.stack([pixels(i) for i in range(60)])


@pytest.fixture
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UploadStore:
    monkeypatch.setenv("GENSERVE_UPLOADS", str(tmp_path))
    return UploadStore(tmp_path)


def recipe(upload: str, **fields: object) -> DataRecipe:
    return DataRecipe.model_validate({"name": "upload", "upload": upload, **fields})


def test_a_zip_with_classes_is_split_by_content_and_keeps_its_labels(uploads: UploadStore) -> None:
    upload = uploads.receive([zipped((f"{'ab'[i % 2]}/{i:02}.png", png(i)) for i in range(60))])
    found = load_dataset(recipe(upload.id, test_share=0.3, licence="CC0-1.0"))
    assert (found.name, found.label_names, found.licence) == (f"upload-{upload.id[:12]}", ("a", "b"), "CC0-1.0")
    assert len(found.train) + len(found.test) == 60
    assert 0 < len(found.test) < 40
    for part in (found.train, found.test):
        for image, label in zip(part.images, part.labels if part.labels is not None else [], strict=True):
            assert any(np.array_equal(image, X[i]) and label == i % 2 for i in range(60))
    assert load_dataset(recipe(upload.id, test_share=0.3)).sha256 == found.sha256


def test_a_split_that_came_with_the_set_is_kept(uploads: UploadStore) -> None:
    upload = uploads.receive([npz(x_train=X[:50], x_test=X[50:])])
    found = load_dataset(recipe(upload.id))
    np.testing.assert_array_equal(found.train.images, X[:50])
    np.testing.assert_array_equal(found.test.images, X[50:])
    assert found.label_names is None


def test_two_equal_images_are_enough(uploads: UploadStore) -> None:
    upload = uploads.receive([npz(images=np.repeat(X[:1], 2, axis=0))])
    found = load_dataset(recipe(upload.id))
    assert (len(found.train), len(found.test)) == (1, 1)


def test_a_set_that_is_missing_or_changed_is_refused_with_what_to_do(uploads: UploadStore) -> None:
    with pytest.raises(DataError, match="GENSERVE_UPLOADS"):
        load_dataset(recipe("0" * 64))
    upload = uploads.receive([npz(images=X)])
    path = uploads.root / upload.id / "images.npz"
    path.write_bytes(npz(images=X[::-1]))
    with pytest.raises(DataError, match="send it again"):
        load_dataset(recipe(upload.id))
