"""The table of data sets: a new one is a function ``config -> Source`` of its config, or of keywords alone, and a row here.

The function is called at every start and must be fast: it locates the data and computes their identity, or raises an error with the
searched paths and the way to get the data. ``Source.open`` reads the pictures and is called only for a conversion. The module
``pictures`` determines the pixels, ``cache`` their storage.
"""

from gconv_gan.config.errors import UserError
from gconv_gan.config.schema import Table, constructor
from gconv_gan.config.sections.data import CIFAR100DataConfig, DataConfig
from gconv_gan.data.class_names import listed
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.sources.celeba import celeba
from gconv_gan.data.sources.cifar import cifar10, cifar100
from gconv_gan.data.sources.cub import cub
from gconv_gan.data.sources.digits import digits
from gconv_gan.data.sources.fashion_mnist import fashion_mnist
from gconv_gan.data.sources.folder import folder
from gconv_gan.data.sources.imagenet import imagenet
from gconv_gan.data.sources.lsun import lsun_church
from gconv_gan.data.sources.source import Source
from gconv_gan.data.sources.stanford_dogs import stanford_dogs
from gconv_gan.data.sources.svhn import svhn
from gconv_gan.data.sources.tiny_imagenet import tiny_imagenet
from gconv_gan.data.sources.webdataset import webdataset

DATASETS = Table(
    "DATASETS",
    {
        "digits": digits,
        "cifar10": cifar10,
        "cifar100": cifar100,
        "fashion_mnist": fashion_mnist,
        "svhn": svhn,
        "tiny_imagenet": tiny_imagenet,
        "celeba": celeba,
        "lsun_church": lsun_church,
        "cub": cub,
        "stanford_dogs": stanford_dogs,
        "imagenet": imagenet,
        "webdataset": webdataset,
        "folder": folder,
    },
    base=DataConfig,
)


WAYS_TO_LABEL = {
    "folder": 'put the pictures of each class into a folder of their own (class/name.jpg) with data.labels = "folders"',
    "webdataset": "give each sample its class, as 000001.cls beside 000001.jpg",
    "celeba": "set data.labels to identity or to an attribute such as Smiling",
}


def source_of(config: DataConfig) -> Source:
    """Return the data set that ``config`` describes; raise ``UserError`` if it is absent or not the expected one."""
    source: Source = constructor(config, "data")()
    return source


PUBLISHED_CLASSES = {
    "cifar10": 10,
    "cifar100": 100,
    "fashion_mnist": 10,
    "svhn": 10,
    "tiny_imagenet": 200,
    "cub": 200,
    "stanford_dogs": 120,
}


def published_classes(config: DataConfig) -> int:
    """Return the number of classes of a set that can be downloaded, without the set; raise ``UserError`` if this needs the set."""
    if isinstance(config, CIFAR100DataConfig) and config.labels == "coarse":
        return 20
    if config.kind not in PUBLISHED_CLASSES:
        raise UserError(
            f"the number of classes of data.kind = '{config.kind}' is not known before the download, and a dry run downloads nothing: "
            f"fetch it with gconv-gan prepare {config.kind}"
        )
    return PUBLISHED_CLASSES[config.kind]


def not_there_yet(config: DataConfig, section: str = "data") -> str:
    """Return a note that the run will download the set, according to ``section`` of its config."""
    return f"{config.kind} is not in {getattr(config, 'path', '')} yet; the run would download it first ({section}.download = true)"


def require_labels(dataset: ImageDataset) -> None:
    """Check, before training, that the data of a class-conditional network have classes.

    Raises:
        UserError: the pictures are unlabelled, or all of one class, or a class has no pictures.

    """
    if dataset.num_classes is not None and dataset.num_classes > 1:
        require_images_of_every_class(dataset, needed_by="conditional = true")
        return
    found = f"has the single class '{dataset.classes[0]}'" if dataset.classes else "is unlabelled"
    way_out = WAYS_TO_LABEL.get(dataset.manifest.kind)
    raise UserError(
        f"conditional = true needs classes, but {dataset.title} ({dataset.manifest.location}) {found}; "
        + (f"{way_out}, or set conditional = false" if way_out else "set conditional = false")
    )


def require_images_of_every_class(dataset: ImageDataset, *, needed_by: str) -> None:
    """Check that every class has images, for computations that draw classes uniformly.

    Args:
        dataset: a labelled set.
        needed_by: the setting that needs the classes, for the message: "conditional = true".

    Raises:
        UserError: a class has no images; the message names it.

    """
    empty = dataset.classes_without_images
    if empty:
        if dataset.manifest.kind == "webdataset":
            way_out = "number the classes from 0 without gaps, and name only those in classnames.txt"
        else:
            way_out = "add images of them, or leave these classes out of the set"
        raise UserError(
            f"{dataset.title} ({dataset.manifest.location}) has no image of the class{'es' if len(empty) > 1 else ''} {listed(empty)}, "
            f"which {needed_by} needs; {way_out}"
        )


def require_full_batch(dataset: ImageDataset, count: int, *, batch_size: int, parts: int) -> None:
    """Check that ``count`` training images fill at least one batch; otherwise a batch would contain an image more than once.

    Args:
        dataset: their data set, for the message.
        count: number of images of an epoch.
        batch_size: the global batch.
        parts: processes times micro-batches; the batch must be divisible by it.

    Raises:
        UserError: there are fewer; the message names the largest possible batch.

    """
    if count >= batch_size:
        return
    fits = count // parts * parts
    way_out = f"set trainer.batch_size to at most {fits}" if fits else "add images"
    raise UserError(
        f"{dataset.title} ({dataset.manifest.location}) has {count:,} image{'s' if count > 1 else ''} to train on, which do not fill a "
        f"batch of trainer.batch_size = {batch_size}; {way_out}"
    )
