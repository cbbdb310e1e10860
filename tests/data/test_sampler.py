"""The data order: a pure function of seed and position."""

import pytest
import torch

from gconv_gan.data.sampler import InfiniteSampler, indices


def test_every_epoch_is_a_permutation_and_another_one() -> None:
    epochs = indices(0, 0, 300, 100).reshape(3, 100)
    for epoch in epochs:
        assert epoch.sort().values.equal(torch.arange(100))
    assert not epochs[0].equal(epochs[1])
    assert not epochs[1].equal(epochs[2])


@pytest.mark.parametrize(("start", "count"), [(0, 1), (37, 20), (95, 10), (99, 202), (250, 0)])
def test_any_stretch_is_cut_from_one_endless_row(start: int, count: int) -> None:
    assert indices(3, start, count, 100).equal(indices(3, 0, 400, 100)[start : start + count])


def test_a_used_sampler_gives_what_a_fresh_one_gives_forwards_and_backwards() -> None:
    sampler = InfiniteSampler(seed=5, length=30)
    for start in (0, 28, 64, 10, 1000, 0):
        assert sampler.indices(start, 7).equal(indices(5, start, 7, 30))


def test_seeds_give_different_orders_and_the_global_generator_is_not_used() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = indices(0, 0, 100, 100)
    assert torch.get_rng_state().equal(before)
    assert not first.equal(indices(1, 0, 100, 100))


def test_the_order_of_seed_0_is_the_one_that_stored_runs_resume_in() -> None:
    assert indices(0, 8, 6, 10).tolist() == [2, 4, 0, 2, 6, 8]


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        InfiniteSampler(seed=0, length=0)
