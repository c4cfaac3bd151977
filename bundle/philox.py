"""Counter-based uniform random numbers: number j of image i of a seed costs the same for every i.

Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (Philox 4x64-10), SC 2011,
https://doi.org/10.1145/2063384.2063405.
"""

import hashlib
import operator
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.errors import LatentError

MAX_SEED = 2**53 - 1  # every JSON reader keeps such an integer whole
MAX_INDEX = 2**53 - 1
Range = tuple[int, int, int]  # seed, index of the first image, number of images
_WORD = 2**64 - 1
_WORDS_PER_BLOCK = 4  # Philox 4x64 makes four 64-bit words for each value of its counter


def uniforms(seed: int, start: int, n: int, draws: int, stream: str = "z") -> NDArray[np.float64]:
    """`draws` uniform numbers for each of the images `start` to `start + n - 1` of a seed.

    A pure function of (seed, stream, image index, draw index): row i is the same whether it is asked for alone
    or among others.

    Args:
        seed: 0 to 2**53 - 1.
        start: Index of the first image, 0 to 2**53 - 1.
        n: Number of images, at least 0.
        draws: Numbers per image, at least 0.
        stream: What the numbers are for; different streams of one seed are independent.

    Returns:
        Shape (n, draws), in [0, 1).

    Raises:
        LatentError: If a number is out of its range.
    """
    return uniforms_of([checked_range(seed, start, n)], draws, stream)


def uniforms_of(ranges: Sequence[Range], draws: int, stream: str = "z") -> NDArray[np.float64]:
    """The numbers of several ranges of images, one after the other, for a third of what each alone would take.

    Args:
        ranges: At least one; seed, start and n as `checked_range` gives them.
        draws: Numbers per image, at least 0.
        stream: As for `uniforms`.

    Returns:
        Shape (sum of all n, draws), in [0, 1).
    """
    blocks = -(-draws // _WORDS_PER_BLOCK)
    width = blocks * _WORDS_PER_BLOCK
    salt = _stream_key(stream)
    # The generator's first block has the counter after the one that it is set to.
    parts = [_generator.uniforms(seed, salt, start * blocks, n * width) for seed, start, n in ranges]
    found = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return found.reshape(found.size // width if width else sum([n for _, _, n in ranges]), width)[:, :draws]


def checked_range(seed: int, start: int, n: int) -> Range:
    """A seed, the index of its first image and the number of images.

    Raises:
        LatentError: If one of them is out of its range.
    """
    if type(seed) is type(start) is type(n) is int and 0 <= seed <= MAX_SEED and 0 <= start <= start + n <= MAX_INDEX:
        return seed, start, n
    start = _whole("start", start, 0, MAX_INDEX)
    return _whole("seed", seed, 0, MAX_SEED), start, _whole("n", n, 0, MAX_INDEX - start + 1)


def labels(classes: int, seed: int, start: int, n: int) -> NDArray[np.int64]:
    """A class for each image, uniform over `classes`, from the seed's own label stream; shape (n,)."""
    return labels_of(classes, [checked_range(seed, start, n)])


def labels_of(classes: int, ranges: Sequence[Range]) -> NDArray[np.int64]:
    """The classes of several ranges of images, one after the other; shape (sum of all n,)."""
    classes = _whole("classes", classes, 1, MAX_INDEX)
    return np.floor(uniforms_of(ranges, 1, stream="label")[:, 0] * classes).astype(np.int64)


def _whole(name: str, value: int, smallest: int, largest: int) -> int:
    """The value as Python's own int: numpy's would overflow in the key and the counter."""
    if type(value) is int and smallest <= value <= largest:
        return value
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not smallest <= number <= largest:
        raise LatentError(f"{name} is {value}; expected a whole number from {smallest} to {largest}")
    return number


class _Generator(threading.local):
    """numpy's Philox, one per thread, set anew for each use: making one takes five times as long.

    It makes a float64 of each word's upper 53 bits, times 2**-53. The state is kept in lists of Python's numbers, which
    it reads in a third of the time that arrays take.
    """

    def __init__(self) -> None:
        self._philox = np.random.Philox(key=0)
        self._random = np.random.Generator(self._philox).random
        self._counter = [0, 0, 0, 0]
        self._key = [0, 0]
        self._state: Any = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": self._key},
            "buffer": [0] * _WORDS_PER_BLOCK,
            "buffer_pos": _WORDS_PER_BLOCK,  # nothing is left over from an earlier block
            "has_uint32": 0,
            "uinteger": 0,
        }

    def uniforms(self, seed: int, salt: int, counter: int, n: int) -> NDArray[np.float64]:
        self._key[:] = seed, salt
        self._counter[:2] = counter & _WORD, counter >> 64
        self._philox.state = self._state
        return self._random(n)


_generator = _Generator()


@lru_cache(maxsize=64)
def _stream_key(stream: str) -> int:
    return int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")
