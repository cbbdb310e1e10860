"""Content hash of the files of a data set, stored so that an unchanged set is read only once.

The hash is SHA-256 over (name, content) of every file. Reading 60,000 files takes seconds, so the result is stored under a
*signature*: the hash of (name, device, inode, size, mtime, ctime) of every file. A program can set a file's mtime, but not its
ctime, which changes with every modification. Equal signatures therefore mean unchanged content, provided that a later change gets a
later ctime. The resolution of ctime is low (2 s on some file systems): a hash is stored only if the latest ctime was older than that
before the first byte was read, git's rule for "racily clean" entries. Otherwise the next start reads the files again.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from gconv_gan.runtime.files.atomic import write_text

CLOCK_TICK_NS = 2_000_000_000

NamedFile = tuple[str, Path]


def content_hash(files: Sequence[NamedFile], *, memory: Path) -> str:
    """Return the SHA-256 of (name, content) of ``files``, in order; store it in the folder ``memory``.

    Raises:
        OSError: a file cannot be read.

    """
    started = time.time_ns()
    signature, youngest = _signature(files)
    remembered = memory / signature
    with contextlib.suppress(FileNotFoundError):
        stored = remembered.read_text()
        if len(stored) == 64:  # an incomplete write is not a hash
            return stored
    digest = hashlib.sha256()
    for name, path in tqdm(
        files, desc="hashing", unit=" files", delay=5, disable=None
    ):  # a progress bar on a terminal, if reading takes long
        with path.open("rb") as file:
            digest.update(json.dumps(name).encode() + hashlib.file_digest(file, "sha256").digest())
    if youngest < started - CLOCK_TICK_NS and _signature(files)[0] == signature:
        memory.mkdir(parents=True, exist_ok=True)
        write_text(remembered, digest.hexdigest())
    return digest.hexdigest()


def _signature(files: Sequence[NamedFile]) -> tuple[str, int]:
    """Return the signature and the latest ctime, in ns."""
    digest = hashlib.sha256()
    youngest = 0
    for name, path in files:
        stat = os.stat(path)
        digest.update(json.dumps((name, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)).encode())
        youngest = max(youngest, stat.st_ctime_ns)
    return digest.hexdigest(), youngest
