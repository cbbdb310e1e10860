"""Batch normalisation: class-conditional on one process; over processes in test_two_processes.py."""

import pytest
import torch
from torch import nn

from gconv_gan.layers.conditioning import Condition
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ConditionalBatchNorm2d, LatentBatchNorm2d
from gconv_gan.layers.norms.iter_norm import IterNorm
from gconv_gan.layers.norms.running_statistics import batches_counted_together


def test_with_one_process_it_equals_torchs() -> None:
    torch.manual_seed(0)
    ours, torchs, x = BatchNorm2d(5), nn.BatchNorm2d(5), torch.randn(4, 5, 3, 3)
    assert torch.equal(ours(x), torchs(x))
    assert torch.equal(ours.running_var, torchs.running_var)


def test_batches_are_counted_together_at_the_end_of_a_scope() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(BatchNorm2d(4), IterNorm(4), BatchNorm2d(4)), torch.randn(8, 4, 3, 3)
    network[2].momentum = None  # as torch.optim.swa_utils.update_bn does
    network(x)
    with batches_counted_together():
        network(x)
        with batches_counted_together():
            network(x)
        network.eval()(x)
        counts = [int(buffer) for name, buffer in network.named_buffers() if name.endswith("tracked")]
        assert counts == [1, 1, 3]  # an average over all batches needs its counter at once
    assert [int(buffer) for name, buffer in network.named_buffers() if name.endswith("tracked")] == [3, 3, 3]


def test_conditional_with_neutral_tables_is_batch_norm() -> None:
    torch.manual_seed(0)
    layer, x = ConditionalBatchNorm2d(5, 3), torch.randn(4, 5, 3, 3)
    with torch.no_grad():
        layer.scale.weight.fill_(1.0)
    torch.testing.assert_close(layer(x, Condition(y=torch.tensor([0, 1, 2, 0]))), nn.BatchNorm2d(5)(x), rtol=0, atol=1e-6)


def test_a_class_changes_only_scale_and_shift() -> None:
    torch.manual_seed(0)
    layer, x = ConditionalBatchNorm2d(2, 2), torch.randn(4, 2, 3, 3)
    with torch.no_grad():
        layer.scale.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 3.0]]))
        layer.shift.weight.copy_(torch.tensor([[0.0, 0.0], [-1.0, 4.0]]))
    zero, one = (layer(x, Condition(y=torch.full((4,), c))) for c in (0, 1))
    expected = zero * torch.tensor([2.0, 3.0]).view(1, 2, 1, 1) + torch.tensor([-1.0, 4.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(one, expected)


def test_initial_scales_scatter_around_one_and_shifts_are_zero() -> None:
    torch.manual_seed(0)
    layer = ConditionalBatchNorm2d(200, 50)
    assert layer.scale.weight.mean().item() == pytest.approx(1.0, abs=1e-3)
    assert layer.scale.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.shift.weight.any()


def test_missing_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="has no y"):
        ConditionalBatchNorm2d(2, 2)(torch.randn(2, 2, 3, 3), Condition(z=torch.zeros(2, 4)))


def test_scale_and_shift_are_linear_in_the_vector() -> None:
    torch.manual_seed(0)
    layer, x, z = LatentBatchNorm2d(5, 3), torch.randn(4, 5, 3, 3), torch.randn(4, 3)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 3 * 5
    assert layer.scale.weight.std().item() == pytest.approx(0.02, rel=0.5)
    normalised = nn.BatchNorm2d(5, affine=False)(x)
    scale, shift = 1 + z @ layer.scale.weight.T, z @ layer.shift.weight.T
    torch.testing.assert_close(layer(x, Condition(z=z)), scale[:, :, None, None] * normalised + shift[:, :, None, None])
    torch.testing.assert_close(layer(x, Condition(z=torch.zeros(4, 3))), normalised)
    with pytest.raises(ValueError, match="has no z"):
        layer(x, Condition(y=torch.zeros(4, dtype=torch.long)))
