"""Atomic writing of files and folders: written under a temporary name, synced to disk, then renamed.

Every writer has its own temporary name, so that two processes may write the same path at once. A writer holds a lock on its temporary
folder; the lock ends with the process. A temporary folder without a lock was left by a killed process, and the next writer removes it.
"""

import contextlib
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from gconv_gan.config.errors import UserError
from gconv_gan.runtime.files.full_disk import writing


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as UTF-8, as ``write_bytes`` does."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old content or the new, never a part.

    Raises:
        FullDiskError: there is no space for it; the old content stays.

    """
    temporary = _temporary(path)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(path.parent)


def require_possible_folder(path: Path, flag: str) -> None:
    """Raise ``UserError`` naming ``flag`` if the folder ``path`` cannot be written to or created; call it before the work starts."""
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise UserError(f"{flag} {path}: {there} is a file, not a folder; name another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{flag} {path}: {there} may not be written to; name another folder")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to ``path`` if the block ends without an exception, and is removed otherwise.

    Raises:
        FileExistsError: ``path`` is a folder with content when the block ends: another process wrote it, and its content stays.
        FullDiskError: there is no space for it.

    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        temporary, lock = _locked_folder(path)
        try:
            yield temporary
            for inside in (*temporary.rglob("*"), temporary):
                _sync(inside)
            _rename(temporary, path)
            _sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)


def _temporary(path: Path) -> Path:
    """Return a name that no other writer of ``path`` has, on this machine or on another one that shares the file system."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")


def _locked_folder(path: Path) -> tuple[Path, int]:
    """Make a temporary folder for ``path``; return it with the open descriptor that holds its lock."""
    while True:
        temporary = _temporary(path)
        temporary.mkdir()
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(temporary, os.O_RDONLY)
            _lock(descriptor, wait=True)
            if temporary.is_dir():
                return temporary, descriptor
            os.close(descriptor)
        # another process removed it before it was locked: try the next name


def _remove_abandoned(path: Path) -> None:
    """Remove the temporary folders of ``path`` whose writers were killed; on a file system without locks they stay."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*partial"):
        try:
            descriptor = os.open(leftover, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        if _lock(descriptor, wait=False):
            shutil.rmtree(leftover, ignore_errors=True)
        os.close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open folder; return False where another process holds the lock, or the file system cannot lock folders."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _rename(temporary: Path, path: Path) -> None:
    try:
        temporary.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FileExistsError(errno.EEXIST, "another process wrote it meanwhile", str(path)) from error


def _sync(path: Path) -> None:
    """Sync a file or folder to disk, so that its content, or renames inside it, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
