"""Any picture file -> uint8 RGB [3, S, S]: the one place where pixels are decided.

In this order: first frame; EXIF orientation; 16-bit to 8-bit by the high byte; transparency composited on white; RGB; then,
only if the size differs, a centre crop to the short side and PIL's bicubic resize, which antialiases when it shrinks. A picture
that already is 8-bit RGB of the wanted size keeps every bit.
"""

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

PICTURES_RECIPE = (
    "pictures v1: first frame, EXIF orientation, 16 bit by high byte, alpha on white, RGB, centre crop, PIL bicubic antialiased"
)
"""Part of every cache key: change the version with the pixels."""


class DamagedImageError(Exception):
    """An image that cannot be decoded; the message is the reason."""


def decode(data: bytes, *, size: int) -> tuple[UInt8[np.ndarray, "3 s s"], str]:
    """Return the picture in ``data``, an encoded file, as uint8 RGB [3, size, size], and the name of its format ("JPEG").

    Raises:
        DamagedImageError: if the bytes are no whole picture, or one whose values have no fixed range (32-bit grey).

    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return standardise(image, size=size), image.format or "unknown"
    except (DamagedImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken bytes
        reason = "not a picture of a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DamagedImageError(reason if data else "the file is empty") from error


def standardise(image: Image.Image, *, size: int) -> UInt8[np.ndarray, "3 s s"]:
    """Return ``image`` as uint8 RGB [3, size, size] by the steps in this file's title."""
    ImageOps.exif_transpose(image, in_place=True)
    rgb = _rgb(image)
    if rgb.size != (size, size):
        rgb = _square(rgb).resize((size, size), Image.Resampling.BICUBIC)
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


def _square(image: Image.Image) -> Image.Image:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image.crop((left, top, left + side, top + side))
