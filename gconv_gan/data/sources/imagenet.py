"""ImageNet (ILSVRC 2012) as folders.

Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge" (2015). ``train/<wnid>/*.JPEG``; ``val`` either has the same
class folders (after the customary script) or is flat, as published, ``val/ILSVRC2012_val_00000001.JPEG`` …, and the classes come from
the development kit (``ILSVRC2012_devkit_t12/data``: ``ILSVRC2012_validation_ground_truth.txt``, line i is the ILSVRC2012_ID of image
i, and ``meta.mat``, which maps it to a wnid) or from Kaggle's ``LOC_val_solution.csv`` ("ImageId,PredictionString": the first word of
the second column is the wnid). Classes are numbered in the order of their sorted wnids, as is usual. A subset of the
class folders is accepted.
"""

import csv
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import ImageNetDataConfig, ResizeFilter
from gconv_gan.data.class_names import first_synonym, read_words, readable
from gconv_gan.data.reading.archives import FolderTree, Parts, is_picture
from gconv_gan.data.reading.pictures import decode, pictures_recipe
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

KAGGLE = ("ILSVRC", "Data", "CLS-LOC")
SOLUTION, MAPPING = "LOC_val_solution.csv", "LOC_synset_mapping.txt"
DEVKIT = Path("ILSVRC2012_devkit_t12") / "data"
GROUND_TRUTH, META = DEVKIT / "ILSVRC2012_validation_ground_truth.txt", DEVKIT / "meta.mat"
NUM_CLASSES = 1000
PUBLISHED: dict[ResizeFilter, str] = {
    "bicubic": "none",
    "bilinear": "BigGAN-PyTorch's CenterCropLongEdge, Resize; where the sides differ by 3 modulo 4, its crop starts one pixel later",
    "lanczos": "StyleGAN3's dataset_tool with center-crop; StudioGAN's too, but for the same pixel",
}


def imagenet(config: ImageNetDataConfig) -> Source:
    """Return a split: train and val folders in the order of classes and names, a flat val in the order of its names.

    Raises:
        UserError: there is no such folder, or a flat val without its annotations, or one that does not fit them.

    """
    root = Path(config.path).expanduser().resolve()
    base = next((folder for folder in (root, root.joinpath(*KAGGLE), root.joinpath(*KAGGLE[1:])) if (folder / config.split).is_dir()), None)
    if base is None:
        raise AbsentDataError(
            f"data.path: looked for the folder {config.split} in {root} and {root.joinpath(*KAGGLE)}; ImageNet requires people to "
            "accept its terms: get it from image-net.org or Kaggle's imagenet-object-localization-challenge and unpack it there"
        )
    tree = FolderTree(base / config.split)
    layout = cache(partial(_layout, root, base, config.split))
    wnids = _wnids(base, layout())
    share = "" if len(wnids) == NUM_CLASSES else f" ({len(wnids)} of its {NUM_CLASSES} classes)"
    return Source(
        kind=config.kind,
        title=f"ImageNet{share}",
        location=str(tree.root),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(lambda: [parts for parts, _ in layout()], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"imagenet v1, split {config.split}, size {config.size}; {pictures_recipe(config.resize)}",
        published=PUBLISHED[config.resize],
        open=lambda: _open(tree, layout(), wnids, readable(wnids, _names(root, base)), config),
        storage=config.storage,
    )


# --- which images, which classes -------------------------------------------------------------------------------------------------


def _layout(root: Path, base: Path, split: str) -> list[tuple[Parts, str]]:
    """Return the images below ``base/split`` in their order, each with its wnid."""
    place = base / split
    images = sorted(parts for parts in FolderTree(place).names() if is_picture(parts))
    if not images:
        raise UserError(f"data.path: {place} holds no pictures")
    loose = [parts for parts in images if len(parts) == 1]
    if not loose:
        return [(parts, parts[0]) for parts in images]
    if len(loose) < len(images):
        raise UserError(f"data.path: {place}: {loose[0][0]} lies in no class folder while other pictures do; move it into one")
    if split == "train":
        raise UserError(
            f"data.path: {place} has no class folders: unpack each class's archive into a folder of its own, train/<wnid>/*.JPEG"
        )
    return _flat(root, base, [parts[0] for parts in images])


def _flat(root: Path, base: Path, names: list[str]) -> list[tuple[Parts, str]]:
    annotations = next((file for folder in (root, base) for file in (folder / SOLUTION, folder / GROUND_TRUTH) if file.is_file()), None)
    if annotations is None:
        raise UserError(
            f"data.path: {base / 'val'} has no class folders, and neither {SOLUTION} nor {GROUND_TRUTH} is in {root}: "
            "unpack the development kit (ILSVRC2012_devkit_t12.tar.gz) there, or move the images into class folders"
        )
    wnid = _solution(annotations) if annotations.name == SOLUTION else _ground_truth(annotations)
    unknown = next((name for name in names if Path(name).stem not in wnid), None)
    if unknown is not None:
        raise UserError(f"data.path: {annotations} does not say the class of val/{unknown}")
    return [((name,), wnid[Path(name).stem]) for name in names]


def _solution(path: Path) -> dict[str, str]:
    """Return image -> wnid from Kaggle's solution: "ILSVRC2012_val_00000001,n01751748 111 108 431 202 …"."""
    with path.open(newline="") as file:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}


def _ground_truth(path: Path) -> dict[str, str]:
    """Return image -> wnid from the development kit: the ILSVRC2012_ID of each image, in their order."""
    wnid = {number: identifier for number, identifier, _ in _synsets(path.with_name(META.name))}
    numbers = path.read_text().split()
    return {f"ILSVRC2012_val_{i:08d}": wnid[int(number)] for i, number in enumerate(numbers, start=1)}


def _synsets(path: Path) -> list[tuple[int, str, str]]:
    """Return (ILSVRC2012_ID, wnid, words) of the classes in ``meta.mat``: the synsets without children."""
    from scipy.io import loadmat  # imported here, since the import takes half a second

    if not path.is_file():
        raise UserError(f"data.path: {path} does not exist, which maps the numbers of the ground truth to classes")
    rows = loadmat(path, squeeze_me=True)["synsets"]
    return [(int(row["ILSVRC2012_ID"]), str(row["WNID"]), str(row["words"])) for row in rows.reshape(-1) if int(row["num_children"]) == 0]


def _wnids(base: Path, images: list[tuple[Parts, str]]) -> list[str]:
    """Return the classes: the folders of train if it exists, so that a val with a subset of them has the same numbers."""
    found = {wnid for _, wnid in images}
    train = base / "train"
    known = {folder.name for folder in train.iterdir() if folder.is_dir() and not folder.name.startswith(".")} if train.is_dir() else found
    strange = sorted(found - known)
    if strange:
        raise UserError(f"data.path: {base}: val has the class {strange[0]}, which train lacks")
    return sorted(known)


def _names(root: Path, base: Path) -> dict[str, str]:
    """Return wnid -> name from the official list that is present."""
    for folder in (root, base):
        for name in (MAPPING, "words.txt"):
            if (folder / name).is_file():
                return read_words((folder / name).read_text())
        if (folder / META).is_file():
            return {wnid: first_synonym(words) for _, wnid, words in _synsets(folder / META)}
    return {}


# --- pictures --------------------------------------------------------------------------------------------------------------------


def _open(
    tree: FolderTree, images: list[tuple[Parts, str]], wnids: list[str], classes: tuple[str, ...], config: ImageNetDataConfig
) -> Pictures:
    index = {wnid: i for i, wnid in enumerate(wnids)}

    def entry(i: int) -> Entry:
        parts, wnid = images[i]
        return Entry("/".join(parts), partial(_read, tree, parts, config), index[wnid])

    return Pictures(classes, Entries(len(images), entry))


def _read(tree: FolderTree, parts: Parts, config: ImageNetDataConfig) -> tuple[Picture, str]:
    return decode(tree.read(parts), size=config.size, resize=config.resize)
