"""Street View House Numbers, format 2 (cropped digits), from the official MATLAB files.

Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning" (2011). Each file holds ``X`` uint8
[32, 32, 3, N] (row, column, channel, image) and ``y`` [N, 1] with 1 to 9 for the digits 1 to 9 and 10 for the digit 0; here the label
is the digit itself, as in torchvision.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gconv_gan.config.errors import AbsentDataError
from gconv_gan.config.sections.data import SVHNDataConfig
from gconv_gan.data.reading.fingerprint import content_hash
from gconv_gan.data.sources.official import OfficialFile, fetch, verify
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

SITE = "http://ufldl.stanford.edu/housenumbers/"
SVHN: Mapping[str, OfficialFile] = {
    "train": OfficialFile("train_32x32.mat", SITE + "train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373", 182_040_794),
    "test": OfficialFile("test_32x32.mat", SITE + "test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3", 64_275_384),
    "extra": OfficialFile("extra_32x32.mat", SITE + "extra_32x32.mat", "md5:a93ce644f1a588dc4d68dda5feec44a7", 1_329_278_602),
}


def svhn(config: SVHNDataConfig, *, files: Mapping[str, OfficialFile] = SVHN) -> Source:
    """Return an official split, pixels untouched, in the order of the file.

    Raises:
        UserError: the file is absent (and ``download`` is off), or not the published one.

    """
    root, file = Path(config.path).expanduser().resolve(), files[config.split]
    if config.download:
        fetch([file], root)
    path = root / file.name
    if not path.is_file():
        raise AbsentDataError(
            f"data.path: looked for {path}, which does not exist; set data.download = true{file.needs}, or put {file.url} there"
        )
    return Source(
        kind=config.kind,
        title="SVHN",
        location=str(path),
        split=config.split,
        size=config.size,
        fingerprint=content_hash([(file.name, path)], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"svhn v1, split {config.split}, label = digit; pixels as published",
        published="the pixels as published, with torchvision's labels",
        open=partial(_open, path, file),
    )


def _open(path: Path, file: OfficialFile) -> Pictures:
    from scipy.io import loadmat  # imported here, since the import takes half a second

    verify(path, file.checksum)
    content = loadmat(path, variable_names=["X", "y"])
    images, labels = content["X"], content["y"].reshape(-1) % 10
    return Pictures(
        tuple("0123456789"),
        Entries(len(labels), lambda i: Entry(f"{path.stem}[{i}]", partial(_read, images[..., i]), int(labels[i]))),
    )


def _read(image: UInt8[np.ndarray, "32 32 3"]) -> tuple[Picture, str]:
    return np.ascontiguousarray(image.transpose(2, 0, 1)), "array"
