"""scikit-learn's bundled handwritten digits: 1,797 grey pictures of 8×8 with values 0 to 16."""

import hashlib
from functools import partial

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from gconv_gan.config.sections.data import DigitsDataConfig
from gconv_gan.data.reading.pictures import PICTURES_RECIPE, standardise
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source


def digits(config: DigitsDataConfig) -> Source:
    """Return the digits; value v of 16 becomes round(v·255/16), half up. test: pictures 4, 9, 14, …; train: the others."""
    from sklearn.datasets import load_digits  # imported here, since the import takes a second

    grey, labels = load_digits(return_X_y=True)
    stored = np.floor(grey.reshape(-1, 8, 8) * 255 / 16 + 0.5).astype(np.uint8)
    chosen = np.flatnonzero(_in_split(np.arange(len(stored)), config.split))
    return Source(
        kind=config.kind,
        title="digits",
        location="scikit-learn",
        split=config.split,
        size=config.size,
        fingerprint=hashlib.sha256(stored.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        recipe=f"digits v1, split {config.split}, size {config.size}; {PICTURES_RECIPE}",
        published="none: these digits are no generative benchmark",
        open=lambda: Pictures(
            tuple("0123456789"),
            Entries(
                len(chosen), lambda i: Entry(f"digit {chosen[i]}", partial(_read, stored[chosen[i]], config.size), int(labels[chosen[i]]))
            ),
        ),
    )


def _in_split(index: np.ndarray, split: str) -> np.ndarray:
    fifth: np.ndarray = index % 5 == 4
    if split == "all":
        return np.ones_like(fifth)
    return fifth if split == "test" else ~fifth


def _read(grey: UInt8[np.ndarray, "8 8"], size: int) -> tuple[Picture, str]:
    return standardise(Image.fromarray(grey), size=size), "array"
