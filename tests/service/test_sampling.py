"""POST /sample: the same image for the same seed, in every format, with every knob."""

import asyncio
import io
import zipfile
from typing import Any

import numpy as np
import pytest

from bundle.latents import latents
from bundle.philox import MAX_INDEX, labels
from bundle.store import Store
from tests.service.support import (
    NPY,
    Client,
    base64_of,
    frames_of,
    images_of,
    npy_of,
    pixels_of,
    pngs_of,
)
from tests.support.bundles import reference

MODELS = ["fashion-vae", "fashion-vae@1", "gan", "colour-vae", "cvae"]


@pytest.mark.parametrize("model", MODELS)
def test_seed_gives_the_same_bytes_alone_in_a_batch_and_at_an_offset(client: Client, model: str) -> None:
    batch = pngs_of(client.post("/sample", {"model": model, "n": 70, "seed": 7}))
    again = pngs_of(client.post("/sample", {"model": model, "n": 70, "seed": 7}))
    offset = pngs_of(client.post("/sample", {"model": model, "n": 9, "seed": 7, "start": 50}))
    alone = [pngs_of(client.post("/sample", {"model": model, "seed": 7, "start": i}))[0] for i in (0, 1, 33, 69)]
    assert len(set(batch)) > 60
    assert again == batch
    assert offset == batch[50:59]
    assert alone == [batch[i] for i in (0, 1, 33, 69)]


def test_seed_gives_the_same_bytes_under_concurrent_load(client: Client) -> None:
    def ask(seed: int, n: int) -> dict[str, Any]:
        return {"seed": seed, "n": n, "model": MODELS[seed % len(MODELS)]}

    requests = [ask(seed, 1 + seed * 7 % 23) for seed in range(40)]
    alone = [pngs_of(client.post("/sample", request)) for request in requests]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(client.http.post("/sample", json=request) for request in requests))

    assert [pngs_of(response) for response in client.run(all_at_once())] == alone


def test_image_is_that_of_the_graph_for_the_code_of_the_seed(client: Client) -> None:
    bundle = Store(client.app.state.context.settings.store).open("colour-vae")
    assert bundle.manifest.prior is not None
    z = latents(bundle.manifest.prior, 7, 3, 4)
    response = client.post("/sample", {"model": "colour-vae", "seed": 7, "start": 3, "n": 4, "include": ["latents"]})
    answer = response.json()
    np.testing.assert_array_equal(np.array([image["latent"] for image in answer["images"]], np.float32), z)
    difference = images_of(response).astype(int) - reference(bundle, "decode", {"z": z})["pixels"]
    assert abs(difference).max() <= 1
    assert answer["model"] == {
        "name": "colour-vae",
        "version": 1,
        "digest": bundle.digest,
        "runtime": "onnxruntime",
        "provider": "CPUExecutionProvider",
    }
    assert (answer["seed"], [image["index"] for image in answer["images"]]) == (7, [3, 4, 5, 6])


def test_seed_that_is_left_out_is_told_and_gives_the_same_images(client: Client) -> None:
    first, second = client.post("/sample", {"n": 2}), client.post("/sample", {"n": 2})
    assert first.json()["seed"] != second.json()["seed"]
    assert pngs_of(client.post("/sample", {"n": 2, "seed": first.json()["seed"]})) == pngs_of(first)


def test_empty_body_draws_one_image_of_the_default_model(client: Client) -> None:
    answer = client.post("/sample").json()
    assert (answer["model"]["name"], answer["model"]["version"], len(answer["images"])) == ("fashion-vae", 2, 1)


def test_versions_and_aliases_choose_the_model(client: Client) -> None:
    by_version = client.post("/sample", {"model": "fashion-vae@1", "seed": 1})
    by_alias = client.post("/sample", {"model": "fashion-vae@first", "seed": 1})
    assert pngs_of(by_version) == pngs_of(by_alias)
    assert by_alias.json()["model"]["version"] == 1
    assert pngs_of(client.post("/sample", {"seed": 1})) != pngs_of(by_version)


def test_latents_outright_give_the_image_that_they_came_from(client: Client) -> None:
    drawn = client.post("/sample", {"n": 3, "seed": 5, "include": ["latents"]})
    codes = [image["latent"] for image in drawn.json()["images"]]
    by_json = client.post("/sample", {"latents": codes})
    by_npy = client.post("/sample?model=fashion-vae", content=npy_of(np.array(codes, np.float32)), headers=NPY)
    by_double = client.post("/sample", content=npy_of(np.array(codes)), headers=NPY)
    assert pngs_of(by_json) == pngs_of(by_npy) == pngs_of(by_double) == pngs_of(drawn)
    assert by_json.json()["seed"] is None


def test_truncation_pulls_codes_towards_the_centre(client: Client) -> None:
    def codes(truncation: float) -> Any:
        body = {"n": 4, "seed": 5, "truncation": truncation, "include": ["latents"]}
        return np.array([image["latent"] for image in client.post("/sample", body).json()["images"]], np.float32)

    np.testing.assert_allclose(codes(0.5), codes(1) / 2, rtol=1e-6)
    assert not codes(0).any()


def test_labels_by_number_name_and_list_are_the_same(client: Client) -> None:
    def ask(label: Any, n: int = 3) -> list[str]:
        return pngs_of(client.post("/sample", {"model": "cvae", "seed": 5, "n": n, "label": label}))

    assert ask("dog") == ask(1) == ask([1, 1, 1]) == ask(["dog", 1, "dog"])
    assert ask("owl") != ask("dog")
    assert ask(["cat", "dog", "owl"]) == [ask("cat")[0], ask("dog")[1], ask("owl")[2]]


def test_index_beyond_all_is_the_clients_mistake_even_where_only_labels_are_drawn(client: Client) -> None:
    width = client.get("/models/cvae").json()["latent_dim"]
    body = {"model": "cvae", "latents": [[0.0] * width] * 2, "start": MAX_INDEX}
    problem = client.post("/sample", body)
    assert (problem.status_code, problem.json()["code"]) == (422, "invalid_request")


def test_label_that_is_left_out_is_drawn_from_the_seed(client: Client) -> None:
    drawn = labels(3, 5, 10, 20).tolist()
    assert len(set(drawn)) == 3
    body = {"model": "cvae", "seed": 5, "n": 20, "start": 10}
    assert pngs_of(client.post("/sample", body)) == pngs_of(client.post("/sample", body | {"label": drawn}))


def test_form_and_query_say_the_same_as_json(client: Client) -> None:
    expected = pngs_of(client.post("/sample", {"model": "cvae", "seed": 5, "n": 2, "label": "dog"}))
    form = {"model": "cvae", "seed": "5", "n": "2", "label": "dog", "include": "latents"}
    response = client.post("/sample", files={name: (None, value) for name, value in form.items()})
    assert pngs_of(response) == expected
    assert "latent" in response.json()["images"][0]
    codes = npy_of(np.array([image["latent"] for image in response.json()["images"]], np.float32))
    assert pngs_of(client.post("/sample?model=cvae&label=dog", content=codes, headers=NPY)) == expected


@pytest.mark.parametrize("model", ["fashion-vae", "gan"])
def test_every_lossless_format_decodes_to_the_same_pixels(client: Client, model: str) -> None:
    body = {"model": model, "n": 6, "seed": 7, "start": 2}
    expected = images_of(client.post("/sample", body))
    channels = expected.shape[-1]

    def ask(accept: str) -> bytes:
        response = client.post("/sample", body, headers={"accept": accept})
        assert (response.status_code, response.headers["content-type"]) == (200, accept)
        assert response.headers["x-model"].startswith(f"{model}@")
        assert len(response.headers["x-model-digest"]) == 64
        assert (response.headers["x-seed"], response.headers["x-start"]) == ("7", "2")
        if accept == "application/octet-stream":
            assert response.headers["x-shape"] == ",".join(map(str, expected.shape))
            assert response.headers["x-dtype"] == "uint8"
        return response.content

    np.testing.assert_array_equal(np.load(io.BytesIO(ask("application/x-npy"))), expected)
    assert ask("application/octet-stream") == expected.tobytes()
    np.testing.assert_array_equal(frames_of(ask("image/apng"), channels), expected)
    archive = zipfile.ZipFile(io.BytesIO(ask("application/zip")))
    found = np.stack([pixels_of(archive.read(f"{i:04d}.png")) for i in range(2, 8)])
    np.testing.assert_array_equal(found, expected)
    grid = pixels_of(ask("image/png"))
    height, width = expected.shape[1:3]
    for i, image in enumerate(expected):
        top, left = i // 3 * (height + 2), i % 3 * (width + 2)
        np.testing.assert_array_equal(grid[top : top + height, left : left + width], image)
    webp = pixels_of(ask("image/webp"))
    np.testing.assert_array_equal(webp, np.broadcast_to(grid, webp.shape))
    assert pixels_of(ask("image/jpeg")).shape == grid.shape
    assert len(frames_of(ask("image/gif"), channels)) == 6


def test_one_image_as_png_is_that_image(client: Client) -> None:
    body = {"seed": 7}
    response = client.post("/sample", body, headers={"accept": "image/png"})
    assert base64_of(response.content) == pngs_of(client.post("/sample", body))[0]


def test_quality_changes_a_jpeg(client: Client) -> None:
    def size(query: str) -> int:
        return len(client.post(f"/sample{query}", {"n": 16, "seed": 7}, headers={"accept": "image/jpeg"}).content)

    assert size("?quality=5") < size("") < size("?quality=100")


def test_largest_request_is_served(client: Client) -> None:
    assert len(images_of(client.post("/sample", {"n": 128, "seed": 1}))) == 128


def test_far_away_image_costs_no_more_than_the_first(client: Client) -> None:
    assert len(pngs_of(client.post("/sample", {"seed": 1, "start": 2**53 - 2}))) == 1
