"""POST /interpolate: between seeds, codes and images, through waypoints, round in loops."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bundle.philox import labels
from tests.service.support import (
    Client,
    base64_of,
    file_of,
    frames_of,
    images_of,
    picture,
    pixels_of,
    pngs_of,
)


def ask(client: Client, accept: str = "application/json", **body: Any) -> Any:
    wanted = {"from": {"seed": 1}, "to": {"seed": 2}} | {name.rstrip("_"): value for name, value in body.items()}
    return client.post("/interpolate", wanted, headers={"accept": accept})


def drawn(client: Client, seed: int, index: int = 0, **body: Any) -> str:
    return pngs_of(client.post("/sample", {"seed": seed, "start": index} | body))[0]


@pytest.mark.parametrize("method", ["slerp", "lerp"])
def test_ends_are_the_very_images_of_the_endpoints(client: Client, method: str) -> None:
    frames = pngs_of(ask(client, to={"seed": 2, "index": 9}, steps=7, method=method))
    assert len(frames) == 7
    assert (frames[0], frames[-1]) == (drawn(client, 1), drawn(client, 2, 9))


def test_three_waypoints_are_all_met(client: Client) -> None:
    frames = pngs_of(ask(client, via=[{"seed": 3}, {"seed": 4}, {"seed": 5}], steps=17))
    assert frames[::4] == [drawn(client, seed) for seed in (1, 3, 4, 5, 2)]


def test_loop_returns_to_its_start_without_repeating_it(client: Client) -> None:
    frames = pngs_of(ask(client, via=[{"seed": 3}], steps=12, loop=True))
    assert len(frames) == 12
    assert frames[::4] == [drawn(client, seed) for seed in (1, 3, 2)]
    back = pngs_of(ask(client, from_={"seed": 2}, to={"seed": 1}, steps=5))
    assert frames[8:] == back[:-1]


def test_slerp_is_the_default_for_a_normal_prior_and_lerp_without_one(client: Client) -> None:
    default, slerp, lerp = (pngs_of(ask(client, steps=3, method=method))[1] for method in (None, "slerp", "lerp"))
    assert default == slerp != lerp
    ends: Any = {"model": "ae", "from_": {"latent": [1.0, 0, 0, 0]}, "to": {"latent": [0, 1.0, 0, 0]}}
    default, lerp = (pngs_of(ask(client, steps=3, method=method, **ends))[1] for method in (None, "lerp"))
    assert default == lerp


def test_codes_and_seeds_name_the_same_points(client: Client) -> None:
    code = client.post("/sample", {"seed": 1, "include": ["latents"]}).json()["images"][0]["latent"]
    assert pngs_of(ask(client, steps=4, from_={"latent": code})) == pngs_of(ask(client, steps=4))


def test_way_between_two_uploaded_images_begins_and_ends_at_their_reconstructions(client: Client) -> None:
    files = [file_of(picture(16, 16, seed=seed)) for seed in (0, 1)]
    both = {"images": [base64_of(content) for content in files]}
    ends = pngs_of(client.post("/reconstruct", both))
    by_json = ask(client, from_={"image": both["images"][0]}, to={"image": both["images"][1]}, steps=5)
    assert [pngs_of(by_json)[i] for i in (0, 4)] == ends
    assert by_json.json()["seed"] is None
    form = {"from": ("a.png", files[0]), "to": ("b.png", files[1]), "steps": (None, "5")}
    assert pngs_of(client.post("/interpolate", files=form)) == pngs_of(by_json)


def test_images_codes_and_seeds_mix_in_order(client: Client) -> None:
    image = {"image": base64_of(file_of(picture(16, 16)))}
    code = client.post("/encode", {"images": [image["image"]]}).json()["images"][0]["latent"]
    mixed = pngs_of(ask(client, via=[{"seed": 3}, image, {"latent": code}], steps=9))
    codes = pngs_of(ask(client, via=[{"seed": 3}, {"latent": code}, {"latent": code}], steps=9))
    assert mixed == codes


def test_image_of_another_size_is_fitted_on_request(client: Client) -> None:
    point = {"image": base64_of(file_of(picture(40, 30)))}
    assert ask(client, to=point).status_code == 422
    assert len(pngs_of(ask(client, to=point, resize=True, steps=3))) == 3


def test_class_of_the_way_is_the_one_drawn_for_its_first_seed(client: Client) -> None:
    kind = int(labels(3, 1, 0, 1)[0])
    assert kind != labels(3, 2, 0, 1)[0]
    frames = pngs_of(ask(client, model="cvae", steps=5))
    assert frames == pngs_of(ask(client, model="cvae", steps=5, label=kind))
    assert frames[0] == drawn(client, 1, model="cvae")
    assert frames[-1] == drawn(client, 2, model="cvae", label=kind)


def test_label_rules_the_whole_way(client: Client) -> None:
    frames = pngs_of(ask(client, model="cvae", steps=3, label="owl"))
    assert [frames[0], frames[-1]] == [drawn(client, seed, model="cvae", label="owl") for seed in (1, 2)]


@pytest.mark.parametrize("accept", ["image/gif", "image/apng", "image/webp"])
@pytest.mark.parametrize("model", ["fashion-vae", "gan"])
def test_animation_has_every_step_as_a_frame(client: Client, accept: str, model: str) -> None:
    response = ask(client, accept, model=model, steps=9)
    assert response.headers["content-type"] == accept
    assert response.headers["x-seed"] == "1"
    expected = images_of(ask(client, model=model, steps=9))
    frames = frames_of(response.content, expected.shape[-1])
    assert frames.shape == expected.shape
    if accept != "image/gif" or expected.shape[-1] == 1:
        np.testing.assert_array_equal(frames, expected)


def test_fps_sets_the_speed(client: Client) -> None:
    body = {"from": {"seed": 1}, "to": {"seed": 2}, "steps": 4}
    response = client.post("/interpolate?fps=5", body, headers={"accept": "image/gif"})
    assert Image.open(io.BytesIO(response.content)).info["duration"] == 200


def test_png_is_a_strip_of_all_frames(client: Client) -> None:
    strip = pixels_of(ask(client, "image/png", steps=5).content)
    assert strip.shape == (16, 5 * 16 + 4 * 2, 1)
    expected = images_of(ask(client, steps=5))
    for i, frame in enumerate(expected):
        np.testing.assert_array_equal(strip[:, i * 18 : i * 18 + 16], frame)


def test_largest_number_of_steps_is_served(client: Client) -> None:
    assert len(pngs_of(ask(client, steps=64))) == 64
