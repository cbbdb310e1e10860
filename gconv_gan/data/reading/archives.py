"""Common interface to a folder, a zip or a plain tar of pictures: names of files, their bytes, and skipped files.

The three containers give the same files. Hidden files and folders (``.x``, ``__MACOSX``) are skipped; links are
followed, also inside an archive; pipes, sockets and devices are never opened. Zip and tar are read in place. ``read`` may be called from
several threads at once. An archive that holds one name twice, an encrypted zip and a tar without its end are refused.
"""

import contextlib
import errno
import os
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from gconv_gan.config.errors import AbsentDataError, UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.data.reading.fingerprint import content_hash
from gconv_gan.data.reading.pictures import EXTENSIONS, DamagedImageError, EncodedFile
from gconv_gan.data.sources.official import failure_page

Parts = tuple[str, ...]
"""A path inside the folder or archive, ("train", "cat", "1.jpg")."""

Place = TypeVar("Place")

LARGEST = 2**30  # bytes of a file: an upper limit for decodable pictures, since an archive may claim any size
DATA_PATH = "data.path: "  # prefix of every message if the path is this key of a config

HIDDEN, NO_PICTURE, NOWHERE = "hidden", "of a kind that is not read as a picture", "linked to nowhere"
CIRCLE, SPECIAL, OUTSIDE = "linked to a folder around it", "a pipe, socket or device", "named with .."


def is_picture(parts: Parts) -> bool:
    """Return whether the file has a picture's suffix, in upper or lower case."""
    return "." + parts[-1].rpartition(".")[2].lower() in EXTENSIONS


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is skipped."""
    return name.startswith(".") or name == "__MACOSX"


def printable(name: str) -> str:
    r"""Return a name in one line of valid Unicode: bytes of another encoding and control characters as ``\x..``."""
    if name.isascii() and name.isprintable():
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)


def shown(parts: Parts) -> str:
    """Return the path as it is printed."""
    return printable("/".join(parts))


@runtime_checkable
class Tree(Protocol):
    """Files below one root."""

    root: Path
    where: str
    """Prefix of messages: the key that names the root, or ""."""
    left_out: dict[str, list[Parts]]
    """Reason -> files and folders that ``names`` skipped."""

    def names(self) -> list[Parts]:
        """Return the paths of all files that are not hidden."""
        ...

    def read(self, parts: Parts) -> bytes:
        """Return a file's content; raise ``DamagedImageError`` for a damaged member of an archive, ``UserError`` for an unreadable file."""
        ...

    def open(self, parts: Parts) -> EncodedFile:
        """Return an open file for partial reading; raise as ``read`` does."""
        ...

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        """Return the SHA-256 of the content: of the files ``used``, or of the whole archive."""
        ...


def open_tree(root: Path, *, where: str = DATA_PATH) -> Tree:
    """Return the folder, zip or plain tar at ``root``.

    Raises:
        AbsentDataError: the path does not exist.
        UserError: it is none of them, or incomplete.

    """
    if not root.exists():
        absent = does_not_exist(root)
        raise AbsentDataError(where + (absent if absent.endswith("?") else f"{absent}; give a folder of pictures, or a zip or tar of one"))
    try:
        if root.is_dir():
            return FolderTree(root, where=where)
        require_file(root, where=where)
        if _begins_as_tar(root):  # before zip: a tar may contain a zip as its last member
            return TarTree(root, where=where)
        if zipfile.is_zipfile(root):
            return ZipTree(root, where=where)
        page = failure_page(root)
    except OSError as error:
        raise unreadable(error, root, where=where) from error
    raise UserError(where + (page or f"{root} is neither a folder nor a whole zip or tar of pictures; it may be cut short"))


def require_file(path: Path, *, where: str = DATA_PATH) -> None:
    """Raise ``UserError`` if ``path`` is a pipe, socket or device, whose content may be infinite."""
    if not path.is_file():
        raise UserError(f"{where}{path} is {SPECIAL}, not a file; write it to a file first")


def unreadable(error: OSError, root: Path, *, where: str = DATA_PATH) -> UserError:
    """Return the message for a file that cannot be read."""
    return UserError(f"{where}cannot read {printable(str(error.filename or root))}: {error.strerror or error}")


@dataclass(frozen=True)
class Listing:
    """The pictures of a tree, sorted by their paths, and one sentence on skipped files; "" if there are none."""

    pictures: list[Parts]
    left_out: str


def list_pictures(tree: Tree) -> Listing:
    """Return the pictures of ``tree``.

    Raises:
        UserError: there are none, or the tree cannot be read.

    """
    names = tree.names()
    pictures = sorted(parts for parts in names if is_picture(parts))
    others = {**tree.left_out, NO_PICTURE: sorted(parts for parts in names if not is_picture(parts))}
    groups = [
        f"{len(found):,} {reason} ({shown(min(found))}{', …' if len(found) > 1 else ''})" for reason, found in others.items() if found
    ]
    left_out = f"left out {', '.join(groups)}" if groups else ""
    if not pictures:
        said = f"; {left_out}" if left_out else ""
        raise UserError(f"{tree.where}{tree.root} holds no pictures (.jpg, .png, .webp and other suffixes that Pillow here opens){said}")
    return Listing(pictures, left_out)


# --- folders ---------------------------------------------------------------------------------------------------------------------


class FolderTree:
    """A folder; links are followed, a link to a folder that contains it is not."""

    def __init__(self, root: Path, *, where: str = DATA_PATH) -> None:
        self.root, self.where = root, where
        self.left_out: dict[str, list[Parts]] = {}

    def names(self) -> list[Parts]:
        """Return the paths of all files that are not hidden."""
        self.left_out = {reason: [] for reason in (HIDDEN, NOWHERE, CIRCLE, SPECIAL)}
        try:
            return list(self._walk(self.root, (), frozenset()))
        except OSError as error:
            raise unreadable(error, self.root, where=self.where) from error

    def _walk(self, path: Path, inside: Parts, ancestors: frozenset[tuple[int, int]]) -> Iterator[Parts]:
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in ancestors:
            self.left_out[CIRCLE].append(inside)
            return
        with os.scandir(path) as children:
            for child in children:
                parts = (*inside, child.name)
                if is_hidden(child.name):
                    self.left_out[HIDDEN].append(parts)
                elif child.is_symlink() and _leads_nowhere(child):
                    _refuse_picture(self, parts)
                    self.left_out[NOWHERE].append(parts)
                elif child.is_file():
                    yield parts
                elif child.is_dir():
                    yield from self._walk(path / child.name, parts, ancestors | {identity})
                else:
                    self.left_out[SPECIAL].append(parts)

    def read(self, parts: Parts) -> bytes:
        """Return a file's content, see ``Tree``."""
        with self.open(parts) as file:
            try:
                content = file.read(LARGEST + 1)
            except OSError as error:
                raise unreadable(error, self.root, where=self.where) from error
        _require_size(len(content))
        return content

    def open(self, parts: Parts) -> EncodedFile:
        """Return an open file for partial reading, see ``Tree``."""
        try:
            return self.root.joinpath(*parts).open("rb")
        except OSError as error:  # an error of the file system, not of the picture
            raise unreadable(error, self.root, where=self.where) from error

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        """Return the SHA-256 of the files ``used``; unchanged ones are not read again."""
        try:
            return content_hash([("/".join(parts), self.root.joinpath(*parts)) for parts in used()], memory=memory)
        except OSError as error:
            raise unreadable(error, self.root, where=self.where) from error


def _leads_nowhere(link: os.DirEntry[str]) -> bool:
    try:
        link.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return True
        raise
    return False


def _refuse_picture(tree: Tree, parts: Parts) -> None:
    """Raise ``UserError`` for a broken link with a picture's name, since a missing picture must be reported."""
    if is_picture(parts):
        raise UserError(f"{tree.where}{tree.root}: {shown(parts)} is a link to a missing file; put the picture there, or remove the link")


def _require_size(size: int) -> None:
    if size > LARGEST:
        raise DamagedImageError(f"the file has more than {LARGEST:,} bytes")


# --- archives --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Link:
    """A link to another member, or to a folder of members; None: the target lies outside the archive."""

    target: Parts | None


class _Archive(Generic[Place]):
    """Members by their paths, listed at the first call of ``names``, ``read`` or ``open``."""

    def __init__(self, root: Path, *, where: str = DATA_PATH) -> None:
        self.root, self.where = root, where
        self.left_out: dict[str, list[Parts]] = {}
        self._found: dict[Parts, Place] | None = None

    def names(self) -> list[Parts]:
        return list(self._members())

    def open(self, parts: Parts) -> EncodedFile:
        return BytesIO(self.read(parts))

    def read(self, parts: Parts) -> bytes:
        raise NotImplementedError

    def fingerprint(self, used: Callable[[], Iterable[Parts]], *, memory: Path) -> str:
        del used  # hash of the archive's bytes; the first element is the version of the rules that select members
        try:
            return content_hash([("members v2", self.root)], memory=memory)
        except OSError as error:
            raise unreadable(error, self.root, where=self.where) from error

    def _contents(self) -> Iterator[tuple[str, Place | _Link | None]]:
        """Yield every member except folders: its name, and its place, its link target, or None for a special file."""
        raise NotImplementedError

    def _members(self) -> dict[Parts, Place]:
        if self._found is None:
            self._found = self._index()
        return self._found

    def _index(self) -> dict[Parts, Place]:
        left_out: dict[str, list[Parts]] = {reason: [] for reason in (HIDDEN, NOWHERE, CIRCLE, SPECIAL, OUTSIDE)}
        files: dict[Parts, Place] = {}
        links: dict[Parts, _Link] = {}
        for name, content in self._contents():
            parts = parts_of(name)
            if not parts:
                continue
            if ".." in parts:
                left_out[OUTSIDE].append(parts)
            elif parts in files or parts in links:
                raise UserError(f"{self.where}{self.root} holds {shown(parts)} twice; remove one of them")
            elif content is None:
                left_out[SPECIAL].append(parts)
            elif isinstance(content, _Link):
                links[parts] = content
            else:
                files[parts] = content
        for parts, link in links.items():
            if not any(is_hidden(part) for part in parts):
                self._follow(parts, link, links, files, left_out)
        hidden = {_hidden_part(parts) for parts in (*files, *links)} - {()}
        left_out[HIDDEN] += sorted(hidden)
        self.left_out = left_out
        return {parts: place for parts, place in files.items() if not _hidden_part(parts)}

    def _follow(
        self,
        parts: Parts,
        link: _Link,
        links: Mapping[Parts, _Link],
        files: dict[Parts, Place],
        left_out: Mapping[str, list[Parts]],
    ) -> None:
        """Add to ``files`` the targets of the link at ``parts``."""
        target, passed = link.target, {parts}
        while target is not None and target in links and target not in passed:
            passed.add(target)
            target = links[target].target
        if target is not None and target in files:
            files[parts] = files[target]
            return
        below = [] if target is None else [other for other in files if other[: len(target)] == target]
        if target is not None and parts[: len(target)] == target and below:
            left_out[CIRCLE].append(parts)
        elif target is not None and below:
            for other in below:
                files[(*parts, *other[len(target) :])] = files[other]
        else:
            _refuse_picture(self, parts)
            left_out[NOWHERE].append(parts)


def parts_of(name: str) -> Parts:
    """Return the path of an archive's member, without empty parts and "."."""
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _hidden_part(parts: Parts) -> Parts:
    """Return the path down to its first hidden part; () where none is hidden."""
    return next((parts[: i + 1] for i, part in enumerate(parts) if is_hidden(part)), ())


def _relative(name: str, target: str) -> _Link:
    """Return the link of a symbolic link ``name`` with the text ``target``."""
    if target.startswith("/"):
        return _Link(None)
    found = list(parts_of(name)[:-1])
    for part in parts_of(target):
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
        else:
            return _Link(None)
    return _Link(tuple(found))


METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 96: "JPEG", 98: "PPMd", 99: "AES encryption"}
READABLE = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
UTF8_NAME, ENCRYPTED = 0x800, 0x1  # bits of a member's flags
FOLDER_ATTRIBUTE = 0x10  # of MS-DOS


class ZipTree(_Archive[zipfile.ZipInfo]):
    """A zip, opened at the first access."""

    _archive: zipfile.ZipFile

    def read(self, parts: Parts) -> bytes:
        """Return a member's content, see ``Tree``."""
        member = self._members()[parts]
        _require_size(member.file_size)
        try:
            return self._archive.read(member)
        except MemoryError:
            raise
        except Exception as error:  # zipfile and its decompressors raise BadZipFile, zlib.error, EOFError, OSError without number, …
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(error, self.root, where=self.where) from error
            raise DamagedImageError(str(error) or "the archive is damaged there") from error

    def _contents(self) -> Iterator[tuple[str, zipfile.ZipInfo | _Link | None]]:
        try:
            self._archive = zipfile.ZipFile(self.root)
        except Exception as error:  # zipfile raises BadZipFile, NotImplementedError, UnicodeDecodeError, struct.error, …
            if isinstance(error, OSError) and error.errno is not None:
                raise unreadable(error, self.root, where=self.where) from error
            raise UserError(f"{self.where}{self.root} is a damaged zip: {error}; make it again") from error
        for member in self._archive.infolist():
            name = _zip_name(member)
            mode = member.external_attr >> 16
            if name.endswith("/") or stat.S_ISDIR(mode) or (not mode and member.external_attr & FOLDER_ATTRIBUTE):
                continue
            if member.flag_bits & ENCRYPTED:
                raise UserError(f"{self.where}{self.root} is encrypted; unpack it, or make a plain zip")
            if member.compress_type not in READABLE:
                method = METHODS.get(member.compress_type, f"method {member.compress_type}")
                raise UserError(f"{self.where}{self.root}: {printable(name)} is compressed by {method}, which is not read; unpack it")
            if stat.S_ISLNK(mode):
                yield name, self._link(name, member)
            else:
                yield name, member if not stat.S_IFMT(mode) or stat.S_ISREG(mode) else None

    def _link(self, name: str, member: zipfile.ZipInfo) -> _Link:
        try:
            return _relative(name, self._archive.read(member).decode())
        except Exception:  # damaged: its target is not known
            return _Link(None)


def _zip_name(member: zipfile.ZipInfo) -> str:
    """Return a member's name with "/" between its parts, as UTF-8 where it is valid UTF-8 that the archive does not declare."""
    name = member.filename
    if not member.flag_bits & UTF8_NAME and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")  # some packers for Windows write backslashes, against the specification


class TarTree(_Archive[tuple[int, int]]):
    """A plain tar, its members listed at the first access."""

    _descriptor: int

    def read(self, parts: Parts) -> bytes:
        """Return a member's content, see ``Tree``."""
        offset, size = self._members()[parts]
        _require_size(size)
        try:
            data = os.pread(self._descriptor, size, offset)
        except OSError as error:
            raise unreadable(error, self.root, where=self.where) from error
        if len(data) != size:
            raise DamagedImageError("the tar ends inside it")
        return data

    def _contents(self) -> Iterator[tuple[str, tuple[int, int] | _Link | None]]:
        for member in tar_members(self.root, where=self.where):
            if member.issym():
                yield member.name, _relative(member.name, member.linkname)
            elif member.islnk():
                yield member.name, _Link(parts_of(member.linkname))
            elif not member.isdir():
                yield member.name, (member.offset_data, member.size) if member.isfile() else None
        self._descriptor = os.open(self.root, os.O_RDONLY)


def tar_members(path: Path, *, where: str = DATA_PATH) -> Iterator[tarfile.TarInfo]:
    """Yield every member of a plain tar.

    Raises:
        UserError: it is no plain tar, or damaged, or its end is missing.

    """
    try:
        with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
            for member in archive:
                if member.issparse():
                    raise tarfile.ReadError(f"{printable(member.name)} is stored as a sparse file")
                yield member
            # tarfile treats a damaged header as the end of the archive, which is marked by blocks of zeros
            with path.open("rb") as file:
                if os.pread(file.fileno(), tarfile.BLOCKSIZE, archive.offset) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"it is cut short or damaged at byte {archive.offset:,}")
    except tarfile.TarError as error:
        hint = "unpack its compression first (gunzip): " if _is_compressed(path) else ""
        raise UserError(f"{where}{path} is no whole plain tar: {hint}{error}") from error
    except OSError as error:
        raise unreadable(error, path, where=where) from error


def _begins_as_tar(path: Path) -> bool:
    """Return whether the file is a tar by its first header, or compressed and hence possibly one (``tar_members`` raises the error)."""
    try:
        tarfile.open(path, "r:").close()
    except tarfile.TarError:
        return _is_compressed(path)
    return True


def _is_compressed(path: Path) -> bool:
    """Return whether the file begins with the signature of gzip, bzip2, xz or Zstandard."""
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
