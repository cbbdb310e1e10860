"""Data orders, of images and of shards: pure functions of seed and position."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from gconv_gan.data.batches.sampler import BalancedSampler, InfiniteSampler, indices
from gconv_gan.data.batches.shard_order import ShardedSampler

LENGTHS = np.array([5, 0, 7, 3, 4, 6, 1])  # of shards


def sharded(window: int, seed: int) -> ShardedSampler:
    return ShardedSampler(seed=seed, lengths=LENGTHS, window=window)


Order = Callable[[int], InfiniteSampler | ShardedSampler]
ORDERS: dict[str, Order] = {
    "images": lambda seed: InfiniteSampler(seed=seed, length=26),
    **{f"{window} shards": partial(sharded, window) for window in (1, 2, 3, 7, 100)},
}
every_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)


@every_order
def test_every_epoch_is_a_permutation_and_another_one(order: Order) -> None:
    epochs = order(3).indices(0, 78).reshape(3, 26)
    for epoch in epochs:
        assert epoch.sort().values.equal(torch.arange(26))
    assert not epochs[0].equal(epochs[1])
    assert not epochs[1].equal(epochs[2])


@every_order
@pytest.mark.parametrize(("start", "count"), [(0, 1), (17, 20), (24, 5), (25, 78), (60, 0)])
def test_any_range_of_positions_is_part_of_one_endless_order(order: Order, start: int, count: int) -> None:
    assert order(3).indices(start, count).equal(order(3).indices(0, 156)[start : start + count])


@every_order
def test_a_used_sampler_equals_a_new_one_at_earlier_and_later_positions(order: Order) -> None:
    used = order(5)
    for start in (0, 24, 64, 10, 1000, 0):
        assert used.indices(start, 9).equal(order(5).indices(start, 9))


@every_order
def test_seeds_give_different_orders_and_the_global_generator_is_not_used(order: Order) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = order(0).indices(0, 26)
    assert torch.get_rng_state().equal(before)
    assert not first.equal(order(1).indices(0, 26))


def test_the_order_of_seed_0_is_the_one_that_stored_runs_resume_in() -> None:
    assert indices(0, 8, 6, 10).tolist() == [6, 2, 2, 3, 6, 5]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        InfiniteSampler(seed=0, length=0)


# ---- balanced ------------------------------------------------------------------------------------------------------

LABELS = np.array([0] * 20 + [1] * 3 + [2] * 7)  # thirty images of three classes, ten each on average
BLOCKS = [10, 12, 2, None]  # a batch that three classes divide or not, one smaller than their number, and an epoch


def balanced(block: int | None, seed: int = 0) -> BalancedSampler:
    return BalancedSampler(seed=seed, labels=LABELS, block=block)


@pytest.mark.parametrize("batch", [12, 11, 10, 2, 1])
def test_every_batch_holds_every_class_equally_often_or_to_within_one_image(batch: int) -> None:
    sampler = balanced(batch)
    counts = np.array([np.bincount(LABELS[sampler.indices(start, batch).numpy()], minlength=3) for start in range(0, 30 * batch, batch)])
    assert counts.min() == batch // 3
    assert counts.max() == -(-batch // 3)
    assert counts.sum(0).tolist() == [10 * batch] * 3


def test_overall_balance_holds_for_the_epoch_and_not_for_the_batch() -> None:
    labels = LABELS[balanced(None).indices(0, 300)].reshape(10, 30)
    assert all(np.bincount(epoch).tolist() == [10, 10, 10] for epoch in labels)
    assert len({tuple(np.bincount(batch, minlength=3)) for batch in labels.reshape(25, 12)}) > 5


@pytest.mark.parametrize("block", BLOCKS)
def test_the_images_of_a_class_come_in_turn_each_time_in_another_order(block: int | None) -> None:
    row = balanced(block).indices(0, 96).numpy()
    rare = row[LABELS[row] == 1]
    rounds = rare[:30].reshape(10, 3)
    assert all(sorted(each) == [20, 21, 22] for each in rounds)
    assert len({tuple(each) for each in rounds}) > 1
    common = row[LABELS[row] == 0]
    assert sorted(common[:20]) == list(range(20))


@pytest.mark.parametrize("block", BLOCKS)
def test_the_balanced_order_is_a_function_of_seed_and_position(block: int | None) -> None:
    whole = balanced(block).indices(0, 400)
    used = balanced(block)
    for start, count in ((0, 5), (95, 40), (28, 4), (399, 1), (7, 0)):
        assert used.indices(start, count).equal(whole[start : start + count])
    assert not balanced(block, seed=1).indices(0, 400).equal(whole)


def test_a_class_without_images_cannot_be_balanced() -> None:
    with pytest.raises(ValueError, match="class 1 has no image"):
        BalancedSampler(seed=0, labels=np.array([0, 2, 2]))
