"""Uploads of every kind become what the model takes, or an error that says why not."""

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bundle.manifest import ImageSpec
from bundle.pixels import from_graph, to_graph
from service.errors import ImageError
from service.images import Megapixels, decode_all
from tests.service.support import Pixels, file_of, picture

GREY = ImageSpec(channels=1, height=12, width=10)
COLOUR = ImageSpec(channels=3, height=12, width=10)


def decode(upload: Any, spec: ImageSpec = COLOUR, resize: bool = False, limit: float = 1.0) -> Pixels:
    found: Pixels = decode_all([upload], spec, resize, Megapixels(limit, 10.0))[0]
    return found


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP"])
def test_lossless_colour_file_is_taken_as_it_is(kind: str) -> None:
    pixels = picture(12, 10, 3)
    content = file_of(pixels, kind, lossless=True) if kind == "WEBP" else file_of(pixels, kind)
    np.testing.assert_array_equal(decode(content), pixels)


def test_jpeg_is_taken_nearly_as_it_is() -> None:
    pixels = np.broadcast_to(np.linspace(0, 255, 12).astype(np.uint8)[:, None, None], (12, 10, 3))
    assert np.abs(decode(file_of(pixels, "JPEG", quality=95)).astype(int) - pixels).max() < 12


def test_grey_file_becomes_colour_for_a_colour_model() -> None:
    pixels = picture(12, 10)
    np.testing.assert_array_equal(decode(file_of(pixels)), np.repeat(pixels, 3, axis=2))


def test_colour_file_becomes_grey_for_a_grey_model_by_luma() -> None:
    red = np.zeros((12, 10, 3), np.uint8)
    red[..., 0] = 255
    assert (decode(file_of(red), GREY) == 76).all()  # ITU-R 601: 0.299 of 255


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_become_white(mode: str) -> None:
    image = Image.new(mode, (10, 12), (0,) * len(mode))
    image.paste((0,) * (len(mode) - 1) + (255,), (0, 0, 5, 12))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    found = decode(buffer.getvalue())
    assert (found[:, :5] == 0).all()
    assert (found[:, 5:] == 255).all()


def test_transparent_colour_of_a_palette_becomes_white() -> None:
    image = Image.fromarray(np.full((12, 10), 3, np.uint8)).convert("P")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", transparency=3)
    assert (decode(buffer.getvalue(), GREY) == 255).all()


def test_sixteen_bits_become_eight_by_scaling() -> None:
    values = np.linspace(0, 65535, 120).astype(np.uint16).reshape(12, 10)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue(), GREY)[..., 0], np.rint(values / 257.0))


def test_one_bit_file_becomes_black_and_white() -> None:
    bits = picture(12, 10)[..., 0] > 127
    buffer = io.BytesIO()
    Image.fromarray(bits).save(buffer, "PNG")
    np.testing.assert_array_equal(decode(buffer.getvalue(), GREY)[..., 0], bits * 255)


def test_photograph_that_lies_on_its_side_is_turned_upright() -> None:
    upright = picture(12, 10, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown upright when turned clockwise by 90 degrees
    stored = np.ascontiguousarray(np.rot90(upright))
    np.testing.assert_array_equal(decode(file_of(stored, exif=exif.tobytes())), upright)


@pytest.mark.parametrize("shape", [(12, 10), (12, 10, 1), (12, 10, 3)])
def test_arrays_are_taken_like_files(shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    expected = array if shape[-1] == 3 else np.repeat(array.reshape(12, 10, 1), 3, axis=2)
    np.testing.assert_array_equal(decode(array), expected)


def test_resizing_cuts_out_the_centre_and_keeps_the_aspect() -> None:
    wide = np.zeros((24, 60, 3), np.uint8)
    wide[:, 20:40] = 200  # the middle third, which is what 10:12 leaves of 60:24
    found = decode(file_of(wide), resize=True).astype(int)
    assert (abs(found - 200) <= 12).all()  # the filter reaches over the edge of the cut a little
    assert (abs(found[:, 2:-2] - 200) <= 1).all()


def test_other_size_is_refused_with_both_sizes_and_what_to_do() -> None:
    with pytest.raises(ImageError, match=r"10x13.*10x12.*resize"):
        decode(file_of(picture(13, 10, 3)))


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    broken = file_of(np.zeros((2000, 1000), np.uint8))[:200]  # decoding this would fail otherwise
    with pytest.raises(ImageError, match=r"1000x2000, 2\.0 megapixels; at most 1"):
        decode(broken)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF"])
def test_animation_is_refused(kind: str) -> None:
    frames = [Image.fromarray(picture(12, 10, 3, seed)) for seed in (1, 2)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="animated"):
        decode(buffer.getvalue())


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "ICO"])
def test_kinds_that_are_not_read_are_refused_with_those_that_are(kind: str) -> None:
    with pytest.raises(ImageError, match="PNG, JPEG, WEBP, GIF, BMP"):
        decode(file_of(picture(32, 32, 3), kind))


@given(st.data())
def test_damaged_file_is_an_image_or_an_image_error(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP"]))
    content = bytearray(file_of(picture(12, 10, 3), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(content[: data.draw(st.integers(0, len(content)))]), resize=True)
    except ImageError:
        return
    assert found.shape == (12, 10, 3)


def test_pixels_survive_the_way_into_a_graph_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    graph = to_graph(pixels)
    assert (graph.min(), graph.max(), graph.shape) == (-1.0, 1.0, (1, 1, 16, 16))
    assert graph.dtype == np.float32
    np.testing.assert_array_equal(from_graph(graph), pixels)


def test_images_that_are_too_many_megapixels_together_are_refused_at_the_first_too_many() -> None:
    upload = file_of(picture(12, 10, 3))
    with pytest.raises(ImageError, match=r"0\.00036 megapixels; at most 0\.0003 .*max_upload_megapixels") as caught:
        decode_all([upload] * 4, COLOUR, False, Megapixels(1.0, 0.0003))
    assert caught.value.detail.startswith("image 2: ")
