"""A folder, a zip or a tar of pictures as one thing: names of files, and their bytes.

Zip and tar are read in place. ``read`` may be called from several threads at once.
"""

import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from gconv_gan.config.errors import UserError
from gconv_gan.data.fingerprint import content_hash
from gconv_gan.data.official import failure_page
from gconv_gan.data.pictures import DamagedImageError

Parts = tuple[str, ...]
"""A path inside the folder or archive, ("train", "cat", "1.jpg")."""


EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def is_picture(parts: Parts) -> bool:
    """Return whether the file has a picture's extension and is not hidden."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and parts[-1].lower().endswith(EXTENSIONS)


@runtime_checkable
class Tree(Protocol):
    """Files below one root."""

    root: Path

    def names(self) -> list[Parts]:
        """Return every file's path."""
        ...

    def read(self, parts: Parts) -> bytes:
        """Return a file's content; raise ``DamagedImageError`` where an archive's member is broken, ``UserError`` where disk or file is."""
        ...

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        """Return the SHA-256 of the content: of the files ``used``, or of the whole archive."""
        ...


def open_tree(root: Path) -> Tree:
    """Return the folder, zip or tar at ``root``.

    Raises:
        UserError: there is nothing, or no whole zip or plain tar.

    """
    if not root.exists():
        raise UserError(f"data.path: {root} does not exist; give a folder of pictures, or a zip of one")
    try:
        if root.is_dir():
            return FolderTree(root)
        if zipfile.is_zipfile(root):
            return ZipTree(root)
        if root.suffix == ".tar" and tarfile.is_tarfile(root):
            return TarTree(root)
        page = failure_page(root)
    except OSError as error:
        raise unreadable(error, root) from error
    raise UserError(f"data.path: {page or f'{root} is neither a folder nor a whole zip; it may be cut short'}")


def unreadable(error: OSError, root: Path) -> UserError:
    """Return the sentence for a file that the file system does not give."""
    return UserError(f"data.path: cannot read {error.filename or root}: {error.strerror or error}")


class FolderTree:
    """A folder; links are followed, a link to a folder that contains it is not."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[Parts]:
        try:
            return list(_walk(self.root, (), frozenset()))
        except OSError as error:
            raise unreadable(error, self.root) from error

    def read(self, parts: Parts) -> bytes:
        try:
            return self.root.joinpath(*parts).read_bytes()
        except OSError as error:  # the file system's fault, not the picture's
            raise unreadable(error, self.root) from error

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        try:
            return content_hash([("/".join(parts), self.root.joinpath(*parts)) for parts in used()], memory=memory)
        except OSError as error:
            raise unreadable(error, self.root) from error


def _walk(path: Path, inside: Parts, ancestors: frozenset[tuple[int, int]]) -> Iterator[Parts]:
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


class _Archive:
    def __init__(self, root: Path) -> None:
        self.root = root

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        del used  # the archive's bytes say everything
        try:
            return content_hash([("", self.root)], memory=memory)
        except OSError as error:
            raise unreadable(error, self.root) from error


class ZipTree(_Archive):
    """A zip, opened when first asked for a name."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._archive: zipfile.ZipFile | None = None
        self._members: dict[Parts, zipfile.ZipInfo] = {}

    def names(self) -> list[Parts]:
        self._open()
        return list(self._members)

    def read(self, parts: Parts) -> bytes:
        archive = self._open()
        try:
            return archive.read(self._members[parts])
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DamagedImageError(str(error)) from error

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.root)
            except zipfile.BadZipFile as error:
                raise UserError(f"data.path: {self.root} is a damaged zip: {error}") from error
            for member in self._archive.infolist():
                parts = _parts(member.filename)
                if member.is_dir() or not parts:
                    continue
                if parts in self._members:
                    raise UserError(f"data.path: {self.root} holds {member.filename} twice")
                if member.flag_bits & 1:
                    raise UserError(f"data.path: {self.root} is encrypted; unpack it, or make a plain zip")
                self._members[parts] = member
        return self._archive


class TarTree(_Archive):
    """A plain tar, its members found when first asked for a name."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._members: dict[Parts, tuple[int, int]] = {}
        self._descriptor: int | None = None

    def names(self) -> list[Parts]:
        self._open()
        return list(self._members)

    def read(self, parts: Parts) -> bytes:
        descriptor = self._open()
        offset, size = self._members[parts]
        data = os.pread(descriptor, size, offset)
        if len(data) != size:
            raise DamagedImageError("the tar ends inside it")
        return data

    def _open(self) -> int:
        if self._descriptor is None:
            for name, offset, size in tar_members(self.root):
                self._members[_parts(name)] = (offset, size)
            self._descriptor = os.open(self.root, os.O_RDONLY)
        return self._descriptor


def tar_members(path: Path) -> Iterator[tuple[str, int, int]]:
    """Yield (name, offset of the content, its size) of every file in a plain tar.

    Raises:
        UserError: it is no plain tar, or damaged.

    """
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile():
                    yield member.name, member.offset_data, member.size
    except tarfile.TarError as error:
        hint = "unpack its compression first (gunzip): " if path.suffix in (".gz", ".tgz", ".zst", ".bz2", ".xz") else ""
        raise UserError(f"data.path: {path} is no whole plain tar: {hint}{error}") from error
    except OSError as error:
        raise unreadable(error, path) from error


def _parts(name: str) -> Parts:
    return tuple(part for part in name.split("/") if part not in ("", "."))
