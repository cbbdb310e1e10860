"""Self-modulated batch normalisation: its definition, its initial state, and the influence of the class."""

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers import Condition
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d


def layer(num_classes: int | None = None) -> SelfModulatedBatchNorm2d:
    torch.manual_seed(0)
    norm = SelfModulatedBatchNorm2d(5, 4, num_classes=num_classes, hidden=7).double()
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.add_(torch.randn_like(parameter))
    return norm


def problem() -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return (
        torch.randn(3, 5, 6, 4, dtype=torch.float64, generator=draw),
        torch.randn(3, 4, dtype=torch.float64, generator=draw),
        torch.tensor([2, 0, 2]),
    )


def definition(norm: SelfModulatedBatchNorm2d, x: Tensor, z: Tensor) -> Tensor:
    rows = []
    mean, variance = x.mean((0, 2, 3), keepdim=True)[0], x.var((0, 2, 3), correction=0, keepdim=True)[0]
    for image, latent in zip(x, z, strict=True):
        hidden = (norm.hidden.weight @ latent + norm.hidden.bias).clamp_min(0)
        gamma = norm.scale.weight @ hidden + norm.scale.bias
        beta = norm.shift.weight @ hidden + norm.shift.bias
        rows.append(gamma[:, None, None] * (image - mean) / (variance + 1e-5).sqrt() + beta[:, None, None])
    return torch.stack(rows)


def test_equals_the_definition() -> None:
    norm, (x, z, _) = layer(), problem()
    torch.testing.assert_close(norm(x, Condition(z)), definition(norm, x, z), rtol=0, atol=1e-12)


def test_the_class_scales_and_shifts_the_latent_vector() -> None:
    norm, (x, z, y) = layer(num_classes=3), problem()
    composed = torch.stack([norm.class_shift.weight[c] + norm.class_scale.weight[c] * row for c, row in zip(y, z, strict=True)])
    torch.testing.assert_close(norm(x, Condition(z, y)), definition(norm, x, composed), rtol=0, atol=1e-12)


@pytest.mark.parametrize("num_classes", [None, 3])
def test_it_starts_near_batch_norm_and_without_a_class(num_classes: int | None) -> None:
    torch.manual_seed(0)
    norm = SelfModulatedBatchNorm2d(64, 32, num_classes=num_classes)
    x, z = torch.randn(8, 64, 4, 4), torch.randn(8, 32)
    y = None if num_classes is None else torch.arange(8) % num_classes
    assert (norm(x, Condition(z, y)) - nn.BatchNorm2d(64)(x)).abs().max() < 0.1
    if y is not None:
        assert torch.equal(norm(x, Condition(z, y)), norm(x, Condition(z, y.flip(0))))
    for linear in (norm.hidden, norm.scale, norm.shift):
        assert 0.018 < linear.weight.std() < 0.022


def test_parameters_of_one_layer() -> None:
    count = sum(p.numel() for p in SelfModulatedBatchNorm2d(256, 128).parameters())
    assert count == 128 * 32 + 32 + 2 * (32 * 256 + 256)


def test_one_latent_vector_may_serve_the_batch() -> None:
    norm, (x, z, _) = layer(), problem()
    torch.testing.assert_close(norm(x, Condition(z[:1])), norm(x, Condition(z[:1].expand(3, -1))), rtol=0, atol=1e-12)


def test_a_condition_that_does_not_fit_is_refused() -> None:
    x, z, y = problem()
    with pytest.raises(ValueError, match="no z"):
        layer()(x, Condition(y=y))
    with pytest.raises(ValueError, match="no y"):
        layer(num_classes=3)(x, Condition(z))
    with pytest.raises(ValueError, match="latent_dim=4, but its condition has 3"):
        layer()(x, Condition(z[:, :3]))
