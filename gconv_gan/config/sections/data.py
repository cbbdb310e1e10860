"""Config of the data sets, one model per built-in ``data.kind``, and their common keys."""

import re
from collections.abc import Mapping
from typing import Literal

from pydantic import NonNegativeInt

from gconv_gan.config.schema import PartConfig, table

ImageSize = Literal[8, 16, 32, 64, 128, 224, 256, 448]
ResizeFilter = Literal["bicubic", "bilinear", "lanczos"]
Storage = Literal["pixels", "encoded"]


class DataConfig(PartConfig):
    """Common keys of all data sets."""

    size: int = 32
    """Side of the square images."""
    flip: bool = False
    """Mirror each real image with probability ½."""
    cache_dir: str = "cache"
    """Folder of the memory-mapped uint8 copy of the data set."""
    resident: Literal["auto"] | bool = "auto"
    """Whether a training run keeps all images in the device's memory; auto: on a CUDA device, if they take at most half of what is free."""


class DigitsDataConfig(DataConfig):
    """scikit-learn's bundled handwritten digits: 1,797 grey images of 8×8, ten classes."""

    kind: Literal["digits"] = "digits"
    size: Literal[8, 16] = 8
    """Side of the square images; 16 enlarges by bicubic interpolation."""
    split: Literal["all", "train", "test"] = "all"
    """test: every fifth image; train: the others."""


class CIFAR10DataConfig(DataConfig):
    """CIFAR-10 from the official Python files: 50,000 training and 10,000 test images of 32×32, ten classes."""

    kind: Literal["cifar10"] = "cifar10"
    path: str = "data/cifar10"
    """Folder that holds (or will hold) cifar-10-batches-py."""
    size: Literal[32] = 32
    """Side of the square images."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    download: bool = False
    """Download the official archive if it is not in the folder."""


class CIFAR100DataConfig(DataConfig):
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
    """Download the official archive if it is not in the folder."""


class FashionMNISTDataConfig(DataConfig):
    """Fashion-MNIST from the official IDX files: 60,000 training and 10,000 test grey images of 28×28, ten classes."""

    kind: Literal["fashion_mnist"] = "fashion_mnist"
    path: str = "data/fashion_mnist"
    """Folder of the four .gz files, or torchvision's root; Debian's package dataset-fashion-mnist is found automatically."""
    size: Literal[28, 32] = 32
    """Side of the square images; 32 adds a black border of two pixels and changes no pixel."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    download: bool = False
    """Download the official files if they are not in the folder."""


class SVHNDataConfig(DataConfig):
    """Street View House Numbers, cropped digits: 73,257 training, 26,032 test and 531,131 extra images of 32×32, ten classes."""

    kind: Literal["svhn"] = "svhn"
    path: str = "data/svhn"
    """Folder that holds (or will hold) train_32x32.mat and its like."""
    size: Literal[32] = 32
    """Side of the square images."""
    split: Literal["train", "test", "extra"] = "train"
    """Which official split; extra: the larger and easier training images."""
    download: bool = False
    """Download the official file if it is not in the folder."""


class TinyImageNetDataConfig(DataConfig):
    """Tiny-ImageNet from the official folder or zip: 200 classes, 100,000 training and 10,000 validation images of 64×64."""

    kind: Literal["tiny_imagenet"] = "tiny_imagenet"
    path: str = "data/tiny_imagenet"
    """The zip, the folder tiny-imagenet-200, or the folder that holds one of them; a subset in the same layout is accepted."""
    size: Literal[32, 64, 128] = 64
    """Side of the square images; 64 changes no pixel, the others are resized (bicubic, antialiased)."""
    split: Literal["train", "val", "test"] = "train"
    """Which official split; test is unlabelled."""
    download: bool = False
    """Download the official zip if it is not in the folder."""


class CelebADataConfig(DataConfig):
    """CelebA, aligned and cropped: 202,599 faces of 178×218 in the official splits, centre-cropped to 178 and resized."""

    kind: Literal["celeba"] = "celeba"
    path: str = "data/celeba"
    """Folder of img_align_celeba.zip (or the folder img_align_celeba) and the official lists; torchvision's root is accepted too."""
    size: Literal[32, 64, 128] = 64
    """Side of the square images: centre crop of 178, then PIL's bilinear resize."""
    split: Literal["train", "valid", "test", "all"] = "train"
    """Which official split; all: the three together, as mimicry trains."""
    labels: str = "none"
    """none: unlabelled; identity: one class a person; or an attribute such as Smiling: two classes, without and with it."""
    download: bool = False
    """Download the official files from Google Drive if they are not in the folder."""


class LSUNChurchDataConfig(DataConfig):
    """LSUN church_outdoor from the official LMDB or the folder exported from it: 126,227 training images, unlabelled."""

    kind: Literal["lsun_church"] = "lsun_church"
    path: str = "data/lsun"
    """Folder that holds (or will hold) church_outdoor_train_lmdb, or the exported pictures in church_outdoor_train."""
    size: ImageSize = 64
    """Side of the square images: centre crop to the short side, then a resize."""
    split: Literal["train", "val"] = "train"
    """Which official split; val has 300 images."""
    resize: ResizeFilter = "bicubic"
    """PIL's filter; each is used in a publication, which prepare names."""
    download: bool = False
    """Download the official LMDB if it is not in the folder."""


class CUBDataConfig(DataConfig):
    """CUB-200-2011: 200 kinds of birds, 5,994 training and 5,794 test images."""

    kind: Literal["cub"] = "cub"
    path: str = "data/cub"
    """Folder that holds (or will hold) CUB_200_2011."""
    size: ImageSize = 224
    """Side of the square images: cropped, then resized (bicubic, antialiased)."""
    split: Literal["train", "test", "all"] = "train"
    """Which official split."""
    crop: Literal["centre", "box"] = "centre"
    """centre: to the short side; box: StackGAN's square around the official bounding box first."""
    download: bool = False
    """Download the official archive if it is not in the folder."""


class StanfordDogsDataConfig(DataConfig):
    """Stanford Dogs: 120 breeds, 12,000 training and 8,580 test images."""

    kind: Literal["stanford_dogs"] = "stanford_dogs"
    path: str = "data/stanford_dogs"
    """Folder of images.tar and lists.tar, or of their unpacked files."""
    size: ImageSize = 224
    """Side of the square images: centre crop to the short side, then a resize (bicubic, antialiased)."""
    split: Literal["train", "test"] = "train"
    """Which official split."""
    download: bool = False
    """Download the official archives if they are not in the folder."""


class ImageNetDataConfig(DataConfig):
    """ImageNet (ILSVRC 2012) folders: train/WNID/*.JPEG, and val with class folders or flat with its official annotations."""

    kind: Literal["imagenet"] = "imagenet"
    path: str = "data/imagenet"
    """Folder of train and val, or Kaggle's folder around ILSVRC/Data/CLS-LOC."""
    size: ImageSize = 256
    """Side of the square images: centre crop to the short side, then a resize."""
    split: Literal["train", "val"] = "train"
    """Which official split."""
    resize: ResizeFilter = "bicubic"
    """PIL's filter; each is used in a publication, which prepare names."""
    storage: Storage = "pixels"
    """pixels: converted once into the cache; encoded: decoded at every access, which needs no disk space and gives the same images."""


class WebDatasetDataConfig(DataConfig):
    """WebDataset shards: plain tar files of 000001.jpg, 000001.cls, …, on one or several disks."""

    kind: Literal["webdataset"] = "webdataset"
    path: str
    """Shards, "shards/{000000..000007}.tar", "disk{0,1}/*.tar", a folder of .tar files, or several of these with "::" between."""
    size: ImageSize = 64
    """Side of the square images: others are centre-cropped to a square, then resized (bicubic, antialiased)."""
    damaged: Literal["stop", "skip"] = "stop"
    """Handling of an image that cannot be decoded: an error that names it, or left out and listed in the manifest."""
    storage: Storage = "pixels"
    """pixels: converted once into the cache; encoded: decoded at every access, which needs no disk space and gives the same images."""
    shuffle_shards: NonNegativeInt = 0
    """0: any image may follow any other; k: images are shuffled within groups of k shuffled shards, so that k are read at once."""


class FolderDataConfig(DataConfig):
    """Your own pictures: a folder, a zip or a plain tar, ``class/name.jpg`` or flat."""

    kind: Literal["folder"] = "folder"
    path: str
    """The folder, zip or plain tar."""
    size: ImageSize = 32
    """Side of the square images: others are centre-cropped to a square, then resized (bicubic, antialiased)."""
    split: str | None = None
    """A top-level sub-folder such as train; None: the whole."""
    labels: Literal["folders", "none"] = "folders"
    """folders: the sub-folder's name is the class, none: unlabelled."""
    damaged: Literal["stop", "skip"] = "stop"
    """Handling of an image that cannot be decoded: an error that names it, or left out and listed in the manifest."""
    storage: Storage = "pixels"
    """pixels: converted once into the cache; encoded: decoded at every access, which needs no disk space and gives the same images."""


def _keys() -> re.Pattern[str]:
    """Return the regular expression of a key of [data] in a message, with its value."""
    known = {name for model in table("DATASETS").models().values() for name in model.model_fields}
    return re.compile(rf'\bdata\.({"|".join(sorted(known, key=len, reverse=True))})\b(?: = "?([\w.-]+)"?)?')


def in_section(section: str, message: str) -> str:
    """Return ``message`` with the keys of [data] as keys of [``section``]."""
    return _keys().sub(lambda key: f"{section}.{key.group().removeprefix('data.')}", message)


def as_flags(flags: Mapping[str, str], kind: str, message: str) -> str:
    """Return ``message`` with the keys of [data] as flags of a command.

    Args:
        flags: key -> flag; keys that are not in it remain keys of the run's config.
        kind: the set's ``data.kind``; a command without the key ``download`` refers to ``gconv-gan prepare``.
        message: a sentence that names keys as ``data.KEY`` or ``data.KEY = VALUE``.

    """
    if "download" not in flags:
        message = message.replace("set data.download = true", f"run gconv-gan prepare {kind}")

    def flag(key: re.Match[str]) -> str:
        name, value = key.groups()
        return key.group() if name not in flags else f"{flags[name]}{'' if value is None else f' {value}'}"

    return _keys().sub(flag, message)
