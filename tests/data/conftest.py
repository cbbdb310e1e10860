"""Fixtures of the data tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gconv_gan.data.reading import fingerprint
from tests.data.made import noise, save
from tests.data.web import Web, serving


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of three 8×8 PNGs under train/, one of each under test/."""
    root = tmp_path / "pets"
    for number, (split, name, count) in enumerate([("train", "cat", 3), ("train", "dog", 3), ("test", "cat", 1), ("test", "dog", 1)]):
        for i in range(count):
            save(root / split / name / f"{i}.png", noise(10 * number + i, 8, 8, 3))
    return root


@pytest.fixture
def patient_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat files written just now as old enough for their hash to be remembered."""
    monkeypatch.setattr(fingerprint, "CLOCK_TICK_NS", -60_000_000_000)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    """A web server on this machine."""
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server
