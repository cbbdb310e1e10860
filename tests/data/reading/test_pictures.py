"""Decoding of pictures: modes, orientations, shapes, and damaged files."""

import io

import numpy as np
import pytest
from PIL import Image

from gconv_gan.data.reading.pictures import DamagedImageError, decode, standardise
from tests.data.made import noise


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def planes(pixels: np.ndarray) -> np.ndarray:
    return pixels.transpose(2, 0, 1)


def test_rgb_of_the_wanted_size_keeps_every_bit() -> None:
    pixels = noise(0, 16, 16, 3)
    picture, file_format = decode(encoded(Image.fromarray(pixels)), size=16)
    assert (picture.dtype.name, picture.shape, file_format) == ("uint8", (3, 16, 16), "PNG")
    np.testing.assert_array_equal(picture, planes(pixels))


def test_jpeg_is_what_pillow_decodes() -> None:
    data = encoded(Image.fromarray(noise(0, 16, 16, 3)), "JPEG", quality=80)
    picture, file_format = decode(data, size=16)
    assert file_format == "JPEG"
    np.testing.assert_array_equal(picture, planes(np.asarray(Image.open(io.BytesIO(data)))))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_becomes_three_equal_planes(mode: str) -> None:
    grey = Image.fromarray(noise(1, 8, 8)).convert(mode)
    picture, _ = decode(encoded(grey), size=8)
    np.testing.assert_array_equal(picture, np.stack([np.asarray(grey.convert("L"))] * 3))


def test_sixteen_bit_grey_keeps_the_high_byte_and_stretched_eight_bit_values_exactly() -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    stretched, _ = decode(encoded(Image.fromarray(values * 257)), size=16)
    np.testing.assert_array_equal(stretched[0], values)
    high, _ = decode(encoded(Image.fromarray(values * 256 + 99)), size=16)
    np.testing.assert_array_equal(high[1], values)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_pixels_become_white(mode: str) -> None:
    colour = noise(2, 16, 16, 3)
    alpha = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(colour).convert(mode)
    image.putalpha(Image.fromarray(alpha))
    opaque = np.asarray(Image.fromarray(colour).convert(mode[:-1]).convert("RGB")).astype(float)
    a = alpha[..., None] / 255
    picture, _ = decode(encoded(image), size=16)
    np.testing.assert_allclose(picture, planes(a * opaque + (1 - a) * 255), atol=1)
    assert (picture[:, 0, 0] == 255).all()  # alpha 0
    np.testing.assert_array_equal(picture[:, 15, 15], opaque[15, 15])  # alpha 255


def test_a_palette_is_looked_up_and_its_transparent_colour_is_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30, 90, 90, 90])
    image.putpixel((3, 0), 2)
    plain, _ = decode(encoded(image), size=8)
    np.testing.assert_array_equal(plain[:, 0, 0], [10, 200, 30])
    np.testing.assert_array_equal(plain[:, 0, 3], [90, 90, 90])
    holed, _ = decode(encoded(image, transparency=2), size=8)
    np.testing.assert_array_equal(holed[:, 0, 0], [10, 200, 30])
    np.testing.assert_array_equal(holed[:, 0, 3], [255, 255, 255])


def test_exif_orientation_is_respected() -> None:
    pixels = noise(3, 8, 8, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    picture, _ = decode(encoded(Image.fromarray(pixels), exif=exif), size=8)
    np.testing.assert_array_equal(picture, planes(np.rot90(pixels, k=-1)))


@pytest.mark.parametrize(("height", "width", "top", "left"), [(8, 13, 0, 2), (14, 8, 3, 0)])
def test_the_centre_is_cropped(height: int, width: int, top: int, left: int) -> None:
    pixels = noise(4, height, width, 3)
    np.testing.assert_array_equal(standardise(Image.fromarray(pixels), size=8), planes(pixels[top : top + 8, left : left + 8]))


def test_resizing_is_pillows_bicubic_after_the_crop() -> None:
    pixels = noise(5, 40, 50, 3)
    expected = Image.fromarray(np.ascontiguousarray(pixels[:, 5:45])).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(standardise(Image.fromarray(pixels), size=16), planes(np.asarray(expected)))


def test_shrinking_is_antialiased() -> None:
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(standardise(Image.fromarray(board), size=8).astype(int) - 127).max() <= 2


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    picture, _ = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), size=8)
    assert (picture[0] > 250).all()
    assert (picture[2] < 5).all()


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP"])
def test_a_file_cut_short_is_damaged(file_format: str) -> None:
    data = encoded(Image.fromarray(noise(6, 32, 32, 3)), file_format)
    with pytest.raises(DamagedImageError, match=r"\w"):
        decode(data[: len(data) // 2], size=32)


def test_broken_bytes_in_the_middle_of_a_png_are_damage() -> None:
    data = bytearray(encoded(Image.fromarray(noise(6, 32, 32, 3))))
    data[len(data) // 2] ^= 255
    with pytest.raises(DamagedImageError):
        decode(bytes(data), size=32)


def test_a_file_that_is_no_picture_is_refused() -> None:
    with pytest.raises(DamagedImageError, match="not a picture"):
        decode(b"<html>quota exceeded</html>", size=8)
    with pytest.raises(DamagedImageError, match="empty"):
        decode(b"", size=8)


def test_values_without_a_fixed_range_are_refused() -> None:
    with pytest.raises(DamagedImageError, match="no fixed range"):
        decode(encoded(Image.fromarray(np.zeros((8, 8), dtype=np.float32)), "TIFF"), size=8)
