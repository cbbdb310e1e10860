"""Parallel decoding of pictures in their order: Pillow releases Python's global lock while it decodes and resizes."""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from gconv_gan.data.reading.pictures import DamagedImageError
from gconv_gan.data.sources.source import Entry, Picture

Outcome = tuple[Picture, str] | DamagedImageError
"""A picture and its format, or the reason why it cannot be decoded."""


CHUNK = 32  # entries per task: the overhead of a task equals the decoding of a small picture


def decoded(entries: Sequence[Entry]) -> Iterator[tuple[Entry, Outcome]]:
    """Yield every entry with its picture, in order; two chunks per core are decoded ahead.

    Raises:
        UserError: a file cannot be read; raised at its place in the order.

    """
    threads = available_cores()
    waiting: deque[Future[list[tuple[Entry, Outcome]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for start in range(0, len(entries), CHUNK):
            waiting.append(pool.submit(_chunk, entries, start))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def available_cores() -> int:
    """Return the number of cores for this process: the allowed ones, divided by the number of the launcher's processes on this machine."""
    return max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _chunk(entries: Sequence[Entry], start: int) -> list[tuple[Entry, Outcome]]:
    return [(entry, _outcome(entry)) for entry in entries[start : start + CHUNK]]


def _outcome(entry: Entry) -> Outcome:
    try:
        return entry.read()
    except DamagedImageError as error:
        return error
