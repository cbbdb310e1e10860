"""Your own pictures: a folder or a zip, ``class/name.jpg`` or flat.

Pictures are the files with a known extension, in any case; hidden files and ``__MACOSX`` are passed over. They keep the order of
their sorted paths. A single folder around everything is a wrapper, not a class. Below it (and below the split, where one is asked
for) the first folder names the class; classes are numbered in sorted order; deeper folders mean nothing. Pictures without any
folder are unlabelled.
"""

import difflib
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gconv_gan.config.data import FolderDataConfig
from gconv_gan.config.errors import UserError
from gconv_gan.data.fingerprint import content_hash
from gconv_gan.data.pictures import PICTURES_RECIPE, DamagedImageError, decode
from gconv_gan.data.source import Entry, Picture, Pictures, Source

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})

Parts = tuple[str, ...]
"""A path inside the folder or zip, ("train", "cat", "1.jpg")."""


def folder(config: FolderDataConfig) -> Source:
    """Return the pictures under ``config.path``.

    Raises:
        UserError: nothing there, no readable zip, no pictures, no such split, loose pictures beside class folders.

    """
    root = Path(config.path).expanduser().resolve()
    if not root.exists():
        raise UserError(f"data.path: {root} does not exist; give a folder of pictures, or a zip of one")
    try:
        if root.is_dir():
            found = _layout(list(_walk(root, (), frozenset())), config, root)
            files = [("/".join(parts), root.joinpath(*parts)) for parts, _ in found]
            opened = partial(_open_folder, root, found, config.size)
        else:
            _require_zip(root)
            files = [("", root)]
            opened = partial(_open_zip, root, config)
        fingerprint = content_hash(files, memory=Path(config.cache_dir) / "fingerprints")
    except OSError as error:
        raise _unreadable(error, root) from error
    return Source(
        kind=config.kind,
        title=root.stem if root.is_file() else root.name,
        location=str(root),
        split=config.split,
        size=config.size,
        fingerprint=fingerprint,
        recipe=f"folder v1, split {config.split}, labels {config.labels}, size {config.size}; {PICTURES_RECIPE}",
        open=opened,
    )


def _unreadable(error: OSError, root: Path) -> UserError:
    return UserError(f"data.path: cannot read {error.filename or root}: {error.strerror or error}")


# --- which pictures, which classes -----------------------------------------------------------------------------------------------


def _is_picture(parts: Parts) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and parts[-1].lower().endswith(EXTENSIONS)


def _layout(paths: list[Parts], config: FolderDataConfig, root: Path) -> list[tuple[Parts, str | None]]:
    """Return the pictures of the split in sorted order, each with the name of its class."""
    pictures = sorted(parts for parts in paths if _is_picture(parts))
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
    """Return how many folders lie around everything, above the split."""
    depth = 0
    while len({parts[depth] for parts in pictures}) == 1 and all(len(parts) > depth + 1 for parts in pictures):
        if pictures[0][depth] == split:
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


def _opened(found: list[tuple[Parts, str | None]], read: Callable[[Parts], tuple[Picture, str]]) -> Pictures:
    classes = tuple(sorted({name for _, name in found if name is not None}))
    index = {name: i for i, name in enumerate(classes)}
    entries = (Entry("/".join(parts), partial(read, parts), None if name is None else index[name]) for parts, name in found)
    return Pictures(len(found), classes, entries)


# --- a folder --------------------------------------------------------------------------------------------------------------------


def _walk(path: Path, inside: Parts, ancestors: frozenset[tuple[int, int]]) -> Iterator[Parts]:
    """Yield every file below ``path``; links are followed, a link to a folder that contains it is not."""
    stat = path.stat()
    identity = (stat.st_dev, stat.st_ino)
    if identity in ancestors:
        return
    with os.scandir(path) as children:
        for child in children:
            if child.is_dir():
                yield from _walk(path / child.name, (*inside, child.name), ancestors | {identity})
            else:
                yield (*inside, child.name)


def _open_folder(root: Path, found: list[tuple[Parts, str | None]], size: int) -> Pictures:
    return _opened(found, partial(_read_file, root, size))


def _read_file(root: Path, size: int, parts: Parts) -> tuple[Picture, str]:
    try:
        data = root.joinpath(*parts).read_bytes()
    except OSError as error:  # the file system's fault, not the picture's
        raise _unreadable(error, root) from error
    return decode(data, size=size)


# --- a zip -----------------------------------------------------------------------------------------------------------------------


def _require_zip(root: Path) -> None:
    if zipfile.is_zipfile(root):
        return
    with root.open("rb") as file:
        start = file.read(16)
    hint = "it begins like a web page: a failed download?" if start.lstrip()[:1] == b"<" else "it may be cut short"
    raise UserError(f"data.path: {root} is neither a folder nor a whole zip; {hint}")


def _open_zip(root: Path, config: FolderDataConfig) -> Pictures:
    try:
        archive = zipfile.ZipFile(root)
    except zipfile.BadZipFile as error:
        raise UserError(f"data.path: {root} is a damaged zip: {error}") from error
    members: dict[Parts, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        parts = tuple(part for part in member.filename.split("/") if part not in ("", "."))
        if member.is_dir() or not parts or not _is_picture(parts):
            continue
        if parts in members:
            raise UserError(f"data.path: {root} holds {member.filename} twice")
        if member.flag_bits & 1:
            raise UserError(f"data.path: {root} is encrypted; unpack it, or make a plain zip")
        members[parts] = member
    return _opened(_layout(list(members), config, root), partial(_read_member, archive, members, config.size))


def _read_member(archive: zipfile.ZipFile, members: dict[Parts, zipfile.ZipInfo], size: int, parts: Parts) -> tuple[Picture, str]:
    try:
        data = archive.read(members[parts])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DamagedImageError(str(error)) from error
    return decode(data, size=size)
