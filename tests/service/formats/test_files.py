"""Files of every kind hold the pixels that went in."""

import io
import zipfile
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.errors import InvalidRequestError, MalformedBodyError
from service.formats.animation import encode_animation
from service.formats.arrays import read_npy, write_npy
from service.formats.negotiation import APNG, GIF, JPEG, NPY, PNG, RAW, WEBP, ZIP
from service.formats.png import encode_png
from service.formats.render import Drawing, Identity, Options, render
from service.formats.stills import encode_still, near_square, tile
from tests.service.support import frames_of, npy_of, picture, pixels_of

MODEL = Identity("m", 1, "0", "onnxruntime", "CPUExecutionProvider")


def pictures(n: int, height: int = 5, width: int = 7, channels: int = 3) -> Any:
    return np.stack([picture(height, width, channels, seed=i) for i in range(n)])


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 99))
def test_png_of_any_shape_decodes_to_its_pixels(height: int, width: int, channels: int, seed: int) -> None:
    pixels = picture(height, width, channels, seed)
    np.testing.assert_array_equal(pixels_of(encode_png(pixels)), pixels)


def test_png_of_a_view_is_that_of_its_copy() -> None:
    whole = picture(20, 20, 3)
    assert encode_png(whole[::2, 3:9]) == encode_png(whole[::2, 3:9].copy())


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_webp_decodes_to_the_same_pixels(channels: int) -> None:
    pixels = picture(20, 30, channels)
    decoded = pixels_of(encode_still(pixels, WEBP, None))
    np.testing.assert_array_equal(decoded, np.broadcast_to(pixels, decoded.shape))


@pytest.mark.parametrize("media_type", [JPEG, WEBP])
def test_lower_quality_makes_smaller_files(media_type: str) -> None:
    pixels = picture(64, 64, 3)
    assert len(encode_still(pixels, media_type, 10)) < len(encode_still(pixels, media_type, 95))


def test_picture_that_webp_cannot_hold_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="16384x1"):
        encode_still(np.zeros((1, 16_384, 1), np.uint8), WEBP, None)


@pytest.mark.parametrize(("n", "columns"), [(1, 1), (2, 2), (4, 2), (5, 3), (16, 4), (17, 5)])
def test_grid_is_nearly_square(n: int, columns: int) -> None:
    assert near_square(n) == columns


def test_grid_has_two_white_pixels_between_images_and_none_around() -> None:
    images = pictures(3)
    sheet = tile(images, 2)
    assert sheet.shape == (5 + 2 + 5, 7 + 2 + 7, 3)
    np.testing.assert_array_equal(sheet[:5, :7], images[0])
    np.testing.assert_array_equal(sheet[:5, 9:], images[1])
    np.testing.assert_array_equal(sheet[7:, :7], images[2])
    assert (sheet[5:7] == 255).all()
    assert (sheet[7:, 7:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("media_type", [APNG, WEBP])
def test_lossless_animation_has_every_frame_as_it_was(media_type: str, channels: int) -> None:
    frames = pictures(6, 16, 12, channels)
    np.testing.assert_array_equal(frames_of(encode_animation(frames, media_type, 20, None), channels), frames)


def test_gif_of_grey_frames_is_lossless() -> None:
    frames = pictures(6, 16, 12, 1)
    np.testing.assert_array_equal(frames_of(encode_animation(frames, GIF, 20, None), 1), frames)


@pytest.mark.parametrize("media_type", [GIF, APNG, WEBP])
def test_animation_plays_for_ever_at_its_speed(media_type: str) -> None:
    image = Image.open(io.BytesIO(encode_animation(pictures(3), media_type, 10, None)))
    assert image.info["loop"] == 0
    image.load()
    assert image.info["duration"] == 100


def test_animation_of_one_image_is_a_file_of_one_frame() -> None:
    for media_type in (GIF, APNG, WEBP):
        assert len(frames_of(encode_animation(pictures(1), media_type, 10, None), 3)) == 1


def test_strip_of_a_motion_is_one_row() -> None:
    drawing = Drawing(MODEL, pictures(5), motion=True)
    assert pixels_of(render(drawing, PNG, Options())).shape == (5, 5 * 7 + 4 * 2, 3)


def test_raw_bytes_and_npy_are_the_pixels() -> None:
    drawing = Drawing(MODEL, pictures(5))
    assert render(drawing, RAW, Options()) == drawing.pixels.tobytes()
    np.testing.assert_array_equal(np.load(io.BytesIO(render(drawing, NPY, Options()))), drawing.pixels)


def test_archive_holds_one_png_per_image_and_says_where_they_are_from() -> None:
    latents = np.arange(10, dtype=np.float32).reshape(5, 2)
    drawing = Drawing(MODEL, pictures(5), seed=7, start=98, latents=latents)
    content = render(drawing, ZIP, Options())
    archive = zipfile.ZipFile(io.BytesIO(content))
    metadata = orjson.loads(archive.read("metadata.json"))
    assert metadata["seed"] == 7
    assert [entry["file"] for entry in metadata["images"]] == [f"{98 + i:04d}.png" for i in range(5)]
    for entry, pixels, latent in zip(metadata["images"], drawing.pixels, latents, strict=True):
        np.testing.assert_array_equal(pixels_of(archive.read(entry["file"])), pixels)
        assert entry["latent"] == latent.tolist()
    assert render(drawing, ZIP, Options()) == content


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_reads_what_numpy_writes(dtype: Any, order: Any) -> None:
    array = np.asarray(np.arange(24).reshape(2, 3, 4), dtype=dtype, order=order)
    found = read_npy(npy_of(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == (np.float32 if dtype is np.float64 else dtype)


def test_npy_that_is_written_is_read() -> None:
    array = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    np.testing.assert_array_equal(read_npy(write_npy(array)), array)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x07\x00aaaa",
        b"\x93NUMPY\x01\x00\xff\xff{",
        npy_of(np.zeros(4, np.float32))[:-1],
        npy_of(np.zeros(4, np.float32)) + b"x",
        npy_of(np.zeros(4, np.float32)).replace(b"(4,)", b"(-4,)"),
        npy_of(np.zeros(4, np.float32)).replace(b"(4,), }      ", b"(4000000000,)}"),
        npy_of(np.array([{}])),
        npy_of(np.zeros((1,) * 5, np.uint8)),
        npy_of(np.zeros(4, ">f4")),
        npy_of(np.array(["text"])),
    ],
)
def test_npy_that_is_not_one_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedBodyError):
        read_npy(raw)
