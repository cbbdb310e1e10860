"""Stanford Dogs from the official archives, read in place, or from their unpacked files.

Khosla et al., "Novel Dataset for Fine-Grained Image Categorization" (2011). ``images.tar`` holds ``Images/<wnid>-<Breed>/<name>.jpg``;
``lists.tar`` holds ``train_list.mat`` and ``test_list.mat``, each with ``file_list`` (cells of paths below ``Images``) and ``labels``
from 1.
"""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.sections.data import StanfordDogsDataConfig
from gconv_gan.data.reading.archives import FolderTree, TarTree, Tree
from gconv_gan.data.reading.pictures import PICTURES_RECIPE, decode
from gconv_gan.data.sources.official import OfficialFile, fetch, verify
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

SITE = "http://vision.stanford.edu/aditya86/ImageNetDogs/"
STANFORD_DOGS: Mapping[str, OfficialFile] = {
    "images": OfficialFile("images.tar", SITE + "images.tar", "md5:1bb1f2a596ae7057f99d7d75860002ef", 793_579_520),
    "lists": OfficialFile("lists.tar", SITE + "lists.tar", "md5:edbb9f16854ec66506b5f09b583e0656", 481_280),
}
IMAGES = "Images"


@dataclass(frozen=True)
class Listed:
    """A split: (path below Images, class from 0) of every image, and the folder of every class."""

    images: list[tuple[str, int]]
    folders: list[str]


def stanford_dogs(config: StanfordDogsDataConfig, *, files: Mapping[str, OfficialFile] = STANFORD_DOGS) -> Source:
    """Return an official split in the order of its list.

    Raises:
        UserError: a file is absent (and ``download`` is off), or not the published one; images are missing.

    """
    root = Path(config.path).expanduser().resolve()
    list_name = f"{config.split}_list.mat"
    if config.download:
        absent = [key for key, part in (("images", IMAGES), ("lists", list_name)) if not _unpacked(root, key, part)]
        fetch([files[key] for key in absent], root)
    images = _tree(root, files["images"], IMAGES)
    lists = _tree(root, files["lists"], list_name)
    if isinstance(lists, TarTree):
        verify(lists.root, files["lists"].checksum)
    listed = cache(partial(_listed, lists, list_name))
    memory = Path(config.cache_dir) / "fingerprints"
    parts = (
        images.fingerprint(lambda: [(IMAGES, *name.split("/")) for name, _ in listed().images], memory=memory),
        lists.fingerprint(lambda: [(list_name,)], memory=memory),
    )
    return Source(
        kind=config.kind,
        title="Stanford Dogs",
        location=str(root),
        split=config.split,
        size=config.size,
        fingerprint=hashlib.sha256("".join(parts).encode()).hexdigest(),
        recipe=f"stanford_dogs v1, split {config.split}, size {config.size}; {PICTURES_RECIPE}",
        published="none: classifiers crop at random from a larger image",
        open=lambda: _open(images, files["images"], listed(), config.size),
    )


def _unpacked(root: Path, key: str, part: str) -> Path | None:
    """Return the folder with ``part``: the archives unpack flat, but are often unpacked into a folder named after the archive."""
    return next((folder for folder in (root, root / key) if (folder / part).exists()), None)


def _tree(root: Path, archive: OfficialFile, part: str) -> Tree:
    folder = _unpacked(root, archive.name.removesuffix(".tar"), part)
    if folder is not None:
        return FolderTree(folder)
    path = root / archive.name
    if not path.is_file():
        raise AbsentDataError(
            f"data.path: looked for {part} in {root}, and for {path}; set data.download = true{archive.needs}, or put {archive.url} there"
        )
    return TarTree(path)


def _listed(lists: Tree, name: str) -> Listed:
    from scipy.io import loadmat  # imported here, since the import takes half a second

    content = loadmat(io.BytesIO(lists.read((name,))), variable_names=["file_list", "labels"])
    paths = [str(cell.item()) for cell in content["file_list"].reshape(-1)]
    labels = [int(label) - 1 for label in content["labels"].reshape(-1)]
    folders = {label: path.partition("/")[0] for path, label in zip(paths, labels, strict=True)}
    return Listed(list(zip(paths, labels, strict=True)), [folders[label] for label in range(len(folders))])


def _open(tree: Tree, archive: OfficialFile, listed: Listed, size: int) -> Pictures:
    if isinstance(tree, TarTree):
        verify(tree.root, archive.checksum)
    present = set(tree.names())
    lost = [name for name, _ in listed.images if (IMAGES, *name.split("/")) not in present]
    if lost:
        raise UserError(f"data.path: {tree.root} lacks {len(lost):,} of the {len(listed.images):,} listed images; the first is {lost[0]}")

    def entry(i: int) -> Entry:
        name, label = listed.images[i]
        return Entry(name, partial(_read, tree, name, size), label)

    return Pictures(tuple(_breed(folder) for folder in listed.folders), Entries(len(listed.images), entry))


def _breed(folder: str) -> str:
    """Return "Black and tan coonhound" of "n02089078-black-and-tan_coonhound"."""
    return folder.partition("-")[2].replace("_", " ")


def _read(tree: Tree, name: str, size: int) -> tuple[Picture, str]:
    return decode(tree.read((IMAGES, *name.split("/"))), size=size)
