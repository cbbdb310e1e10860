"""Dropout with masks that are functions of a seed."""

import torch

from gconv_gan.layers.dropout import Dropout


def seeded(p: float, seed: int, share: tuple[int, int] = (0, 1)) -> Dropout:
    layer = Dropout(p)
    layer.seed, layer.share = seed, share
    return layer


def test_the_kept_elements_are_scaled_so_that_the_mean_stays() -> None:
    x = torch.ones(64, 3, 16, 16)
    y = seeded(0.3, 1)(x)
    assert set(y.unique().tolist()) == {0.0, torch.tensor(1 / 0.7).item()}
    assert abs((y == 0).float().mean().item() - 0.3) < 0.01  # 49,152 coins: five standard deviations are 0.0103


def test_equal_seeds_give_equal_masks_whatever_the_global_generator_does() -> None:
    x = torch.ones(8, 5)
    torch.manual_seed(1)
    first = seeded(0.5, 7)(x)
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert torch.equal(first, seeded(0.5, 7)(x))
    assert not torch.equal(first, seeded(0.5, 8)(x))
    torch.random.set_rng_state(state)


def test_it_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    seeded(0.5, 7)(torch.ones(8, 5))
    assert torch.equal(before, torch.random.get_rng_state())


def test_two_processes_drop_what_one_does() -> None:
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    halves = [seeded(0.4, 3, (index, 2))(half) for index, half in enumerate(x.chunk(2))]
    assert torch.equal(torch.cat(halves), seeded(0.4, 3)(x))


def test_evaluation_passes_everything() -> None:
    x = torch.randn(4, 6)
    assert torch.equal(seeded(0.9, 3).eval()(x), x)
