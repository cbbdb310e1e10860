"""Config of the data sources, one model per ``data.kind``."""

from typing import Annotated, Literal

from pydantic import Field

from gconv_gan.config.base import Config

ImageSize = Literal[8, 16, 32, 64, 128]


class _Source(Config):
    flip: bool = False
    """Mirror each real image with probability ½."""
    cache_dir: str = "cache"
    """Where the memory-mapped uint8 copy of the data set is kept."""


class DigitsDataConfig(_Source):
    """scikit-learn's bundled handwritten digits: 1,797 grey images of 8×8, ten classes."""

    kind: Literal["digits"] = "digits"
    size: Literal[8, 16] = 8
    """Side of the square images; 16 enlarges by bicubic interpolation."""
    split: Literal["all", "train", "test"] = "all"
    """test: every fifth image; train: the others."""


class CIFAR10DataConfig(_Source):
    """CIFAR-10 from the official Python files: 50,000 training and 10,000 test images of 32×32, ten classes."""

    kind: Literal["cifar10"] = "cifar10"
    path: str = "data/cifar10"
    """Folder that holds (or will hold) cifar-10-batches-py."""
    size: Literal[32] = 32
    """Side of the square images."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    download: bool = False
    """Fetch the official archive when the folder lacks it."""


class FolderDataConfig(_Source):
    """Your own pictures: a folder or a zip, ``class/name.jpg`` or flat."""

    kind: Literal["folder"] = "folder"
    path: str
    """The folder or zip file."""
    size: ImageSize = 32
    """Side of the square images: others are centre-cropped to a square, then resized (bicubic, antialiased)."""
    split: str | None = None
    """A top-level sub-folder such as train; None: the whole."""
    labels: Literal["folders", "none"] = "folders"
    """folders: the sub-folder's name is the class, none: unlabelled."""
    damaged: Literal["stop", "skip"] = "stop"
    """What to do with an image that cannot be decoded: stop and name it, or leave it out and list it in the manifest."""


DataConfig = Annotated[DigitsDataConfig | CIFAR10DataConfig | FolderDataConfig, Field(discriminator="kind")]
