"""The bytes of a row are the same in every batch, for every interleaving of requests."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.latents import latents
from bundle.priors import Normal
from bundle.store import Bundle
from service.catalog import Catalog
from service.engine.invariance import NotInvariantError, Padding, find_padding
from service.settings import Settings
from tests.service.engine.fakes import Array, FakeRuntime, run
from tests.support.bundles import publish

TOTAL = 48
X = {"x": np.random.default_rng(0).normal(size=(3, 4))}


@pytest.fixture(scope="module", params=["mlp", "wide mlp", "conv"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    root = tmp_path_factory.mktemp("store")
    if request.param == "wide mlp":  # the sizes of the published VAE on MNIST
        return publish(root, kind="mlp", latent_dim=20, hidden=200, size=28)
    return publish(root, kind=request.param)


@pytest.fixture(scope="module")
def alone(bundle: Bundle) -> list[bytes]:
    """Each image by itself."""
    found: list[bytes] = []

    async def main() -> None:
        catalog = await Catalog.open(Settings(store=bundle.path.parent.parent, lanes=1, max_batch_size=1))
        model = catalog.get(bundle.manifest.name)
        for row in codes(bundle):
            answer = await model.run("decode", {"z": row[None]}, ["image", "pixels"])
            found.append(answer["image"].tobytes() + answer["pixels"].tobytes())
        await catalog.close(5)

    run(main())
    return found


def codes(bundle: Bundle) -> Array:
    prior = bundle.manifest.prior
    assert isinstance(prior, Normal)
    return latents(prior, seed=7, start=0, n=TOTAL)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 24), min_size=1, max_size=12),
    largest=st.sampled_from([1, 2, 3, 5, 8, 16, 64]),
    lanes=st.integers(1, 3),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_any_interleaving_gives_the_bytes_of_each_alone(
    bundle: Bundle, alone: list[bytes], sizes: list[int], largest: int, lanes: int, pauses: Sequence[bool]
) -> None:
    z = codes(bundle)

    async def main() -> None:
        store = bundle.path.parent.parent
        catalog = await Catalog.open(Settings(store=store, lanes=lanes, max_batch_size=largest))
        model = catalog.get(bundle.manifest.name)
        tasks = []
        for number, (size, pause) in enumerate(zip(sizes, pauses, strict=False)):
            which = (np.arange(size) + 5 * number) % TOTAL
            task = asyncio.create_task(model.run("decode", {"z": z[which]}, ["image", "pixels"]))
            tasks.append((which, task))
            if pause:
                await asyncio.sleep(0.001)
        for which, task in tasks:
            answer = await task
            for row, image, pixels in zip(which, answer["image"], answer["pixels"], strict=True):
                assert image.tobytes() + pixels.tobytes() == alone[row]
        await catalog.close(5)

    run(main())


def on_small_batches(limit: int) -> FakeRuntime:
    """Another kernel, with other roundings, for batches below a size."""
    return FakeRuntime(lambda x: np.asarray(x + 1e-12 * (len(x) < limit)))


@pytest.mark.parametrize("largest", [1, 2, 5, 64])
def test_graph_that_is_invariant_gets_no_padding(largest: int) -> None:
    assert find_padding(FakeRuntime(), X, ["y"], largest) == Padding(1, 1)


@pytest.mark.parametrize("largest", [1, 2, 5, 64])
@pytest.mark.parametrize("limit", [2, 4, 8])
def test_graph_whose_small_batches_differ_is_padded_up_to_those_that_agree(limit: int, largest: int) -> None:
    assert find_padding(on_small_batches(limit), X, ["y"], largest) == Padding(limit, 1)


def test_graph_whose_last_odd_rows_differ_is_padded_to_the_width_of_its_kernel() -> None:
    def step(x: Array) -> Array:
        tail = np.arange(len(x)) >= len(x) // 4 * 4
        return np.asarray(x + 1e-12 * tail[:, None])

    assert find_padding(FakeRuntime(step), X, ["y"], max_batch_size=5) == Padding(4, 4)


def test_kernel_of_the_largest_batch_is_tried_too() -> None:
    with pytest.raises(NotInvariantError):
        find_padding(FakeRuntime(lambda x: np.asarray(x + 1e-12 * (len(x) > 100))), X, ["y"], max_batch_size=128)


def test_graph_whose_rows_depend_on_each_other_is_found_out() -> None:
    with pytest.raises(NotInvariantError):
        find_padding(FakeRuntime(lambda x: x - x.mean(axis=0)), X, ["y"], max_batch_size=16)


@pytest.mark.parametrize(
    ("n", "padding", "rows"),
    [
        (1, Padding(4), 4),
        (5, Padding(4), 5),
        (5, Padding(4, 4), 8),
        (5, Padding(ladder=(1, 2, 4, 8, 12)), 8),
        (9, Padding(8, 8, ladder=(1, 2, 4, 8, 12, 16)), 16),
        (1, Padding(4, 4, ladder=(1, 2, 6)), 4),
    ],
)
def test_padding_adds_no_more_rows_than_its_rule_needs(n: int, padding: Padding, rows: int) -> None:
    assert padding.rows(n) == rows


def test_seed_gives_the_same_images_under_load_as_alone(tmp_path: Path) -> None:
    made = publish(tmp_path, kind="mlp")
    z = codes(made)

    async def main() -> None:
        catalog = await Catalog.open(Settings(store=tmp_path))
        model = catalog.get("tiny")
        calm = (await model.run("decode", {"z": z}, ["pixels"]))["pixels"]
        noise = [asyncio.create_task(model.run("decode", {"z": z[i % 7 :: 7]}, ["pixels"])) for i in range(100)]
        loaded = await asyncio.gather(*(model.run("decode", {"z": z[i : i + 1]}, ["pixels"]) for i in range(TOTAL)))
        await asyncio.gather(*noise)
        assert np.concatenate([answer["pixels"] for answer in loaded]).tobytes() == calm.tobytes()
        assert len({answer["pixels"].tobytes() for answer in loaded}) == TOTAL
        await catalog.close(5)

    run(main())
