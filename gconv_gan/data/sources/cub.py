"""CUB-200-2011 from the official folder.

Wah et al., "The Caltech-UCSD Birds-200-2011 Dataset" (2011). Four lists share the image numbers: ``images.txt`` ("1 folder/name.jpg"),
``image_class_labels.txt`` ("1 1", classes from 1), ``train_test_split.txt`` ("1 0", 1 for training) and ``bounding_boxes.txt``
("1 x y width height", pixels); ``classes.txt`` names the classes ("1 001.Black_footed_Albatross").
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from PIL import Image

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import CUBDataConfig
from gconv_gan.data.reading.archives import FolderTree
from gconv_gan.data.reading.pictures import centre_square, decode, pictures_recipe
from gconv_gan.data.sources.official import OfficialFile, fetch_and_unpack
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

CUB = OfficialFile(
    "CUB_200_2011.tgz",
    "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
    "md5:97eceeb196236b17998738112f37df78",
    1_150_585_339,
)
FOLDER = "CUB_200_2011"
LISTS = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt", "classes.txt")

Box = tuple[float, float, float, float]
"""x, y of the upper left corner, width, height, in pixels."""


@dataclass(frozen=True)
class Bird:
    """One image below ``images``: its class from 0, whether it is for training, and the box around the bird."""

    name: str
    label: int
    training: bool
    box: Box


def cub(config: CUBDataConfig, *, archive: OfficialFile = CUB) -> Source:
    """Return an official split in the order of ``images.txt``.

    Raises:
        UserError: a file is absent (and ``download`` is off), or the lists do not fit together.

    """
    root = Path(config.path).expanduser().resolve()
    if config.download and not (root / "images.txt").is_file():
        fetch_and_unpack(archive, root, member=FOLDER, wanted=[root / FOLDER / name for name in LISTS])
    base = next((folder for folder in (root, root / FOLDER) if (folder / "images.txt").is_file()), None)
    if base is None:
        raise AbsentDataError(
            f"data.path: looked for images.txt in {root} and {root / FOLDER}; set data.download = true{archive.needs}, "
            f"or unpack {archive.url} into {root}"
        )
    tree = FolderTree(base)
    birds = cache(partial(_birds, base, config.split))
    crop = "centre crop" if config.crop == "centre" else "StackGAN's square around the bounding box, centre crop"
    return Source(
        kind=config.kind,
        title="CUB-200-2011",
        location=str(base),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(
            lambda: [(name,) for name in LISTS] + [("images", *bird.name.split("/")) for bird in birds()],
            memory=Path(config.cache_dir) / "fingerprints",
        ),
        recipe=f"cub v1, split {config.split}, size {config.size}; {pictures_recipe(crop=crop)}",
        published="none: classifiers crop at random from a larger image"
        if config.crop == "centre"
        else "StackGAN's and AttnGAN's crop, whole instead of their random 64/76 of it",
        open=lambda: _open(tree, birds(), config),
    )


def _birds(base: Path, split: str) -> list[Bird]:
    names, labels, training, boxes = (_numbered(base / name) for name in LISTS[:4])
    for name, listed in zip(LISTS[1:], (labels, training, boxes), strict=False):
        if listed.keys() != names.keys():
            raise UserError(f"data.path: {base / name} and {base / LISTS[0]} do not number the same images: unpack the set again")
    every = [Bird(name, int(labels[number]) - 1, training[number] == "1", _box(boxes[number])) for number, name in names.items()]
    return [bird for bird in every if split == "all" or bird.training == (split == "train")]


def _numbered(path: Path) -> dict[str, str]:
    """Return number -> rest of the lines "number rest"."""
    if not path.is_file():
        raise UserError(f"data.path: {path} does not exist, which the split and the labels need: unpack the set again")
    pairs = (line.split(maxsplit=1) for line in path.read_text().splitlines() if line.strip())
    return {number: rest.strip() for number, rest in pairs}


def _box(text: str) -> Box:
    x, y, width, height = map(float, text.split())
    return x, y, width, height


def _open(tree: FolderTree, birds: list[Bird], config: CUBDataConfig) -> Pictures:
    classes = _numbered(tree.root / "classes.txt").values()

    def entry(i: int) -> Entry:
        return Entry(birds[i].name, partial(_read, tree, birds[i], config), birds[i].label)

    return Pictures(tuple(name.partition(".")[2].replace("_", " ") for name in classes), Entries(len(birds), entry))


def _read(tree: FolderTree, bird: Bird, config: CUBDataConfig) -> tuple[Picture, str]:
    data = tree.read(("images", *bird.name.split("/")))
    return decode(data, size=config.size, crop=centre_square if config.crop == "centre" else partial(around_box, box=bird.box))


def around_box(image: Image.Image, *, box: Box) -> Image.Image:
    """Return the middle square of StackGAN's crop.

    With r = int(3/4 of the box's longer side) and c = int of the box's middle, that crop is [c - r, c + r], clipped to the image
    (StackGAN's ``get_img``).
    """
    x, y, width, height = box
    r = int(max(width, height) * 0.75)
    middle_x, middle_y = int((2 * x + width) / 2), int((2 * y + height) / 2)
    left, upper = max(0, middle_x - r), max(0, middle_y - r)
    right, lower = min(image.width, middle_x + r), min(image.height, middle_y + r)
    return centre_square(image.crop((left, upper, right, lower)))
