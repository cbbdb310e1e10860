"""Demodulation by scalar products of the kernels, StyleGAN2's unit filters, GigaGAN's selection, float16."""

import pytest
import torch
from torch import Tensor

from gconv_gan.layers import AdaptiveConv2d, Condition, ModulatedConv2d
from gconv_gan.layers.dynamic.modulated_conv import StyleAffine, demodulation
from tests.reference.dynamic_convs import LATENT_DIM, build, explicit, inputs, run


def problem(kernels: int, groups: int) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = [(kernels, 6, 4 // groups, 3, 3), (3, kernels), (3, 4)]
    return [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def direct(bank: Tensor, gates: Tensor, style: Tensor, groups: int) -> Tensor:
    """The norm of every filter of every sample's own kernel."""
    rows = []
    for b in range(3):
        mixed = sum(gates[b, k] * bank[k] for k in range(len(bank)))
        seen = torch.stack([style[b].view(groups, -1)[o // (6 // groups)] for o in range(6)])
        rows.append(((mixed * seen[:, :, None, None]).square().sum((1, 2, 3)) + 1e-8).rsqrt())
    return torch.stack(rows)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kernels", [1, 2, 3, 8])
def test_scalar_products_give_the_norms_of_the_explicit_kernels(kernels: int, groups: int) -> None:
    leaves = problem(kernels, groups)
    ours, theirs = demodulation(*leaves, groups=groups), direct(*leaves, groups)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    direction = torch.randn_like(ours)
    for a, b in zip(torch.autograd.grad(ours, leaves, direction), torch.autograd.grad(theirs, leaves, direction), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kernels", [1, 2, 4, 8])
def test_scalar_products_in_float32(kernels: int) -> None:
    torch.manual_seed(0)
    bank, gates, style = torch.randn(kernels, 64, 256, 3, 3), torch.rand(4, kernels), 1 + torch.randn(4, 256)
    exact = demodulation(bank.double(), gates.double(), style.double())
    assert ((demodulation(bank, gates, style) - exact).abs() / exact).max() < 1e-5
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(demodulation(bank, gates, style), demodulation(bank, gates, style).float())
        assert ((demodulation(bank, gates, style) - exact).abs() / exact).max() < 1e-5


def test_kernels_that_cancel_and_styles_of_zero_stay_finite() -> None:
    kernel = torch.randn(1, 6, 4, 3, 3)
    cancelling = demodulation(torch.cat([kernel, -kernel]), torch.full((1, 2), 0.5), torch.ones(1, 4))
    assert cancelling.isfinite().all()
    torch.testing.assert_close(demodulation(kernel, torch.ones(1, 1), torch.zeros(2, 4)), torch.full((2, 6), 1e4))


@pytest.mark.parametrize("resample", ["none", "up", "down"])
@pytest.mark.parametrize("preset", ["stylegan2", "gigagan"])
def test_the_norm_is_that_of_the_small_kernel_also_with_fused_resampling(preset: str, resample: str) -> None:
    layer = build(preset, resample=resample)
    x, condition = inputs()
    kernels, _ = explicit(layer, x, condition)
    for kernel in kernels:
        torch.testing.assert_close(kernel.square().sum((1, 2, 3)), torch.ones(6).double(), rtol=0, atol=1e-6)
    # a style that only changes length changes nothing but the bias's weight in the sum
    before = run(layer, x, condition)
    with torch.no_grad():
        layer.style.weight.mul_(3)
        layer.style.bias.mul_(3)
    torch.testing.assert_close(run(layer, x, condition), before, rtol=1e-6, atol=1e-6)


def test_a_style_of_one_gives_unit_filters() -> None:
    layer = ModulatedConv2d(4, 6, 3, latent_dim=LATENT_DIM, padding=1, bias="none").double()
    torch.nn.init.zeros_(layer.style.weight)
    unit = layer.bank[0] / layer.bank[0].flatten(1).norm(dim=1)[:, None, None, None]
    x, condition = inputs()
    torch.testing.assert_close(run(layer, x, condition), torch.nn.functional.conv2d(x, unit, padding=1), rtol=1e-7, atol=1e-7)


def test_styles_start_around_one_with_unit_variance() -> None:
    torch.manual_seed(0)
    z = torch.randn(500, 64)
    for equalized in (False, True):
        style = StyleAffine(64, 300, equalized_lr=equalized)
        assert 0.95 < style.weight.std() * (1 if equalized else 8) < 1.05
        assert 0.95 < style(z).var() < 1.05
        assert 0.95 < style(z).mean() < 1.05


def test_the_stored_kernels_have_unit_variance_under_an_equalized_learning_rate() -> None:
    torch.manual_seed(0)
    equalized = ModulatedConv2d(64, 32, 3, latent_dim=8)
    assert 0.97 < equalized.bank.std() < 1.03
    assert equalized.weight_scale == (64 * 9) ** -0.5
    plain = ModulatedConv2d(64, 32, 3, latent_dim=8, equalized_lr=False)
    assert 0.97 < plain.bank.std() * 24 < 1.03
    adaptive = AdaptiveConv2d(64, 32, 3, latent_dim=8, num_kernels=4)
    assert 0.97 < adaptive.bank.std() * 24 / 2 < 1.03  # the mixture of four at gates of 1/4 is half as large


def test_gates_are_a_distribution_uniform_at_logits_of_zero() -> None:
    layer = AdaptiveConv2d(4, 6, 3, latent_dim=LATENT_DIM, num_kernels=4, gate_init_std=0.0).double()
    _, condition = inputs()
    assert layer.gate is not None
    assert torch.equal(layer.gate(condition), torch.full((3, 4), 0.25).double())
    torch.testing.assert_close(build("gigagan").gate(condition).sum(1), torch.ones(3).double())
    assert ModulatedConv2d(4, 6, 3, latent_dim=LATENT_DIM).gate is None


@pytest.mark.parametrize("preset", ["stylegan2", "gigagan"])
def test_float16_survives_styles_that_would_overflow(preset: str) -> None:
    layer = build(preset, bias="none").float()
    with torch.no_grad():
        layer.style.bias.fill_(3e4)
        layer.bank.mul_(1e3)
    x, condition = inputs()
    assert condition.z is not None
    x, condition = 10 * x.float(), Condition(condition.z.float())
    exact = run(layer, x, condition)
    with torch.autocast("cpu", torch.float16):
        rounded = run(layer, x, condition)
    assert rounded.dtype == torch.float16
    assert (rounded - exact).square().mean().sqrt() / exact.square().mean().sqrt() < 2e-3
