"""Any picture file -> uint8 RGB [3, S, S]: the one place where pixels are decided.

In this order: first frame; EXIF orientation; 16-bit to 8-bit by the high byte; transparency composited on white; RGB; a crop (usually
the centre, to the short side); then, only if the size differs, one of PIL's resizes, which antialias when they shrink. A picture that
already is 8-bit RGB of the wanted size keeps every bit.
"""

import io
from collections.abc import Callable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from gconv_gan.config.data import ResizeFilter

Crop = Callable[[Image.Image], Image.Image]

FILTERS: dict[ResizeFilter, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def pictures_recipe(resize: ResizeFilter = "bicubic", crop: str = "centre crop") -> str:
    """Return the steps in words: part of every cache key, so change the version with the pixels."""
    return f"pictures v1: first frame, EXIF orientation, 16 bit by high byte, alpha on white, RGB, {crop}, PIL {resize} antialiased"


PICTURES_RECIPE = pictures_recipe()


class DamagedImageError(Exception):
    """An image that cannot be decoded; the message is the reason."""


def centre_square(image: Image.Image) -> Image.Image:
    """Return the middle square of ``image``, as large as its short side; where the margins differ, the first is the smaller."""
    side = min(image.size)
    return centre(image, side)


def centre(image: Image.Image, side: int) -> Image.Image:
    """Return the middle square of the given side; where the margins differ, the first is the smaller."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def decode(
    data: bytes, *, size: int, resize: ResizeFilter = "bicubic", crop: Crop = centre_square
) -> tuple[UInt8[np.ndarray, "3 s s"], str]:
    """Return the picture in ``data``, an encoded file, as uint8 RGB [3, size, size], and the name of its format ("JPEG").

    Raises:
        DamagedImageError: if the bytes are no whole picture, or one whose values have no fixed range (32-bit grey).

    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return standardise(image, size=size, resize=resize, crop=crop), image.format or "unknown"
    except (DamagedImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken bytes
        reason = "not a picture of a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DamagedImageError(reason if data else "the file is empty") from error


def standardise(
    image: Image.Image, *, size: int, resize: ResizeFilter = "bicubic", crop: Crop = centre_square
) -> UInt8[np.ndarray, "3 s s"]:
    """Return ``image`` as uint8 RGB [3, size, size] by the steps in this file's title."""
    ImageOps.exif_transpose(image, in_place=True)
    rgb = _rgb(image)
    if rgb.size != (size, size):
        rgb = crop(rgb)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), FILTERS[resize])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F"):
        raise DamagedImageError(f"32-bit grey (mode {image.mode}) has no fixed range of values: save it with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        # the high byte, as Pillow itself does for 16-bit colour; exact for 8-bit values stretched by 257
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")
