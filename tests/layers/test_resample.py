"""Fused resampling equals separate resampling and convolution; unsupported combinations are refused."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.flop_counter import FlopCounterMode

from gconv_gan.layers.resample import ResampledConv2d, fused_kernel, resampled_conv2d
from tests.reference.per_sample_conv import plain_conv


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_equal_with_gradients(fused: Tensor, plain: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-10)
    direction = torch.randn_like(plain)
    ours = torch.autograd.grad(fused, leaves, direction)
    theirs = torch.autograd.grad(plain, leaves, direction)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def widen(weight: Tensor) -> Tensor:
    return 4 * fused_kernel(weight, "down")


def test_widen_adds_shifted_copies() -> None:
    w0, w1, w2 = 2.0, -3.0, 5.0
    rows = torch.tensor([w0, w1, w2])[:, None].expand(3, 3).reshape(1, 1, 3, 3) * torch.tensor([0.0, 1.0, 0.0])
    expected = torch.tensor([w0, w0 + w1, w1 + w2, w2])
    wide = widen(rows)[0, 0]
    assert torch.equal(wide[:, 1], expected)
    assert torch.equal(wide[:, 2], expected)
    assert torch.equal(wide[:, [0, 3]], torch.zeros(4, 2))


def test_widen_is_the_full_convolution_with_a_box_for_any_side_and_any_leading_axes() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 3, 4, 5, 5, dtype=torch.float64)
    box = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    expected = F.conv2d(weight.view(-1, 1, 5, 5), box, padding=1).view(2, 3, 4, 6, 6)
    torch.testing.assert_close(widen(weight), expected, rtol=0, atol=1e-12)


def test_widen_rounds_a_low_precision_kernel_once_even_under_autocast() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 8, 3, 3)
    expected = widen(weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(widen(weight), expected)
    assert torch.equal(widen(weight.bfloat16()), widen(weight.bfloat16().float()).bfloat16())


@pytest.mark.parametrize("size", [(7, 9), (3, 2), (2, 2)])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("padding_mode", ["zeros", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("resample", ["up", "down"])
def test_fused_equals_plain_in_value_and_gradients(resample: str, padding_mode: str, side: int, groups: int, size: tuple[int, int]) -> None:
    if side == 5 and padding_mode == "reflect":
        size = (max(size[0], 4), max(size[1], 4))  # torch reflects at most size - 1 pixels
    if (side, padding_mode, resample) == (5, "reflect", "up"):
        with pytest.raises(ValueError, match="reflect"):
            resampled_conv2d(double(1, 2, 4, 4), double(2, 2, 5, 5), padding=2, padding_mode="reflect", resample="up")
        return
    torch.manual_seed(0)
    x, weight, bias = double(2, 4, *size), double(6, 4 // groups, side, side), double(6)
    conv = {"groups": groups, "padding_mode": padding_mode, "resample": resample}
    fused = resampled_conv2d(x, weight, bias, padding=side // 2, **conv)  # type: ignore[arg-type]
    plain = plain_conv(x, weight, bias, padding=(side // 2, side // 2), **conv)  # type: ignore[arg-type]
    assert_equal_with_gradients(fused, plain, [x, weight, bias])


@pytest.mark.parametrize(("side", "groups"), [(2, 1), (4, 1), (4, 2), (6, 2)])
def test_transposed_is_conv_transpose2d_with_a_kernel_laid_out_as_conv2d(side: int, groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, side, stride=2, padding=side // 2 - 1, groups=groups, dtype=torch.float64)
    ours = ResampledConv2d(4, 6, side, padding=side // 2 - 1, groups=groups, resample="transposed", dtype=torch.float64)
    assert ours.weight.shape == (6, 4 // groups, side, side)
    weight = torch.cat([part.transpose(0, 1) for part in layer.weight.chunk(groups)])
    ours.load_state_dict({"weight": weight, "bias": layer.bias})
    x = double(2, 4, 5, 3)
    assert ours(x).shape == (2, 6, 10, 6)
    torch.testing.assert_close(ours(x), layer(x), rtol=0, atol=1e-12)


def test_nearest_upsampling_is_a_special_transposed_convolution() -> None:
    torch.manual_seed(0)
    x, weight = double(2, 3, 5, 5), double(4, 3, 3, 3)
    up = resampled_conv2d(x, weight, padding=1, resample="up")
    torch.testing.assert_close(up, resampled_conv2d(x, widen(weight).flip(-1, -2), padding=1, resample="transposed"), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"kernel_size": 3, "padding": 1}, "even side"),
        ({"kernel_size": 4, "padding": 2}, "needs padding 1"),
        ({"kernel_size": 4, "padding": 1, "stride": 2}, "stride 1"),
        ({"kernel_size": 4, "padding": 1, "padding_mode": "reflect"}, "no border"),
    ],
)
def test_options_that_a_transposed_convolution_lacks_are_refused(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResampledConv2d(2, 2, resample="transposed", **keywords)  # type: ignore[arg-type]


@pytest.mark.parametrize("resample", ["up", "down"])
def test_float32_with_256_channels(resample: str) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(2, 256, 8, 8), torch.randn(64, 256, 3, 3) / 48
    fused = resampled_conv2d(x, weight, padding=1, resample=resample)  # type: ignore[arg-type]
    plain = plain_conv(x.double(), weight.double(), padding=(1, 1), resample=resample)
    assert (fused - plain).abs().max() <= 1e-5 * max(1.0, plain.abs().max().item())


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_second_derivatives_as_gradient_penalties_need_them(resample: str) -> None:
    torch.manual_seed(0)
    x, weight = double(1, 2, 4, 4), double(2, 2, 3, 3)

    def penalty(x: Tensor, weight: Tensor) -> Tensor:
        y = resampled_conv2d(x, weight, padding=1, resample=resample).tanh().sum()  # type: ignore[arg-type]
        return torch.autograd.grad(y, x, create_graph=True)[0].square().sum()

    assert torch.autograd.gradcheck(penalty, (x, weight))


def test_a_fused_layer_multiplies_less() -> None:
    def flops(run: object, *arguments: object, **keywords: object) -> int:
        with FlopCounterMode(display=False) as counter:
            run(*arguments, **keywords)  # type: ignore[operator]
        return counter.get_total_flops()

    x, weight, pointwise = torch.randn(1, 4, 8, 8), torch.randn(4, 4, 3, 3), torch.randn(4, 4, 1, 1)
    box = 2 * 9 * 16 * 4 * 4  # the matrix that widens
    up = flops(resampled_conv2d, x, weight, padding=1, resample="up") - box
    assert up == 2 * 16 * 4 * 4 * 64
    assert flops(plain_conv, x, weight, padding=(1, 1), resample="up") / up == 2.25
    assert flops(resampled_conv2d, x, weight, padding=1, resample="down") - box == 2 * 16 * 4 * 4 * 16
    assert flops(resampled_conv2d, x, pointwise, resample="up") == 2 * 4 * 4 * 64  # at low resolution
    assert flops(resampled_conv2d, x, pointwise, resample="down") == 2 * 4 * 4 * 16


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_layer_is_a_conv2d_around_the_same_parameters(resample: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, padding=1, groups=2, padding_mode="replicate").double()
    layer = ResampledConv2d(4, 6, 3, padding=1, groups=2, padding_mode="replicate", resample=resample, dtype=torch.float64)  # type: ignore[arg-type]
    layer.load_state_dict(conv.state_dict())
    x = double(2, 4, 6, 6)
    up = x.repeat_interleave(2, 2).repeat_interleave(2, 3) if resample == "up" else x
    plain = F.avg_pool2d(conv(up), 2) if resample == "down" else conv(up)
    torch.testing.assert_close(layer(x), plain, rtol=0, atol=1e-12)
    assert ("resample" in repr(layer)) == (resample != "none")


@pytest.mark.parametrize("resample", ["up", "down"])
def test_spectral_norm_sees_the_small_kernel(resample: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 6, 6)
    plain = nn.Conv2d(4, 6, 3, padding=1)
    layer = ResampledConv2d(4, 6, 3, padding=1, resample=resample)  # type: ignore[arg-type]
    layer.load_state_dict(plain.state_dict())
    torch.manual_seed(1)
    spectral_norm(plain, n_power_iterations=3)
    torch.manual_seed(1)
    spectral_norm(layer, n_power_iterations=3)
    for _ in range(3):
        expected = plain_conv(x, plain.weight, plain.bias, padding=(1, 1), resample=resample)
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)
    plain.eval()
    layer.eval()
    assert torch.equal(plain.weight, layer.weight)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"kernel_size": 3, "padding": 1, "stride": 2}, "stride 1"),
        ({"kernel_size": 3, "padding": 1, "dilation": 2}, "dilation 1"),
        ({"kernel_size": 4, "padding": 2}, "odd side"),
        ({"kernel_size": (3, 5), "padding": (1, 2)}, "square"),
        ({"kernel_size": 3, "padding": 0}, "needs padding 1"),
        ({"kernel_size": 1, "padding": 1}, "needs padding 0"),
    ],
)
@pytest.mark.parametrize("resample", ["up", "down"])
def test_options_that_cannot_be_fused_are_refused(keywords: dict[str, int], message: str, resample: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResampledConv2d(2, 2, resample=resample, **keywords)  # type: ignore[arg-type]
    ResampledConv2d(2, 2, **keywords)  # type: ignore[arg-type]
