"""Splits that hold, and batches that depend on (seed, position) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.data.dataset import ImageSet, split_by_hash
from training.data.stream import BatchStream, to_float


def numbered(n: int) -> ImageSet:
    """Images whose every pixel, and label, is their number."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 8, 8, 1))
    return ImageSet(np.ascontiguousarray(images), np.arange(n, dtype=np.int64))


def taken(stream: BatchStream, batches: int) -> list[int]:
    found: list[int] = []
    for _ in range(batches):
        batch = stream.next()
        assert batch.label is not None
        assert batch.image.shape == (stream.batch_size, 1, 8, 8)
        assert torch.equal(batch.image[:, 0, 0, 0], batch.label / 127.5 - 1)
        found += batch.label.tolist()
    return found


@given(
    n=st.integers(1, 30),
    size=st.integers(1, 70),
    seed=st.integers(0, 2**31 - 1),
    before=st.integers(0, 5),
)
def test_stream_goes_on_from_any_position_as_if_it_had_never_stopped(n: int, size: int, seed: int, before: int) -> None:
    whole = taken(BatchStream(numbered(n), size, seed), before + 3)
    assert taken(BatchStream(numbered(n), size, seed, position=before * size), 3) == whole[before * size :]


@given(n=st.integers(1, 30), size=st.integers(1, 70), seed=st.integers(0, 1000))
def test_every_epoch_is_a_permutation_even_for_batches_larger_than_the_set(n: int, size: int, seed: int) -> None:
    found = taken(BatchStream(numbered(n), size, seed), 2 * n)
    epochs = [found[start : start + n] for start in range(0, len(found) - n + 1, n)]
    assert epochs
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    found = taken(BatchStream(numbered(200), 200, seed=0), 3)
    orders = [found[:200], found[200:400], found[400:], taken(BatchStream(numbered(200), 200, seed=1), 1)]
    assert len({tuple(order) for order in [*orders, list(range(200))]}) == 5


def test_every_byte_comes_back_from_its_float() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    image = to_float(values)
    assert (image.min().item(), image.max().item()) == (-1.0, 1.0)
    assert torch.equal(((image + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1), torch.from_numpy(values))


def test_split_decides_each_key_alone_so_that_a_set_may_grow() -> None:
    keys = [str(i).encode() for i in range(5000)]
    sides = split_by_hash(keys, 0.2)
    assert 0.18 < sides.mean() < 0.22
    order = np.random.default_rng(0).permutation(5000)[:700]
    np.testing.assert_array_equal(split_by_hash([keys[i] for i in order], 0.2), sides[order])
    assert (split_by_hash(keys, 0.3) >= sides).all()


def test_equal_keys_are_on_one_side() -> None:
    keys = [str(i % 7).encode() for i in range(70)]
    sides = split_by_hash(keys, 0.5).reshape(10, 7)
    assert (sides == sides[0]).all()
    assert 0 < sides[0].sum() < 7


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_shares_of_nothing_and_all_are_kept(share: float) -> None:
    assert (split_by_hash([b"a", b"b"], share) == bool(share)).all()
