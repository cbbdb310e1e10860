"""Data that are absent: one sentence says where they were looked for and how to get them, and nothing is fetched."""

from pathlib import Path

import pytest

from gconv_gan.config.errors import AbsentDataError
from gconv_gan.data.datasets import DATASETS, source_of

SENTENCES: dict[str, tuple[str, ...]] = {
    "celeba": ("x/list_eval_partition.txt, which does not exist; ", "fetch https://drive.google.com/uc?id=0B7"),
    "cifar10": ("x/cifar-10-batches-py/data_batch_1", "set data.download = true (170 MB)", "unpack https://www.cs.toronto.edu/"),
    "cifar100": ("x/cifar-100-python/train", "set data.download = true (169 MB)", "unpack https://www.cs.toronto.edu/"),
    "cub": ("x/CUB_200_2011; set data.download = true (1,151 MB), or unpack https://data.caltech.edu",),
    "imagenet": ("looked for the folder train in ", "x/ILSVRC/Data/CLS-LOC; ImageNet requires people to"),
    "lsun_church": (
        "x/church_outdoor_train_lmdb/data.mdb",
        "x/church_outdoor_train; set data.download = true (2,448 MB)",
        "http://dl.yf.io/",
    ),
    "stanford_dogs": ("looked for Images in ", "x/images.tar; set data.download = true (794 MB), or put http"),
    "svhn": ("x/train_32x32.mat, which does not exist; set data.download = true (182 MB), or put http",),
    "tiny_imagenet": ("x/tiny-imagenet-200.zip; set data.download = true (248 MB), or put http://cs231n.stanford.edu/",),
}


@pytest.mark.parametrize("kind", SENTENCES)
def test_absent_data_say_where_and_how_to_get_them(kind: str, tmp_path: Path) -> None:
    with pytest.raises(AbsentDataError) as refused:
        source_of(DATASETS.models()[kind](path=str(tmp_path / "x"), cache_dir=str(tmp_path / "c")))
    for part in SENTENCES[kind]:
        assert part in str(refused.value)
    assert not (tmp_path / "x").exists()
