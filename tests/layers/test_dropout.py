"""Dropout with masks that are functions of a seed."""

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers.dropout import Dropout, seed_dropout

CPU = torch.device("cpu")


def dropped(x: Tensor, p: float, *, seed: int = 1, step: int | Tensor = 0, indices: Tensor | None = None) -> Tensor:
    layer = Dropout(p)
    position = seed_dropout(layer, seed, device=CPU)
    position.step, position.indices = step, torch.arange(len(x)) if indices is None else indices
    result: Tensor = layer(x)
    return result


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_kept_elements_are_scaled_so_that_the_mean_stays(layout: torch.memory_format) -> None:
    x = torch.ones(64, 3, 16, 16).contiguous(memory_format=layout)
    y = dropped(x, 0.3)
    assert y.is_contiguous(memory_format=layout)
    assert sorted(y.unique().tolist()) == pytest.approx([0.0, 1 / 0.7], rel=1e-4)
    assert abs((y == 0).float().mean().item() - 0.3) < 0.01  # 49,152 coins: five standard deviations are 0.0103
    assert y.double().mean().item() == pytest.approx(1, abs=0.015)


def test_masks_are_functions_of_seed_layer_step_and_index() -> None:
    x = torch.ones(8, 5, 3)
    first = dropped(x, 0.5)
    torch.manual_seed(2)
    assert torch.equal(first, dropped(x, 0.5, step=torch.tensor(0)))
    assert not torch.equal(first, dropped(x, 0.5, seed=2))
    assert not torch.equal(first, dropped(x, 0.5, step=1))
    assert torch.equal(first[[6, 2]], dropped(x[:2], 0.5, indices=torch.tensor([6, 2])))
    pair = nn.Sequential(Dropout(0.5), Dropout(0.5))
    position = seed_dropout(pair, 1, device=CPU)
    position.indices = torch.arange(8)
    assert not torch.equal(pair[0](x), pair[1](x))


def test_it_does_not_use_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    dropped(torch.ones(8, 5), 0.5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_another_number_of_images_is_refused() -> None:
    with pytest.raises(ValueError, match="the positions of 3 images but was given 4"):
        dropped(torch.ones(4, 5), 0.5, indices=torch.arange(3))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_p_0_and_p_1_are_exact(p: float) -> None:
    x = torch.randn(4, 6)
    assert torch.equal(dropped(x, p), x * (1 - p))


def test_the_gradient_has_the_mask_of_the_output() -> None:
    x = torch.ones(4, 6, requires_grad=True)
    y = dropped(x, 0.25)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_evaluation_passes_everything() -> None:
    x = torch.randn(4, 6)
    layer = Dropout(0.9)
    seed_dropout(layer, 3, device=CPU)
    assert torch.equal(layer.eval()(x), x)
