"""POST /encode and POST /reconstruct."""

import io
from typing import Any

import numpy as np
import pytest

from bundle.pixels import to_graph
from bundle.similarity import psnr, ssim
from bundle.store import Store
from tests.service.support import NPY, Client, base64_of, file_of, images_of, npy_of, picture, pngs_of
from tests.support.bundles import reference

PICTURES = np.stack([picture(16, 16, seed=seed) for seed in range(3)])
FILES = [file_of(pixels) for pixels in PICTURES]
BODY = {"images": [base64_of(content) for content in FILES]}


def codes_of(response: Any, key: str = "latent") -> Any:
    assert response.status_code == 200, response.text
    return np.array([image[key] for image in response.json()["images"]], np.float32)


def test_codes_are_those_of_the_graph(client: Client) -> None:
    bundle = Store(client.app.state.context.settings.store).open("fashion-vae")
    expected = reference(bundle, "encode", {"image": to_graph(PICTURES)})
    response = client.post("/encode", BODY)
    np.testing.assert_allclose(codes_of(response), expected["mean"], atol=1e-5)
    np.testing.assert_allclose(codes_of(response, "logvar"), expected["logvar"], atol=1e-5)
    assert response.json()["model"]["digest"] == bundle.digest
    assert "png" not in response.json()["images"][0]


def test_encoder_without_noise_has_no_logvar(client: Client) -> None:
    body = {"model": "ae", "images": [base64_of(file_of(picture(8, 8)))]}
    assert set(client.post("/encode", body).json()["images"][0]) == {"index", "latent"}


@pytest.mark.parametrize("path", ["/encode", "/reconstruct"])
def test_every_way_to_send_images_gives_the_same_answer(client: Client, path: str) -> None:
    expected = client.post(path, BODY).json()
    form = [("images", ("a.png", content, "image/png")) for content in FILES]
    floats = to_graph(PICTURES)
    answers = [
        client.post(path, files=[*form, ("model", (None, "fashion-vae"))]),
        client.post(f"{path}?model=fashion-vae", content=npy_of(PICTURES), headers=NPY),
        client.post(path, content=npy_of(floats), headers=NPY),
        client.post(path, {"images": [f"data:image/png;base64,{image}" for image in BODY["images"]]}),
    ]
    assert [answer.json() for answer in answers] == [expected] * 4


def test_one_file_or_one_array_may_be_the_body(client: Client) -> None:
    expected = client.post("/encode", {"images": BODY["images"][:1]}).json()
    file = client.post("/encode?model=fashion-vae", content=FILES[0], headers={"content-type": "image/png"})
    array = client.post("/encode", content=npy_of(PICTURES[0]), headers=NPY)
    flat = client.post("/encode", content=npy_of(PICTURES[0, ..., 0]), headers=NPY)
    assert file.json() == array.json() == flat.json() == expected


def test_codes_as_npy_are_the_means(client: Client) -> None:
    response = client.post("/encode", BODY, headers={"accept": "application/x-npy"})
    assert response.headers["x-model"] == "fashion-vae@2"
    np.testing.assert_array_equal(np.load(io.BytesIO(response.content)), codes_of(client.post("/encode", BODY)))


def test_code_of_an_image_is_the_same_alone_and_among_others(client: Client) -> None:
    alone = [codes_of(client.post("/encode", {"images": [image]}))[0] for image in BODY["images"]]
    np.testing.assert_array_equal(codes_of(client.post("/encode", BODY)), alone)


def test_drawn_image_comes_back_through_its_code(client: Client) -> None:
    """The tiny encoder inverts its decoder, up to the rounding of pixels."""
    drawn = client.post("/sample", {"seed": 3, "n": 4})
    sent = [image["png"] for image in drawn.json()["images"]]
    back = client.post("/reconstruct", {"images": sent, "include": ["metrics", "latents"]})
    assert abs(images_of(back).astype(int) - images_of(drawn)).max() <= 2
    assert all(image["metrics"]["psnr"] > 45 for image in back.json()["images"])
    codes = codes_of(client.post("/sample", {"seed": 3, "n": 4, "include": ["latents"]}))
    np.testing.assert_allclose(codes_of(back), codes, atol=0.2)
    assert back.json()["seed"] is None


def test_metrics_are_those_of_upload_and_drawing(client: Client) -> None:
    response = client.post("/reconstruct", BODY | {"include": ["metrics"]})
    sent = np.stack(PICTURES)
    ratios, likenesses = psnr(sent, images_of(response)), ssim(sent, images_of(response))
    for image, ratio, likeness in zip(response.json()["images"], ratios, likenesses, strict=True):
        assert image["metrics"] == {"psnr": pytest.approx(ratio), "ssim": pytest.approx(likeness)}
        assert "latent" not in image


def test_colour_models_take_grey_files_and_grey_models_colour_ones(client: Client) -> None:
    colour = {"model": "colour-vae", "images": [base64_of(file_of(picture(12, 12)))]}
    assert images_of(client.post("/reconstruct", colour)).shape == (1, 12, 12, 3)
    grey = {"images": [base64_of(file_of(picture(16, 16, 3)))]}
    assert images_of(client.post("/reconstruct", grey)).shape == (1, 16, 16, 1)


def test_images_of_other_sizes_are_fitted_on_request(client: Client) -> None:
    body = {"images": [base64_of(file_of(picture(50, 30))), BODY["images"][0]], "resize": True}
    found = pngs_of(client.post("/reconstruct", body))
    assert found[1] == pngs_of(client.post("/reconstruct", BODY))[0]


def test_label_goes_to_encoder_and_decoder(client: Client) -> None:
    images = [base64_of(file_of(picture(8, 8)))] * 2
    codes = codes_of(client.post("/encode", {"model": "cvae", "images": images, "label": ["cat", "owl"]}))
    assert (codes[0] != codes[1]).any()
    both = client.post("/reconstruct", {"model": "cvae", "images": images, "label": ["cat", "owl"]})
    one = client.post("/reconstruct", {"model": "cvae", "images": images[:1], "label": 2})
    assert pngs_of(both)[1] == pngs_of(one)[0]


def test_autoencoder_without_prior_reconstructs(client: Client) -> None:
    body = {"model": "ae", "images": [base64_of(file_of(picture(8, 8)))]}
    assert images_of(client.post("/reconstruct", body)).shape == (1, 8, 8, 1)


def test_reconstructions_as_one_png_are_a_grid(client: Client) -> None:
    response = client.post("/reconstruct", BODY, headers={"accept": "image/png"})
    assert response.headers["content-type"] == "image/png"
    assert "x-seed" not in response.headers
