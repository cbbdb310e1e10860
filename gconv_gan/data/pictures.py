"""Any picture file -> uint8 RGB [3, S, S]: the one place where pixels are decided.

In this order: first frame; EXIF orientation; 16-bit to 8-bit by the high byte; transparency composited on white; RGB; a crop (usually
the centre, to the short side); then, only if the size differs, one of PIL's resizes, which antialias when they shrink. A picture that
already is 8-bit RGB of the wanted size keeps every bit. The file's content says which format it has; its suffix only that it is a
picture.
"""

import io
import warnings
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from gconv_gan.config.data import ResizeFilter

# Formats of single pictures that Pillow decodes by itself, TGA last, which has no signature. EPS would start Ghostscript; FITS, HDF5 and
# GRIB hold measurements.
FORMATS = (
    *("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "MPO", "DIB", "DDS", "ICNS", "ICO", "PCX", "PSD", "QOI"),
    *("SGI", "SUN", "XBM", "XPM", "TGA"),
)
EXTENSIONS = frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS and suffix != ".pfm")
"""Suffixes of picture files, as far as Pillow here can open them; .pfm holds floats without a fixed range."""
OPENERS = tuple(name for name in FORMATS if name in Image.OPEN)  # MPO has none: it begins as JPEG

# Pillow warns of metadata that do not matter here, and of more than half the pixels that it refuses.
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
"""EXIF orientation -> what turns the picture upright."""

EncodedFile = io.BytesIO | io.BufferedReader

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
    """A picture that cannot be used; the message is the reason."""


class Header(NamedTuple):
    """What a file says about its picture: the format ("JPEG"), width and height in pixels, before any orientation."""

    format: str
    width: int
    height: int


def centre_square(image: Image.Image) -> Image.Image:
    """Return the middle square of ``image``, as large as its short side; where the margins differ, the first is the smaller."""
    side = min(image.size)
    return centre(image, side)


def centre(image: Image.Image, side: int) -> Image.Image:
    """Return the middle square of the given side; where the margins differ, the first is the smaller."""
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def read_header(file: EncodedFile) -> Header:
    """Return what the encoded ``file`` says about its picture, without decoding the pixels.

    Raises:
        DamagedImageError: it is no picture, or one of more pixels than are decoded.

    """
    return _of_whole_pixels(file, lambda image: Header(image.format or "unknown", *image.size))


def decode(
    data: bytes, *, size: int, resize: ResizeFilter = "bicubic", crop: Crop = centre_square
) -> tuple[UInt8[np.ndarray, "3 s s"], str]:
    """Return the picture in ``data``, an encoded file, as uint8 RGB [3, size, size], and the name of its format ("JPEG").

    Text and EXIF data that cannot be read do not matter where the pixels are whole.

    Raises:
        DamagedImageError: if the bytes are no whole picture, one of more pixels than twice ``PIL.Image.MAX_IMAGE_PIXELS``, or one whose
            values have no fixed range (32-bit grey).

    """
    return _of_whole_pixels(
        io.BytesIO(data), lambda image: (standardise(image, size=size, resize=resize, crop=crop), image.format or "unknown")
    )


def _of_whole_pixels(file: EncodedFile, use: Callable[[Image.Image], Result]) -> Result:
    """Return what ``use`` makes of the picture in ``file``; a PNG with more text than Pillow reads is opened without its text."""
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
    """Return a PNG without its chunks of text and its colour profile, neither of which decides a pixel here."""
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
    """Return ``image`` turned by its EXIF orientation; EXIF data that cannot be read tell of none, as in other viewers."""
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
