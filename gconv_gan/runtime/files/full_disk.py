"""Full disks: one exception and one message for all operations that fail with ENOSPC or EDQUOT."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from gconv_gan.config.errors import FullDiskError


def is_full_disk(error: BaseException | None) -> bool:
    """Return whether ``error`` says that the disk, or the user's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def full_disk_sentence(place: object) -> str:
    """Return the message for the user. ``place`` is a file or folder on the full disk; None if unknown."""
    where = "a disk" if place is None else f"the disk that holds {place}"
    return f"{where} is full; what was finished before, such as earlier checkpoints, is whole. Free some space and start again"


@contextmanager
def writing(place: object) -> Iterator[None]:
    """Raise ``FullDiskError`` naming ``place`` where an operating system's error in the body means that no space is left."""
    try:
        yield
    except OSError as error:
        if not is_full_disk(error):
            raise
        raise FullDiskError(full_disk_sentence(place)) from error
