"""Cached statistics are found by content, not by name; a changed file is refused."""

import json
import os
from pathlib import Path

import pytest
import torch

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.images.sources import ArrayImages
from gconv_gan.metrics.references.reference_statistics import (
    DESCRIPTION,
    TENSORS,
    ReferenceStatistics,
    load_statistics,
    reference_statistics,
)
from tests.reference.stub_extractor import StubExtractor

PICTURES = torch.randint(0, 256, (2, 40, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Counting(StubExtractor):
    calls = 0

    def __call__(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.calls += 1
        return super().__call__(images)


def statistics(
    cache: Path, network: StubExtractor, *, data: int = 0, split: str = "train", with_features: bool = True
) -> ReferenceStatistics:
    images = ArrayImages(PICTURES[data].numpy(), fingerprint=f"content {data}")
    return reference_statistics(images, network, source="same name", split=split, recipe="r", with_features=with_features, cache_dir=cache)


def test_a_second_call_reads_the_file_and_equals_the_first(tmp_path: Path) -> None:
    network = Counting()
    first = statistics(tmp_path, network)
    calls = network.calls
    second = statistics(tmp_path, network)
    assert network.calls == calls > 0
    assert first.features is not None
    assert second.features is not None
    for a, b in (
        (first.moments.mean, second.moments.mean),
        (first.moments.covariance, second.moments.covariance),
        (first.root, second.root),
        (first.features, second.features),
    ):
        assert torch.equal(a, b)
    assert (first.reference, first.extractor) == (second.reference, second.extractor)
    torch.testing.assert_close(first.moments.covariance, torch.cov(first.features.double().T))
    [folder] = tmp_path.iterdir()
    assert {os.stat(folder / name).st_mode & 0o777 for name in (TENSORS, DESCRIPTION)} == {0o444}


def test_every_input_of_the_numbers_changes_the_key(tmp_path: Path) -> None:
    network, other = Counting(), Counting()
    other.sha256, other.resizer = "1" * 64, "none"
    resized = Counting()
    resized.resizer = "pil_bicubic 299"
    means = [
        statistics(tmp_path, network).moments.mean,
        statistics(tmp_path, network, data=1).moments.mean,
    ]
    assert not torch.equal(*means)  # the same name, other data: not the first data's statistics
    statistics(tmp_path, network, split="test")
    statistics(tmp_path, other)
    statistics(tmp_path, resized)
    assert len(list(tmp_path.iterdir())) == 5


def test_statistics_with_features_serve_where_moments_are_asked_for(tmp_path: Path) -> None:
    network = Counting()
    whole = statistics(tmp_path, network)
    calls = network.calls
    assert torch.equal(statistics(tmp_path, network, with_features=False).moments.mean, whole.moments.mean)
    assert network.calls == calls
    few = statistics(tmp_path, network, data=1, with_features=False)
    assert few.features is None
    assert statistics(tmp_path, network, data=1).features is not None  # moments alone do not serve features


def test_labels_are_kept_beside_the_features(tmp_path: Path) -> None:
    images = ArrayImages(PICTURES[0].numpy(), fingerprint="f")
    labels = torch.arange(40) % 4
    for _ in range(2):  # computed, then read
        held = reference_statistics(
            images,
            StubExtractor(),
            source="s",
            split=None,
            recipe="r",
            with_features=True,
            cache_dir=tmp_path,
            labels=labels,
            classes=("a", "b", "c", "d"),
        )
        assert held.labels is not None
        assert torch.equal(held.labels, labels)
        assert held.classes == ("a", "b", "c", "d")


@pytest.mark.parametrize("what", ["tensors", "hash and key", "description", "missing"])
def test_a_changed_file_is_refused(tmp_path: Path, what: str) -> None:
    statistics(tmp_path, Counting())
    [folder] = tmp_path.iterdir()
    for name in (TENSORS, DESCRIPTION):
        os.chmod(folder / name, 0o644)
    if what == "tensors":
        changed = bytearray((folder / TENSORS).read_bytes())
        changed[-5] ^= 1
        (folder / TENSORS).write_bytes(changed)
    elif what == "hash and key":
        described = json.loads((folder / DESCRIPTION).read_text())
        described["key"]["fingerprint"] = "other"
        (folder / DESCRIPTION).write_text(json.dumps(described))
    elif what == "description":
        (folder / DESCRIPTION).write_text("{}")
    else:
        (folder / TENSORS).unlink()
    with pytest.raises(UserError, match="delete the folder|holds no reference statistics"):
        load_statistics(folder)
    with pytest.raises(UserError):
        statistics(tmp_path, Counting())
