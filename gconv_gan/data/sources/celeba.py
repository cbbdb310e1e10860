"""CelebA, aligned and cropped, from the official files.

Liu, Luo, Wang and Tang, "Deep Learning Face Attributes in the Wild" (2015). ``img_align_celeba`` holds 000001.jpg … 202599.jpg of
178×218; ``list_eval_partition.txt`` has lines "file code" with 0 train, 1 valid, 2 test; ``identity_CelebA.txt`` has "file person";
``list_attr_celeba.txt`` has the count, the 40 names, then "file ±1 …". The crop is mimicry's: the middle 178×178, then PIL's bilinear
resize. Other publications crop to 140, 148 or 160 pixels; their scores are not comparable with these.
"""

import difflib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from PIL import Image

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import CelebADataConfig
from gconv_gan.data.reading.archives import FolderTree, Tree, ZipTree, open_tree
from gconv_gan.data.reading.pictures import centre, decode, pictures_recipe
from gconv_gan.data.sources.official import OfficialFile, fetch, read_verified, verify
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

SIDE = 178
IMAGES, ARCHIVE = "img_align_celeba", "img_align_celeba.zip"
PARTITION, IDENTITY, ATTRIBUTES = "list_eval_partition.txt", "identity_CelebA.txt", "list_attr_celeba.txt"
CODES = {"train": "0", "valid": "1", "test": "2"}
DRIVE = "https://drive.google.com/uc?id="
CELEBA: Mapping[str, OfficialFile] = {
    file.name: file
    for file in (
        OfficialFile(ARCHIVE, DRIVE + "0B7EVK8r0v71pZjFTYXZWM3FlRnM", "md5:00d2c5bc6d35e252742224ab0c1e8fcb", 1_443_490_838),
        OfficialFile(PARTITION, DRIVE + "0B7EVK8r0v71pY0NSMzRuSXJEVkk", "md5:d32c9cbf5e040fd4025c592c306e6668", 2_836_386),
        OfficialFile(IDENTITY, DRIVE + "1_ee_0u7vcNLOfNLegJRHmolfH5ICW-XS", "md5:32bd1bd63d3c78cd57e08160ec5ed1e2", 3_424_458),
        OfficialFile(ATTRIBUTES, DRIVE + "0B7EVK8r0v71pblRyaVFSWGxPY0U", "md5:75e246fa4810816ffd6ee81facbd244c", 26_721_026),
    )
}


def celeba(config: CelebADataConfig, *, files: Mapping[str, OfficialFile] = CELEBA) -> Source:
    """Return an official split in the order of its list, without labels or with labels by person or by one attribute.

    Raises:
        UserError: a file is absent (and ``download`` is off), or not the published one; images are missing; there is no such attribute.

    """
    root = Path(config.path).expanduser().resolve()
    base = root / "celeba" if (root / "celeba").is_dir() else root  # torchvision's root holds a folder celeba
    lists = [PARTITION] if config.labels == "none" else [PARTITION, IDENTITY if config.labels == "identity" else ATTRIBUTES]
    if config.download:
        fetch([files[name] for name in lists] + ([] if (base / IMAGES).is_dir() else [files[ARCHIVE]]), base)
    texts = {name: _list(base, files[name]) for name in lists}
    tree = _images(base, files[ARCHIVE])
    names = [name for name, code in _pairs(texts[PARTITION]) if config.split == "all" or code == CODES[config.split]]
    classes = "identity of the split" if config.labels == "identity" else config.labels
    return Source(
        kind=config.kind,
        title="CelebA",
        location=str(base),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(lambda: [(IMAGES, name) for name in names], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"celeba v1, split {config.split}, labels {classes}, size {config.size}; "
        + pictures_recipe("bilinear", f"centre crop {SIDE}"),
        published=f"mimicry's and torchvision users' CenterCrop({SIDE}), Resize({config.size})"
        + ("" if config.split == "all" else f", of which mimicry takes split all, not {config.split}"),
        open=lambda: _open(tree, files[ARCHIVE], names, _labels(config.labels, texts, names), config.size),
    )


# --- files -----------------------------------------------------------------------------------------------------------------------


def _list(base: Path, file: OfficialFile) -> str:
    path = base / file.name
    if not path.is_file():
        raise _absent(path, file)
    return read_verified(path, file.checksum).decode()


def _images(base: Path, archive: OfficialFile) -> Tree:
    if (base / IMAGES).is_dir():
        return FolderTree(base)
    if not (base / ARCHIVE).is_file():
        raise _absent(base / ARCHIVE, archive)
    return open_tree(base / ARCHIVE)


def _absent(path: Path, file: OfficialFile) -> AbsentDataError:
    beside = f" (or the folder {IMAGES} unpacked from it)" if file.name == ARCHIVE else ""
    return AbsentDataError(
        f"data.path: looked for {path}{beside}, which does not exist; set data.download = true (1.5 GB in all), or fetch {file.url} with "
        "a browser and put it there"
    )


def _pairs(text: str) -> list[tuple[str, str]]:
    """Return (file, value) of the lines "file value"."""
    return [(fields[0], fields[1]) for fields in map(str.split, text.splitlines()) if fields]


# --- labels ----------------------------------------------------------------------------------------------------------------------


def _labels(labels: str, texts: Mapping[str, str], names: list[str]) -> tuple[tuple[str, ...], list[int] | None]:
    """Return the classes, and the class index of each image of ``names``."""
    if labels == "none":
        return (), None
    if labels == "identity":
        person = {name: int(value) for name, value in _pairs(texts[IDENTITY])}
        people = sorted({person[name] for name in names})
        index = {identity: i for i, identity in enumerate(people)}
        return tuple(f"person {identity}" for identity in people), [index[person[name]] for name in names]
    _, header, *rows = texts[ATTRIBUTES].splitlines()
    attributes = header.split()
    if labels not in attributes:
        near = difflib.get_close_matches(labels, attributes, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: none, identity, {', '.join(attributes)}"
        raise UserError(f"data.labels: CelebA has no attribute {labels}; {hint}")
    column = 1 + attributes.index(labels)
    value = {fields[0]: int(fields[column] == "1") for fields in map(str.split, rows) if fields}
    return (f"not {labels}", labels), [value[name] for name in names]


# --- pictures --------------------------------------------------------------------------------------------------------------------


def _open(tree: Tree, archive: OfficialFile, names: list[str], labels: tuple[tuple[str, ...], list[int] | None], size: int) -> Pictures:
    if isinstance(tree, ZipTree):
        verify(tree.root, archive.checksum)
    present = {parts[-1] for parts in tree.names() if parts[-2:-1] == (IMAGES,)}
    lost = [name for name in names if name not in present]
    if lost:
        raise UserError(
            f"data.path: {tree.root} lacks {len(lost):,} of the {len(names):,} images of the split; the first is {IMAGES}/{lost[0]}"
        )
    classes, numbers = labels

    def entry(i: int) -> Entry:
        return Entry(names[i], partial(_read, tree, names[i], size), None if numbers is None else numbers[i])

    return Pictures(classes, Entries(len(names), entry))


def _crop(image: Image.Image) -> Image.Image:
    return centre(image, SIDE)


def _read(tree: Tree, name: str, size: int) -> tuple[Picture, str]:
    return decode(tree.read((IMAGES, name)), size=size, resize="bilinear", crop=_crop)
