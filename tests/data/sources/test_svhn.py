"""SVHN's MATLAB files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import SVHNDataConfig
from gconv_gan.data.sources.official import OfficialFile
from gconv_gan.data.sources.svhn import SVHN, svhn
from tests.data.made import md5_of, noise, official_file
from tests.data.web import Web

LABELS = [1, 9, 10, 5]


def put(folder: Path) -> dict[str, OfficialFile]:
    """Write the three files as MATLAB does: X [32, 32, 3, N], y [N, 1] with 10 for the digit 0."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for i, (split, file) in enumerate(SVHN.items()):
        rows = {"X": noise(i, 32, 32, 3, len(LABELS)), "y": np.array(LABELS, dtype=np.uint8)[:, None]}
        savemat(folder / file.name, rows, do_compression=True)
        files[split] = replace(file, checksum=f"md5:{md5_of(folder / file.name)}")
    return files


@pytest.mark.parametrize(("number", "split"), [(0, "train"), (1, "test"), (2, "extra")])
def test_axes_digits_and_order(tmp_path: Path, number: int, split: str) -> None:
    config = SVHNDataConfig(path=str(tmp_path), split=split, cache_dir=str(tmp_path / "c"))  # type: ignore[arg-type]
    pictures = svhn(config, files=put(tmp_path)).open()
    assert pictures.classes == tuple("0123456789")
    assert [entry.label for entry in pictures.entries] == [1, 9, 0, 5]
    x = noise(number, 32, 32, 3, len(LABELS))
    for i, entry in enumerate(pictures.entries):
        picture, _ = entry.read()
        assert picture.flags["C_CONTIGUOUS"]
        for channel, row, column in ((0, 0, 0), (2, 5, 7), (1, 31, 0)):
            assert picture[channel, row, column] == x[row, column, channel, i]
        np.testing.assert_array_equal(picture, np.moveaxis(x[:, :, :, i], 2, 0))
    assert pictures.entries[2].name == f"{split}_32x32[2]"


def test_another_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    put(tmp_path)
    source = svhn(SVHNDataConfig(path=str(tmp_path), cache_dir=str(tmp_path / "c")))
    with pytest.raises(UserError, match=r"train_32x32\.mat is not the official file: its MD5 is .*, not e26dedcc434d2e4c54c9b2d4a06d8373"):
        source.open()


def test_download(tmp_path: Path, web: Web) -> None:
    put(web.folder)
    config = SVHNDataConfig(path=str(tmp_path / "new"), split="test", download=True, cache_dir=str(tmp_path / "c"))
    assert len(svhn(config, files={"test": official_file(web, "test_32x32.mat")}).open().entries) == 4
