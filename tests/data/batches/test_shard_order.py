"""The order of shards: a function of seed and position that reads few shards at a time."""

import numpy as np
import pytest

from gconv_gan.data.batches.sampler import InfiniteSampler
from gconv_gan.data.batches.shard_order import ShardedSampler, order_of
from gconv_gan.data.image_dataset import ImageDataset
from tests.data.made import in_memory, noise

LENGTHS = np.array([5, 0, 7, 3, 4, 6, 1])
OF_SHARD = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
TOTAL = int(LENGTHS.sum())


def sampler(window: int, seed: int = 3) -> ShardedSampler:
    return ShardedSampler(seed=seed, lengths=LENGTHS, window=window)


@pytest.mark.parametrize("window", [1, 2, 3])
def test_only_a_window_of_shards_is_read_at_a_time(window: int) -> None:
    for epoch in range(4):
        visited = OF_SHARD[sampler(window).indices(epoch * TOTAL, TOTAL).numpy()]
        spans = [np.flatnonzero(visited == shard) for shard in np.unique(visited)]
        for place in range(TOTAL):
            assert sum(span[0] <= place <= span[-1] for span in spans) <= window


def test_images_of_a_group_are_mixed_over_its_shards() -> None:
    lengths = np.full(8, 100)
    order = ShardedSampler(seed=0, lengths=lengths, window=4).indices(0, 800).numpy() // 100
    first = order[:400]
    assert len(np.unique(first)) == 4
    for quarter in first.reshape(4, 100):  # 100 of 400 images, 25 expected of each shard, variance 100·¼·¾·(300/399)
        assert (abs(np.bincount(quarter, minlength=8)[np.unique(first)] - 25) < 5 * 14.1**0.5).all()


def test_a_window_of_all_shards_mixes_everything() -> None:
    order = ShardedSampler(seed=0, lengths=np.full(4, 250), window=4).indices(0, 1000)
    assert abs(np.corrcoef(order.numpy(), np.arange(1000))[0, 1]) < 5 / 1000**0.5


def test_the_order_of_seed_0_is_the_one_that_stored_runs_resume_in() -> None:
    assert ShardedSampler(seed=0, lengths=np.array([3, 2, 4]), window=2).indices(0, 9).tolist() == [1, 0, 4, 3, 2, 5, 8, 7, 6]


def test_no_image_and_no_window_are_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        ShardedSampler(seed=0, lengths=np.array([0, 0]), window=1)
    with pytest.raises(ValueError, match="at least one shard, not 0"):
        sampler(0)


def sharded(window: int) -> ImageDataset:
    plain = in_memory(noise(0, 9, 3, 8, 8), None, ())
    manifest = plain.manifest.model_copy(update={"shards": (3, 2, 4)})
    return ImageDataset(plain.images, None, manifest, plain.folder, window=window)


def test_the_order_of_a_data_set_is_that_of_its_config() -> None:
    assert isinstance(order_of(sharded(0), seed=0), InfiniteSampler)
    expected = ShardedSampler(seed=5, lengths=np.array([3, 2, 4]), window=2)
    assert order_of(sharded(2), seed=5).indices(0, 30).equal(expected.indices(0, 30))


def test_a_part_of_a_data_set_has_the_shards_of_its_images() -> None:
    order = order_of(sharded(2), seed=5, indices=np.array([1, 2, 5, 6, 8]))
    assert isinstance(order, ShardedSampler)
    assert order.lengths.tolist() == [2, 0, 3]
    assert len(order_of(sharded(0), seed=5, indices=np.array([1, 2])).indices(0, 4).unique()) == 2
