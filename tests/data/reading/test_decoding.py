"""Pictures decoded by several threads are returned in order."""

import threading
import time
from functools import partial

import numpy as np
import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.data.reading.decoding import CHUNK, decoded
from gconv_gan.data.reading.pictures import DamagedImageError
from gconv_gan.data.sources.source import Entries, Entry, Picture


def read(i: int) -> tuple[Picture, str]:
    if i == 50:
        raise DamagedImageError("the reason")
    if i == 3:
        time.sleep(0.05)  # the others overtake it
    return np.full((3, 2, 2), i % 256, dtype=np.uint8), "PNG"


def entry(i: int) -> Entry:
    return Entry(f"picture {i}", partial(read, i), i)


@pytest.mark.parametrize("count", [0, 1, CHUNK, 10 * CHUNK + 7])
def test_every_entry_is_returned_once_in_order_with_its_picture_or_its_error(count: int) -> None:
    outcomes = list(decoded(Entries(count, entry)))
    assert [found.label for found, _ in outcomes] == list(range(count))
    for i, (_, outcome) in enumerate(outcomes):
        if i == 50:
            assert isinstance(outcome, DamagedImageError)
        else:
            assert not isinstance(outcome, DamagedImageError)
            assert outcome[0][0, 0, 0] == i % 256


def test_an_error_of_the_disk_stops_decoding() -> None:
    def fail() -> tuple[Picture, str]:
        raise UserError("cannot read x")

    entries = Entries(500, lambda i: Entry("x", fail, None) if i == 200 else entry(0))
    before = threading.active_count()
    with pytest.raises(UserError, match="cannot read x"):
        list(decoded(entries))
    assert threading.active_count() == before


def test_only_a_few_are_decoded_ahead() -> None:
    asked: list[int] = []

    def counted(i: int) -> Entry:
        asked.append(i)
        return entry(0)

    stream = decoded(Entries(100_000, counted))
    next(stream)
    assert len(asked) < 5_000
    stream.close()  # type: ignore[attr-defined]
