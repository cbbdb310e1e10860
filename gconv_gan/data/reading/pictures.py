"""Decoding of picture files to uint8 RGB [3, S, S]; all data sets use these steps.

In this order: first frame; EXIF orientation; 16-bit to 8-bit by the high byte; transparency composited on white; RGB; a crop (usually
the centre, to the short side); then, only if the size differs, one of PIL's resizes, which antialias when they shrink. The pixels of an
8-bit RGB picture of the wanted size are unchanged. The content of a file determines its format; the suffix only marks it as a picture.
"""

import io
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from gconv_gan.config.sections.data import ResizeFilter

# Formats of single pictures that Pillow decodes by itself, TGA last, which has no signature. EPS would start Ghostscript; FITS, HDF5 and
# GRIB hold measurements.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "MPO", "DIB", "DDS", "ICNS", "ICO", "PCX", "PSD", "QOI"),
    *("SGI", "SUN", "XBM", "XPM", "TGA"),
)
EXTENSIONS = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS and suffix != ".pfm")
"""Suffixes of picture files that the installed Pillow can open; without .pfm, whose floats have no fixed range."""
OPENERS = tuple(name for name in FORMATS if name in Image.OPEN)  # MPO has none: it begins as JPEG

# Pillow warns of metadata that are not used here, and of pictures above half its limit of pixels.
warnings.filterwarnings("ignore", module=r"PIL\.")

Result = TypeVar("Result")

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # chunks whose text Pillow unpacks up to a limit

ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> the transposition that turns the picture upright."""

EncodedFile = io.BytesIO | io.BufferedReader

Crop = Callable[[Image.Image], Image.Image]

FILTERS: dict[ResizeFilter, Image.Resampling] = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


def pictures_recipe(resize: ResizeFilter = "bicubic", crop: str = "centre crop") -> str:
    """Return a description of the steps, part of every cache key: change its version when the pixels change."""
    return f"pictures v1: first frame, EXIF orientation, 16 bit by high byte, alpha on white, RGB, {crop}, PIL {resize} antialiased"


PICTURES_RECIPE = pictures_recipe()


class DamagedImageError(Exception):
    """A picture that cannot be decoded; the message is the reason."""


class Header(NamedTuple):
    """The header of a picture file: format ("JPEG"), width and height in pixels, before any orientation."""

    format: str
    width: int
    height: int


def centre_square(image: Image.Image) -> Image.Image:
    """Return the middle square of ``image``, as large as its short side; if the margins differ, the first one is the smaller."""
    side = min(image.size)
    return centre(image, side)


def centre(image: Image.Image, side: int) -> Image.Image:
    """Return the middle square of the given side; if the margins differ, the first one is the smaller."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_header(file: EncodedFile) -> Header:
    """Return the header of the encoded ``file``, without decoding the pixels.

    Raises:
        DamagedImageError: it is not a picture, or it has more pixels than the limit.

    """
    return _of_whole_pixels(file, lambda image: Header(image.format or "unknown", *image.size))


def decode(
    data: bytes, *, size: int, resize: ResizeFilter = "bicubic", crop: Crop = centre_square
) -> tuple[UInt8[np.ndarray, "3 s s"], str]:
    """Return the picture in ``data``, an encoded file, as uint8 RGB [3, size, size], and the name of its format ("JPEG").

    Unreadable text and EXIF data are ignored if the pixels are complete.

    Raises:
        DamagedImageError: the bytes are not a complete picture, or it has more pixels than twice ``PIL.Image.MAX_IMAGE_PIXELS``, or its
            values have no fixed range (32-bit grey).

    """
    return _of_whole_pixels(
        io.BytesIO(data), lambda image: (standardise(image, size=size, resize=resize, crop=crop), image.format or "unknown")
    )


def _of_whole_pixels(file: EncodedFile, use: Callable[[Image.Image], Result]) -> Result:
    """Return ``use`` of the picture in ``file``; a PNG with more text than Pillow reads is opened without its text."""
    try:
        try:
            return _opened(file, use)
        except ValueError as error:
            if "MAX_TEXT" not in str(error):
                raise
            file.seek(0)
            return _opened(io.BytesIO(_without_text(file.read())), use)
    except (DamagedImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DamagedImageError(str(error).partition(", could be")[0]) from error  # "Image size (n pixels) exceeds limit of m pixels"
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, ... on broken bytes
        reason = "not a picture of a known format" if isinstance(error, UnidentifiedImageError) else str(error)
        empty = file.seek(0, io.SEEK_END) == 0
        raise DamagedImageError("the file is empty" if empty else " ".join(reason.split()) or type(error).__name__) from error


def _opened(file: EncodedFile, use: Callable[[Image.Image], Result]) -> Result:
    with Image.open(file, formats=OPENERS) as image:
        return use(image)


def _without_text(data: bytes) -> bytes:
    """Return a PNG without its text chunks and colour profile, which do not affect the pixels here."""
    kept, start = [data[: len(PNG_SIGNATURE)]], len(PNG_SIGNATURE)
    while start < len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4])  # length, kind, content, checksum
        if data[start + 4 : start + 8] not in PNG_TEXT:
            kept.append(data[start:end])
        start = end
    return b"".join(kept)


def standardise(
    image: Image.Image, *, size: int, resize: ResizeFilter = "bicubic", crop: Crop = centre_square
) -> UInt8[np.ndarray, "3 s s"]:
    """Return ``image`` as uint8 RGB [3, size, size] by the steps in this file's title."""
    rgb = _rgb(_upright(image))
    if rgb.size != (size, size):
        rgb = crop(rgb)
    if rgb.size != (size, size):
        rgb = rgb.resize((size, size), FILTERS[resize])
    return np.ascontiguousarray(np.asarray(rgb).transpose(2, 0, 1))


def _upright(image: Image.Image) -> Image.Image:
    """Return ``image`` turned by its EXIF orientation; unreadable EXIF data count as none, as in other viewers."""
    image.load()
    try:
        turn = ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow's parser raises SyntaxError, struct.error, ValueError, ...
        turn = None
    return image if turn is None else image.transpose(turn)


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
