"""The random numbers under every latent code: the published generator, addressed the documented way."""

import hashlib
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bundle.errors import LatentError
from bundle.philox import MAX_INDEX, MAX_SEED, labels, uniforms

M0, M1 = 0xD2E7470EE14C6C93, 0xCA5A826395121157
W0, W1 = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
MASK = 2**64 - 1
ONES = MASK
PI = (0x243F6A8885A308D3, 0x13198A2E03707344, 0xA4093822299F31D0, 0x082EFA98EC4E6C89)

# Random123, tests/kat_vectors, lines "philox4x64 10": counter, key, result.
KNOWN_ANSWERS = [
    ((0,) * 4, (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
    ((ONES,) * 4, (ONES,) * 2, (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    (
        PI,
        (0x452821E638D01377, 0xBE5466CF34E90C6C),
        (0xA528F45403E61D95, 0x38C72DBD566E9788, 0xA5A1610E72FD18B5, 0x57BD43B5E52B7FE6),
    ),
]


def philox_4x64_10(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """The block function as the paper (section 3.3) writes it, in Python's whole numbers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        first, second = c0 * M0, c2 * M1
        c0, c1, c2, c3 = (second >> 64) ^ c1 ^ k0, second & MASK, (first >> 64) ^ c3 ^ k1, first & MASK
        k0, k1 = (k0 + W0) & MASK, (k1 + W1) & MASK
    return c0, c1, c2, c3


def split(number: int, words: int) -> tuple[int, ...]:
    return tuple(number >> (64 * i) & MASK for i in range(words))


def join(words: tuple[int, ...]) -> int:
    return sum(word << (64 * i) for i, word in enumerate(words))


def documented_uniforms(seed: int, index: int, draws: int, stream: str) -> list[float]:
    """docs/bundle.md, "Seeds to uniform numbers", step by step and without numpy."""
    stream_key = int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
    blocks = (draws + 3) // 4
    words: list[int] = []
    for block in range(blocks):
        counter = (index * blocks + block + 1) % 2**256
        words.extend(philox_4x64_10(split(counter, 4), (seed, stream_key)))
    return [(word >> 11) / 2**53 for word in words[:draws]]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_numpy_gives_the_known_answers_of_random123(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    before = (join(counter) - 1) % 2**256  # numpy adds one to the counter before it makes a block
    generator = np.random.Philox(key=join(key), counter=before)
    assert tuple(int(word) for word in generator.random_raw(4)) == expected


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_the_test_s_own_philox_gives_the_known_answers_too(
    counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert philox_4x64_10(counter, key) == expected


@pytest.mark.parametrize("draws", [1, 3, 4, 5, 64])
@pytest.mark.parametrize("stream", ["z", "label"])
@pytest.mark.parametrize("start", [0, 10**6, 2**53 - 2])
@pytest.mark.parametrize("seed", [0, 7, MAX_SEED])
def test_uniforms_are_what_the_documentation_says(seed: int, start: int, stream: str, draws: int) -> None:
    found = uniforms(seed, start, 2, draws, stream)
    assert found.tolist() == [documented_uniforms(seed, start + i, draws, stream) for i in range(2)]


def test_the_check_values_of_the_documentation_are_true() -> None:
    page = (Path(__file__).parents[2] / "docs" / "bundle.md").read_text(encoding="utf-8")
    assert " ".join(str(u) for u in documented_uniforms(7, 0, 4, "z")) in page


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    u = uniforms(3, 0, 20_000, 6)
    assert u.min() >= 0
    assert u.max() < 1
    np.testing.assert_allclose(u.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(np.cov(u.T), np.eye(6) / 12, atol=0.002)


def test_streams_and_seeds_and_neighbours_are_unrelated() -> None:
    def first(seed: int, start: int, stream: str) -> NDArray[np.float64]:
        return uniforms(seed, start, 5_000, 1, stream)[:, 0]

    columns = [first(1, 0, "z"), first(1, 0, "label"), first(2, 0, "z"), first(1, 1, "z")]
    correlation = np.corrcoef(columns)
    np.testing.assert_allclose(correlation, np.eye(4), atol=0.06)


def test_the_last_image_of_a_seed_can_be_drawn_and_the_one_after_it_cannot() -> None:
    assert uniforms(0, MAX_INDEX, 1, 3).shape == (1, 3)
    with pytest.raises(LatentError, match="n is 2; expected a whole number from 0 to 1"):
        uniforms(0, MAX_INDEX, 2, 3)


@pytest.mark.parametrize(
    ("seed", "start", "n"),
    [
        (-1, 0, 1),
        (MAX_SEED + 1, 0, 1),
        (0, -1, 1),
        (0, MAX_INDEX + 1, 0),
        (0, 0, -1),
        (0.5, 0, 1),
        (0, 1.0, 1),
        ("1", 0, 1),
    ],
)
def test_numbers_out_of_range_are_refused(seed: int, start: int, n: int) -> None:
    with pytest.raises(LatentError, match="expected a whole number from 0"):
        uniforms(seed, start, n, 1)


def test_integers_of_numpy_neither_overflow_nor_change_the_result() -> None:
    seed, start, n = (cast(int, np.int64(value)) for value in (MAX_SEED, 2**53 - 3, 2))
    found = uniforms(seed, start, n, 5_000)
    np.testing.assert_array_equal(found, uniforms(MAX_SEED, 2**53 - 3, 2, 5_000))


def test_no_images_and_no_draws_give_empty_arrays() -> None:
    assert uniforms(0, 5, 0, 3).shape == (0, 3)
    assert uniforms(0, 5, 3, 0).shape == (3, 0)


def test_labels_are_uniform_and_the_same_at_any_offset() -> None:
    found = labels(10, 5, 0, 20_000)
    assert found.dtype == np.int64
    np.testing.assert_allclose(np.bincount(found, minlength=10) / len(found), 0.1, atol=0.01)
    np.testing.assert_array_equal(labels(10, 5, 1_234, 7), found[1_234:1_241])


def test_labels_need_a_class() -> None:
    with pytest.raises(LatentError, match="classes is 0; expected a whole number from 1"):
        labels(0, 0, 0, 1)
