"""Images of every kind: how they come out, and what hostile ones meet."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bundle.uploads.limits import UploadLimits
from tests.bundle.uploads.files import chunk, image, pixels, png, png_of, receive, refused, with_image, zipped

SMALL = UploadLimits(megapixels=0.01)


def two(first: bytes, second: bytes | None = None) -> bytes:
    return zipped([("1", first), ("2", second or first)])


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "WEBP"])
def test_lossless_kinds_keep_their_pixels_whatever_they_are_called(tmp_path: Path, kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    content = zipped((f"{i}.jpg", image(pixels(i, channels=1), kind, **options)) for i in range(2))
    images, _, record = receive(tmp_path, content, channels=1)
    np.testing.assert_array_equal(images, np.stack([pixels(i, channels=1) for i in range(2)]))
    assert record.channels == 1


def test_a_jpeg_comes_out_close_to_what_it_was(tmp_path: Path) -> None:
    plain = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    images, _, _ = receive(tmp_path, two(image(plain, "JPEG", quality=95)))
    assert np.abs(images.astype(int) - plain).max() <= 3


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    array = np.zeros((12, 12, 4), np.uint8)
    array[6:, :, 3] = 255
    images, _, _ = receive(tmp_path, two(image(Image.fromarray(array))))
    assert images[0, :6].min() == 255
    assert images[0, 6:].max() == 0


def test_a_palette_with_transparency_becomes_colours_on_white(tmp_path: Path) -> None:
    flat = Image.new("P", (12, 12), 1)
    flat.putpalette([0, 0, 0, 10, 20, 30])
    images, _, _ = receive(tmp_path, two(image(flat), image(flat, transparency=1)))
    assert images[0, 0, 0].tolist() == [10, 20, 30]
    assert images[1, 0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    deep = Image.fromarray(np.linspace(0, 65535, 144).astype(np.uint16).reshape(12, 12))
    images, _, record = receive(tmp_path, two(image(deep)))
    assert record.channels == 1
    np.testing.assert_array_equal(images[0, ..., 0], np.rint(np.asarray(deep) / 257))


def test_cmyk_becomes_colour(tmp_path: Path) -> None:
    images, _, record = receive(tmp_path, two(image(Image.new("CMYK", (12, 12), (0, 255, 255, 0)), "JPEG")))
    assert record.channels == 3
    assert images[0, 6, 6, 0] > 200
    assert images[0, 6, 6, 1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_image_that_lies_on_its_side_by_exif_stands_up(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    lying = Image.new("RGB", (24, 16))
    lying.paste("white", (0, 0, 8, 8))  # a corner, so that every turn shows
    images, _, record = receive(tmp_path, two(image(lying, kind, exif=exif)))
    assert (record.width, record.height) == ((24, 16) if orientation < 5 else (16, 24))
    top, left = {1: (0, 0), 2: (0, 1), 3: (1, 1), 4: (1, 0), 5: (0, 0), 6: (0, 1), 7: (1, 1), 8: (1, 0)}[orientation]
    corner = images[0, 2 if top == 0 else -3, 2 if left == 0 else -3]
    assert corner.min() > 200


def test_images_of_several_sizes_are_refused_with_the_sizes_that_were_found(tmp_path: Path) -> None:
    content = zipped([("1.png", png(height=12, width=16)), ("2.png", png()), ("3.png", png())])
    error = refused(tmp_path, content)
    assert "2 of 12x12, 1 of 16x12" in error.message
    assert "?size=64" in error.message
    assert error.extra == {"sizes": {"12x12": 2, "16x12": 1}}


def test_a_size_makes_one_size_of_several_by_cutting_out_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((12, 36, 3), np.uint8)
    wide[:, 6:30] = 255
    images, _, record = receive(tmp_path, two(image(wide), png()), size=16)
    assert images.shape == (2, 16, 16, 3)
    assert images[0].min() > 250
    assert record.width == 16


@pytest.mark.parametrize(("width", "height"), [(4, 12), (1100, 12)])
def test_sides_that_no_model_learns_from_are_refused_unless_a_size_is_asked_for(
    tmp_path: Path, width: int, height: int
) -> None:
    content = two(png(height=height, width=width))
    assert "sides from 8 to 1024" in refused(tmp_path, content).message
    assert receive(tmp_path, content, size=8)[2].width == 8


def test_grey_beside_colour_is_refused_unless_channels_are_asked_for(tmp_path: Path) -> None:
    content = two(png(channels=1), png(channels=3))
    error = refused(tmp_path, content)
    assert "1 images are grey and 1 in colour" in error.message
    assert error.extra == {"grey": 1, "colour": 1}
    assert receive(tmp_path, content, channels=1)[0].shape == (2, 12, 12, 1)
    assert receive(tmp_path, content, channels=3)[0].shape == (2, 12, 12, 3)


@pytest.mark.parametrize(
    "content",
    [
        png_of(60_000, 60_000),
        png_of(2**31 - 1, 2**31 - 1),
        png_of(101, 100),
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
        b"GIF89a"
        + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0)
        + b"\x2c"
        + struct.pack("<HHHHB", 0, 0, 9, 9, 0)
        + b"\x02\0;",
        b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + b"\xff\xff\0\xff\xff\0",
    ],
    ids=["PNG", "largest PNG", "just too large", "BMP", "GIF", "WEBP"],
)
def test_an_image_with_too_many_pixels_is_refused_by_its_header(tmp_path: Path, content: bytes) -> None:
    assert refused(tmp_path, with_image("x.png", content), SMALL).code in ("too_large", "invalid")
    assert "x.png" in refused(tmp_path, with_image("x.png", content), SMALL).message


def test_images_with_too_many_pixels_in_all_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    content = zipped((f"{i}.png", png_of(100, 100)) for i in range(11))
    error = refused(tmp_path, content, UploadLimits(all_megapixels=0.1))
    assert (error.code, "0.1 megapixels in all" in error.message) == ("too_large", True)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_animations_are_refused(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    moving = image(frames[0], kind, save_all=True, append_images=frames[1:])
    assert f"animated ({kind})" in refused(tmp_path, with_image("x.png", moving)).message


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_an_image_that_is_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    whole = image(pixels(0, 64, 64), kind)
    for share in (0.3, 0.6, 0.9):
        assert refused(tmp_path, with_image("x", whole[: int(share * len(whole))]), channels=3).code == "invalid"


def test_a_jpeg_with_more_scans_than_any_camera_makes_is_refused(tmp_path: Path) -> None:
    """Each scan goes over all pixels again: a few bytes, and much work."""
    content = image(pixels(0, 64, 64), "JPEG", progressive=True)
    at = content.rindex(b"\xff\xda")
    bomb = content[:at] + content[at:-2] * 200 + content[-2:]
    error = refused(tmp_path, with_image("x.jpg", bomb))
    assert (error.code, "scans" in error.message) == ("too_large", True)


def test_an_image_that_turns_only_behind_its_pixels_is_refused_clearly(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    upright = png(height=12, width=16)
    turned = upright[:-12] + chunk(b"eXIf", exif.tobytes()[6:]) + upright[-12:]
    with Image.open(io.BytesIO(turned)) as opened:
        opened.load()
        assert opened.getexif()[ExifTags.Base.Orientation] == 6
    assert "save it anew" in refused(tmp_path, two(turned)).message


def test_data_beyond_the_pixels_of_a_png_is_never_unpacked(tmp_path: Path) -> None:
    row = b"\0" * 13
    content = png_of(12, 12, data=zlib.compress(row * 12 + b"\0" * 30_000_000, 9))
    images, _, _ = receive(tmp_path, two(content))
    assert images.max() == 0
