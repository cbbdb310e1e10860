"""One process at a time, on one machine or on a shared file system with locks."""

import contextlib
import errno
import fcntl
import logging
from collections.abc import Iterator
from pathlib import Path

from gconv_gan.config.errors import UserError

log = logging.getLogger(__name__)


@contextlib.contextmanager
def exclusive(path: Path, *, purpose: str, wait: bool = True) -> Iterator[None]:
    """Hold a lock on the file ``path`` within the body, waiting while another process holds it; a process that ends frees its locks.

    Raises:
        UserError: the file system has no locks, or another process holds the lock and ``wait`` is false.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise UserError(f"another process is {purpose}: wait for it, or end it") from None
            log.info("another process is %s; waiting for it", purpose)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
                raise
            raise UserError(f"{path.parent} lies on a file system without locks; choose another folder") from error
        yield
