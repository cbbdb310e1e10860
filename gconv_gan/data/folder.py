"""Your own pictures: a folder or a zip, ``class/name.jpg`` or flat.

Pictures are the files with a known extension, in any case; hidden files and ``__MACOSX`` are passed over. They keep the order of
their sorted paths. A single folder around other folders is a wrapper, and so is a single folder called train or the like; any other
single folder around all pictures is a class, the only one. Below the wrapper (and below the split, where one is asked for) the first
folder names the class; classes are numbered in sorted order; deeper folders mean nothing. Pictures without any folder are unlabelled.
"""

import difflib
from functools import cache, partial
from pathlib import Path

from gconv_gan.config.data import FolderDataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.data.pictures import PICTURES_RECIPE, decode
from gconv_gan.data.source import Entries, Entry, Picture, Pictures, Source
from gconv_gan.data.tree import EXTENSIONS, Parts, Tree, is_picture, open_tree

SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def folder(config: FolderDataConfig) -> Source:
    """Return the pictures under ``config.path``.

    Raises:
        UserError: nothing there, no readable zip, no pictures, no such split, loose pictures beside class folders.

    """
    root = Path(config.path).expanduser().resolve()
    tree = open_tree(root)

    @cache
    def found() -> list[tuple[Parts, str | None]]:
        return _layout(tree.names(), config, root)

    return Source(
        kind=config.kind,
        title=root.stem if root.is_file() else root.name,
        location=str(root),
        split=config.split,
        size=config.size,
        fingerprint=tree.fingerprint(lambda: [parts for parts, _ in found()], memory=Path(config.cache_dir) / "fingerprints"),
        recipe=f"folder v2, split {config.split}, labels {config.labels}, size {config.size}; {PICTURES_RECIPE}",
        published="none: your own pictures",
        open=lambda: _open(tree, found(), config.size),
        may_skip=config.damaged == "skip",
        storage=config.storage,
    )


def _layout(paths: list[Parts], config: FolderDataConfig, root: Path) -> list[tuple[Parts, str | None]]:
    """Return the pictures of the split in sorted order, each with the name of its class."""
    pictures = sorted(parts for parts in paths if is_picture(parts))
    if not pictures:
        raise UserError(f"data.path: {root} holds no pictures ({', '.join(EXTENSIONS)})")
    depth = _wrappers(pictures, config.split)
    if config.split is not None:
        _require_split(pictures, depth, config.split, root)
        pictures = [parts for parts in pictures if parts[depth] == config.split and len(parts) > depth + 1]
        depth += 1
    if config.labels == "none":
        return [(parts, None) for parts in pictures]
    loose = [parts for parts in pictures if len(parts) == depth + 1]
    if len(loose) == len(pictures):
        return [(parts, None) for parts in pictures]
    if loose:
        raise UserError(
            f"data.path: {root}: {'/'.join(loose[0])} lies in no class folder while other pictures do; "
            'move it into one, or set data.labels = "none"'
        )
    classes = sorted({parts[depth] for parts in pictures})
    if config.split is None and SPLIT_NAMES.issuperset(name.lower() for name in classes):
        raise UserError(f"data.path: {root} has the splits {', '.join(classes)}, not classes; choose one with data.split")
    return [(parts, parts[depth]) for parts in pictures]


def _wrappers(pictures: list[Parts], split: str | None) -> int:
    """Return how many folders lie around everything, above the split and the classes."""
    depth = 0
    while len({parts[depth] for parts in pictures}) == 1:
        name, least = pictures[0][depth], min(len(parts) for parts in pictures) - depth
        if name == split or least < 2 or (least == 2 and name.lower() not in SPLIT_NAMES):
            break
        depth += 1
    return depth


def _require_split(pictures: list[Parts], depth: int, split: str, root: Path) -> None:
    folders = sorted({parts[depth] for parts in pictures if len(parts) > depth + 1})
    if split in folders:
        return
    near = difflib.get_close_matches(split, folders, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(folders[:20])}" if folders else "it has no sub-folders"
    raise UserError(f"data.split: {root} has no top-level sub-folder '{split}' with pictures; {hint}")


def _open(tree: Tree, found: list[tuple[Parts, str | None]], size: int) -> Pictures:
    classes = tuple(sorted({name for _, name in found if name is not None}))
    index = {name: i for i, name in enumerate(classes)}

    def entry(i: int) -> Entry:
        parts, name = found[i]
        return Entry("/".join(parts), partial(_read, tree, size, parts), None if name is None else index[name])

    return Pictures(classes, Entries(len(found), entry))


def _read(tree: Tree, size: int, parts: Parts) -> tuple[Picture, str]:
    return decode(tree.read(parts), size=size)
