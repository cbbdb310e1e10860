"""Your own pictures: a folder, a zip or a plain tar, ``class/name.jpg`` or flat.

Pictures are the files with a suffix of ``EXTENSIONS``, in upper or lower case; ``tree`` defines which files are skipped. They are ordered
by their paths. A single folder around other folders is a wrapper, as is a single folder called train or the like; any other single
folder around all pictures is the only class. Below the wrapper (and the split, if one is given) the first folder names the class;
classes are numbered in sorted order; deeper folders are ignored. Pictures without any folder are unlabelled.
"""

import difflib
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.data.reading.archives import FolderTree, Listing, Parts, Tree, list_pictures, open_tree, printable, shown
from gconv_gan.data.reading.pictures import PICTURES_RECIPE, decode
from gconv_gan.data.sources.source import Entries, Entry, Picture, Pictures, Source

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def folder(config: FolderDataConfig) -> Source:
    """Return the pictures under ``config.path``.

    Raises:
        UserError: the path is absent or not readable, there are no pictures or no such split, or pictures lie beside class folders.

    """
    root = Path(config.path).expanduser().resolve()
    tree = open_tree(root)

    listing = cache(partial(list_pictures, tree))

    @cache
    def found() -> list[tuple[Parts, str | None]]:
        return _layout(listing(), config, root)

    return Source(
        kind=config.kind,
        title=printable(root.stem if root.is_file() else root.name),
        location=printable(str(root)),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(lambda: [parts for parts, _ in found()], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"folder v2, split {config.split}, labels {config.labels}, size {config.size}; {PICTURES_RECIPE}",
        published="none: your own pictures",
        open=lambda: _open(tree, found(), config.size, listing().left_out),
        left_out=(lambda: listing().left_out) if isinstance(tree, FolderTree) else None,
        may_skip=config.damaged == "skip",
        storage=config.storage,
    )


def _layout(listing: Listing, config: FolderDataConfig, root: Path) -> list[tuple[Parts, str | None]]:
    """Return the pictures of the split in sorted order, each with the name of its class."""
    pictures, depth = in_split(listing.pictures, config.split, root, where="data.split: ")
    if config.labels == "none":
        return [(parts, None) for parts in pictures]
    loose = [parts for parts in pictures if len(parts) == depth + 1]
    if len(loose) == len(pictures):
        return [(parts, None) for parts in pictures]
    if loose:
        raise UserError(
            f"data.path: {root}: {shown(loose[0])} lies in no class folder while other pictures do; "
            'move it into one, or set data.labels = "none"'
        )
    classes = sorted({parts[depth] for parts in pictures})
    if config.split is None and SPLIT_NAMES.issuperset(name.lower() for name in classes):
        raise UserError(f"data.path: {root} has the splits {', '.join(classes)}, not classes; choose one with data.split")
    return [(parts, parts[depth]) for parts in pictures]


def in_split(pictures: list[Parts], split: str | None, root: Path, *, where: str) -> tuple[list[Parts], int]:
    """Return the pictures of a split (None: all), and the number of folders around them: wrappers, and that of the split.

    Raises:
        UserError: there is no such split; the message begins with ``where``.

    """
    depth = _wrappers(pictures, split)
    if split is None:
        return pictures, depth
    _require_split(pictures, depth, split, root, where)
    return [parts for parts in pictures if parts[depth] == split and len(parts) > depth + 1], depth + 1


def _wrappers(pictures: list[Parts], split: str | None) -> int:
    """Return the number of wrapper folders above the split and the classes."""
    depth = 0
    while len({parts[depth] for parts in pictures}) == 1:
        name, least = pictures[0][depth], min(len(parts) for parts in pictures) - depth
        if name == split or least < 2 or (least == 2 and name.lower() not in SPLIT_NAMES):
            break
        depth += 1
    return depth


def _require_split(pictures: list[Parts], depth: int, split: str, root: Path, where: str) -> None:
    folders = sorted({parts[depth] for parts in pictures if len(parts) > depth + 1})
    if split in folders:
        return
    near = difflib.get_close_matches(split, folders, n=1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"there are: {', '.join(map(printable, folders[:20]))}"
        if folders
        else "it has no sub-folders"
    )
    raise UserError(f"{where}{root} has no top-level sub-folder '{split}' with pictures; {hint}")


def _open(tree: Tree, found: list[tuple[Parts, str | None]], size: int, left_out: str) -> Pictures:
    classes = tuple(sorted({name for _, name in found if name is not None}))
    index = {name: i for i, name in enumerate(classes)}

    def entry(i: int) -> Entry:
        parts, name = found[i]
        return Entry(shown(parts), partial(_read, tree, size, parts), None if name is None else index[name])

    return Pictures(tuple(map(printable, classes)), Entries(len(found), entry), left_out=left_out)


def _read(tree: Tree, size: int, parts: Parts) -> tuple[Picture, str]:
    return decode(tree.read(parts), size=size)
