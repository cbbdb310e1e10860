"""CIFAR-10 as 60,000 JPEG files in a zip, if it lies beside the repository."""

from pathlib import Path

import numpy as np
import pytest

from gconv_gan.config.sections.data import FolderDataConfig
from gconv_gan.data.cache import open_dataset

ARCHIVE = Path(__file__).parents[2] / "../shared/data/cifar10.zip"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE} is not here"),
]


def test_the_jpeg_copy_of_cifar10(tmp_path: Path) -> None:
    sets = {
        split: open_dataset(FolderDataConfig(path=str(ARCHIVE), split=split, size=32, cache_dir=str(tmp_path)), verify=True)
        for split in ("train", "test")
    }
    for split, count in (("train", 5000), ("test", 1000)):
        dataset = sets[split]
        assert dataset.title == "CIFAR-10 (JPEG copy)"
        assert dataset.manifest.class_counts == (count,) * 10
        assert dataset.manifest.formats == {"JPEG": 10 * count}
        assert dataset.manifest.skipped == ()
    # per-channel statistics known of CIFAR-10's training split; JPEG leaves means and deviations in place
    pixels = sets["train"].images[::10].astype(np.float64) / 255
    np.testing.assert_allclose(pixels.mean((0, 2, 3)), [0.4914, 0.4822, 0.4465], atol=0.01)
    np.testing.assert_allclose(pixels.std((0, 2, 3)), [0.2470, 0.2435, 0.2616], atol=0.01)
