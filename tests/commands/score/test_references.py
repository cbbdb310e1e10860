"""``--reference NAME`` takes every data set of the table."""

import pytest

from gconv_gan.commands.score.references import named_data, require_split, usual_split
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.data import CIFAR10DataConfig, DigitsDataConfig
from gconv_gan.data.datasets import DATASETS
from gconv_gan.metrics.protocols import protocol


@pytest.mark.parametrize("kind", sorted(set(DATASETS) - {"folder"}))
def test_every_kind_but_the_folder_is_named(kind: str) -> None:
    config = named_data(kind if kind != "webdataset" else "webdataset:x.tar", size=None, changes={"cache_dir": "c"})
    assert config is not None
    assert (config.kind, config.cache_dir) == (kind, "c")


def test_a_path_follows_the_name() -> None:
    config = named_data("cifar10:/data/c10", size=32, changes={"split": "test"})
    assert config == CIFAR10DataConfig(path="/data/c10", split="test")


@pytest.mark.parametrize("reference", ["folder", "my_pictures", "runs/x:y", "cifar11"])
def test_other_names_are_no_data_set(reference: str) -> None:
    assert named_data(reference, size=None, changes={}) is None


def test_settings_of_a_run_on_the_same_data_are_used() -> None:
    run = CIFAR10DataConfig(path="elsewhere", cache_dir="c", flip=True)
    assert named_data("cifar10", size=32, changes={"split": "test"}, like=run) == run.model_copy(update={"split": "test"})
    assert named_data("digits", size=16, changes={}, like=run) == DigitsDataConfig(size=16)


def test_a_size_or_split_that_the_data_lack_is_refused() -> None:
    with pytest.raises(UserError, match="--reference: size"):
        named_data("cifar10", size=64, changes={})
    with pytest.raises(UserError, match="--reference: split"):
        named_data("cifar10", size=None, changes={"split": "val"})


@pytest.mark.parametrize(
    ("kind", "held_out"), [("cifar10", "test"), ("digits", "test"), ("tiny_imagenet", "val"), ("celeba", "test"), ("lsun_church", "val")]
)
def test_a_protocol_of_test_images_uses_the_name_of_that_split_in_the_data(kind: str, held_out: str) -> None:
    assert usual_split(protocol("fid10k_test"), kind) == held_out
    assert usual_split(protocol("fid50k_train"), kind) == "train"
    require_split(protocol("fid10k_test"), held_out)
    require_split(protocol("fid10k_test"), None)
    with pytest.raises(UserError, match="compares with the test split, not train: give --reference-split test"):
        require_split(protocol("fid10k_test"), "train")
