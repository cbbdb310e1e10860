"""Tiny-ImageNet in its official layout, a folder or the zip, whole or a subset of its classes.

Le and Yang, "Tiny ImageNet Visual Recognition Challenge" (2015). ``wnids.txt`` lists the classes; ``words.txt`` names them;
``train/<wnid>/images/<wnid>_<i>.JPEG`` are the training images; ``val/images/val_<i>.JPEG`` have no class folders: each line of
``val/val_annotations.txt`` is file, wnid and a box, separated by tabs. Classes are numbered in the order of their sorted wnids, as by
ImageFolder for ``train``, in both splits.
"""

from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import TinyImageNetDataConfig
from gconv_gan.data.class_names import read_words, readable
from gconv_gan.data.reading.archives import FolderTree, Parts, Tree, is_picture, open_tree
from gconv_gan.data.reading.pictures import PICTURES_RECIPE, decode
from gconv_gan.data.sources.official import OfficialFile, fetch
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

TINY_IMAGENET = OfficialFile(
    "tiny-imagenet-200.zip", "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "md5:90528d7ca1a48142e341f4ef8d21d0de", 248_100_043
)
FOLDER, WNIDS, WORDS, ANNOTATIONS = "tiny-imagenet-200", "wnids.txt", "words.txt", ("val", "val_annotations.txt")
NUM_CLASSES = 200


@dataclass(frozen=True)
class Layout:
    """The images of a split in their order, each with its wnid (test: None), and every other file that was read."""

    images: list[tuple[Parts, str | None]]
    wnids: list[str]
    classes: tuple[str, ...]
    lists: list[Parts]


def tiny_imagenet(config: TinyImageNetDataConfig, *, archive: OfficialFile = TINY_IMAGENET) -> Source:
    """Return a split: train in the order of classes and names, val in the order of its annotations.

    Raises:
        UserError: the data are absent (and ``download`` is off), or lists and images do not fit together.

    """
    root = Path(config.path).expanduser().resolve()
    if config.download and _find(root) is None:
        fetch([archive], root)
    tree = _find(root)
    if tree is None:
        raise AbsentDataError(
            f"data.path: looked for {WNIDS} in {root} and {root / FOLDER}, and for {root / archive.name}; set data.download = true"
            f"{archive.needs}, or put {archive.url} there"
        )
    layout = cache(partial(_layout, tree, config.split))
    found = layout()
    share = "" if len(found.wnids) == NUM_CLASSES else f" ({len(found.wnids)} of its {NUM_CLASSES} classes)"
    return Source(
        kind=config.kind,
        title=f"Tiny-ImageNet{share}",
        location=str(tree.root),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(lambda: [*found.lists, *(p for p, _ in found.images)], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"tiny_imagenet v1, split {config.split}, size {config.size}; {PICTURES_RECIPE}",
        published=_published(config.size),
        open=lambda: _open(tree, found, config.size),
    )


def _published(size: int) -> str:
    if size == 64:
        return "the pixels as published, decoded by Pillow, grey images as RGB: StudioGAN's without its flips"
    return "none: published work uses the 64×64 pixels"


def _find(root: Path) -> Tree | None:
    for base in (root, root / FOLDER):
        if (base / WNIDS).is_file():
            return FolderTree(base)
    packed = next((path for path in (root, root / TINY_IMAGENET.name) if path.is_file()), None)
    return None if packed is None else open_tree(packed)


# --- which images, which classes -------------------------------------------------------------------------------------------------


def _layout(tree: Tree, split: str) -> Layout:
    names = tree.names()
    above = min((parts[:-1] for parts in names if parts[-1] == WNIDS), key=len, default=None)
    if above is None:
        raise UserError(f"data.path: {tree.root} has no {WNIDS}: it is not Tiny-ImageNet in the official layout")
    inside = {parts[len(above) :] for parts in names if parts[: len(above)] == above and (parts[-1].endswith(".txt") or is_picture(parts))}
    lists: list[Parts] = [(WNIDS,)]
    wnids = sorted(_text(tree, above, (WNIDS,)).split())
    words: dict[str, str] = {}
    if (WORDS,) in inside:
        lists.append((WORDS,))
        words = read_words(_text(tree, above, (WORDS,)))
    if split == "train":
        images = _train(tree.root, inside, wnids)
    elif split == "val":
        lists.append(ANNOTATIONS)
        if ANNOTATIONS not in inside:
            raise UserError(f"data.path: {tree.root} has no {'/'.join(ANNOTATIONS)}, without which val has no classes")
        images = _val(tree.root, inside, wnids, _text(tree, above, ANNOTATIONS))
    else:
        images = [(parts, None) for parts in sorted(p for p in inside if p[:2] == ("test", "images"))]
    if not images:
        raise UserError(f"data.split: {tree.root} has no images of the split {split}")
    classes = () if split == "test" else readable(wnids, words)
    return Layout([((*above, *parts), wnid) for parts, wnid in images], wnids, classes, [(*above, *parts) for parts in lists])


def _text(tree: Tree, above: Parts, parts: Parts) -> str:
    return tree.read((*above, *parts)).decode()


def _train(root: Path, inside: set[Parts], wnids: list[str]) -> list[tuple[Parts, str | None]]:
    images: list[tuple[Parts, str | None]] = [
        (parts, parts[1]) for parts in sorted(inside) if len(parts) == 4 and parts[0] == "train" and parts[2] == "images"
    ]
    _require_same(root, {str(wnid) for _, wnid in images}, set(wnids), "the folders of train", WNIDS)
    return images


def _val(root: Path, inside: set[Parts], wnids: list[str], annotations: str) -> list[tuple[Parts, str | None]]:
    pairs = [line.split("\t")[:2] for line in annotations.splitlines() if line.strip()]
    images: list[tuple[Parts, str | None]] = [(("val", "images", name), wnid) for name, wnid in pairs]
    present = {parts[2] for parts in inside if parts[:2] == ("val", "images")}
    _require_same(root, present, {name for name, _ in pairs}, "val/images", ANNOTATIONS[-1])
    unknown = sorted({wnid for _, wnid in pairs} - set(wnids))
    if unknown:
        raise UserError(f"data.path: {root}: {ANNOTATIONS[-1]} has the class {unknown[0]}, which is not in {WNIDS}")
    return images


def _require_same(root: Path, here: set[str], there: set[str], place: str, file: str) -> None:
    lost, extra = sorted(there - here), sorted(here - there)
    if lost or extra:
        what = f"{file} lists {lost[0]}, which {place} lacks" if lost else f"{place} has {extra[0]}, which {file} does not list"
        raise UserError(f"data.path: {root}: {what} (and {len(lost) + len(extra) - 1} more such): it is not whole")


# --- pictures --------------------------------------------------------------------------------------------------------------------


def _open(tree: Tree, layout: Layout, size: int) -> Pictures:
    index = {wnid: i for i, wnid in enumerate(layout.wnids)}

    def entry(i: int) -> Entry:
        parts, wnid = layout.images[i]
        return Entry("/".join(parts), partial(_read, tree, size, parts), None if wnid is None else index[wnid])

    return Pictures(layout.classes, Entries(len(layout.images), entry))


def _read(tree: Tree, size: int, parts: Parts) -> tuple[Picture, str]:
    return decode(tree.read(parts), size=size)
