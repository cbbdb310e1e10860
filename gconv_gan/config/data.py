"""Config of the data sources, one model per ``data.kind``."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from gconv_gan.config.base import Config

ImageSize = Literal[8, 16, 32, 64, 128, 224, 256, 448]


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


class CIFAR100DataConfig(_Source):
    """CIFAR-100 from the official Python files: 50,000 training and 10,000 test images of 32×32, 100 classes in 20 groups."""

    kind: Literal["cifar100"] = "cifar100"
    path: str = "data/cifar100"
    """Folder that holds (or will hold) cifar-100-python."""
    size: Literal[32] = 32
    """Side of the square images."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    labels: Literal["fine", "coarse"] = "fine"
    """fine: the 100 classes; coarse: the 20 groups of them."""
    download: bool = False
    """Fetch the official archive when the folder lacks it."""


class FashionMNISTDataConfig(_Source):
    """Fashion-MNIST from the official IDX files: 60,000 training and 10,000 test grey images of 28×28, ten classes."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    path: str = "data/fashion_mnist"
    """Folder of the four .gz files, or torchvision's root; Debian's package dataset-fashion-mnist is found by itself."""
    size: Literal[28, 32] = 32
    """Side of the square images; 32 adds a black border of two pixels and changes no pixel."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    download: bool = False
    """Fetch the official files when the folder lacks them."""


class SVHNDataConfig(_Source):
    """Street View House Numbers, cropped digits: 73,257 training, 26,032 test and 531,131 extra images of 32×32, ten classes."""

    kind: Literal["svhn"] = "svhn"
    path: str = "data/svhn"
    """Folder that holds (or will hold) train_32x32.mat and its like."""
    size: Literal[32] = 32
    """Side of the square images."""
    split: Literal["train", "test", "extra"] = "train"
    """Which official split; extra: the larger and easier training images."""
    download: bool = False
    """Fetch the official file when the folder lacks it."""


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


DataConfig = Annotated[
    DigitsDataConfig | CIFAR10DataConfig | CIFAR100DataConfig | FashionMNISTDataConfig | SVHNDataConfig | FolderDataConfig,
    Field(discriminator="kind"),
]

DATA_CONFIGS: dict[str, type[Any]] = {member.model_fields["kind"].default: member for member in get_args(get_args(DataConfig)[0])}
"""``data.kind`` -> its config."""
