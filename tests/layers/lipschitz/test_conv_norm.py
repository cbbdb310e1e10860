"""ConvNorm against a slow float64 reference, its invariances, gradients, caches, conversion and refusals."""

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.lipschitz.circular import Window, kernel_spectrum, power_spectrum, zero_phase_filter
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, cached_spectra, conv_norm, remove_conv_norm
from gconv_gan.layers.lipschitz.convolution_norms import lanczos_norm
from gconv_gan.layers.lipschitz.spectral_norm import spectral_norm
from gconv_gan.layers.resample import ResampledConv2d


def reference(layer: ConvNorm2d, x: Tensor) -> Tensor:
    """Return the definition, literally: real transforms of every kernel and every map."""
    weight, k, (h, w) = layer.weight.double(), layer.kernel_size[0], x.shape[2:]
    grid = (h + k - 1, w + k - 1)
    z = F.conv2d(x.double(), weight, padding=k - 1, groups=layer.groups)
    s = torch.fft.rfft2(weight, s=grid).abs().square().sum(1)
    v = (s + layer.eps * s.amax((1, 2), keepdim=True)).rsqrt()
    y = torch.fft.irfft2(torch.fft.rfft2(z) * v, s=grid)
    t = k - 1 - layer.padding[0]
    y = y[:, :, t : grid[0] - t, t : grid[1] - t][:, :, :: layer.stride[0], :: layer.stride[1]]
    return y if layer.bias is None else y + layer.bias.double()[:, None, None]


def make(*shape: int, **options: Any) -> ConvNorm2d:
    torch.manual_seed(0)
    return ConvNorm2d(*shape, **options).double()


def correlated(layer: ConvNorm2d) -> ConvNorm2d:
    """Give all output channels nearly the same kernel, the worst case of the layer norm."""
    with torch.no_grad():
        layer.weight.copy_(0.3 * torch.randn_like(layer.weight) + torch.randn_like(layer.weight[:1]))
    return layer


@pytest.mark.parametrize("batch", [1, 4, 5])
@pytest.mark.parametrize(("kernel", "stride", "padding", "groups"), [(3, 1, 1, 1), (3, 2, 0, 2), (4, 2, 1, 1), (5, 1, 4, 4)])
def test_equals_the_reference(batch: int, kernel: int, stride: int, padding: int, groups: int) -> None:
    layer = make(4, 8, kernel, stride=stride, padding=padding, groups=groups)
    x = torch.randn(batch, 4, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(layer(x), reference(layer, x), rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(layer.float()(x.float()).double(), reference(layer, x), rtol=1e-4, atol=1e-5)


def test_rows_have_unit_norm_at_every_frequency() -> None:
    layer = make(5, 7, 3, eps=0.0)
    gain = layer.spectral_gain((11, 10), torch.float64)
    rows = torch.fft.rfft2(layer.weight, s=(11, 10)) * gain[:, None, :, :6]
    torch.testing.assert_close(rows.abs().square().sum(1).sqrt(), torch.ones(7, 11, 6, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("grid", [(9, 8), (2, 3)])
def test_spectra_of_small_kernels_on_any_grid(grid: tuple[int, int]) -> None:
    weight = torch.randn(3, 2, 3, 4, dtype=torch.float64)
    wrapped = torch.zeros(3, 2, *grid, dtype=torch.float64)
    for i in range(3):
        for j in range(4):
            wrapped[:, :, i % grid[0], j % grid[1]] += weight[:, :, i, j]
    expected = torch.fft.fft2(wrapped)
    torch.testing.assert_close(kernel_spectrum(weight, grid, half=False), expected.permute(2, 3, 0, 1), rtol=0, atol=1e-12)
    torch.testing.assert_close(power_spectrum(weight, grid), expected.abs().square().sum(1), rtol=0, atol=1e-11)


def test_a_1x1_kernel_is_a_row_normalised_convolution() -> None:
    layer = make(6, 9, 1).float()
    x = torch.randn(2, 6, 5, 4)
    expected = F.conv2d(x, F.normalize(layer.weight.flatten(1), dim=1)[..., None, None], layer.bias)
    torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-5)


def test_a_delta_kernel_is_a_convolution_with_unit_norm_kernels() -> None:
    layer = make(3, 5, 3, padding=1, eps=0.0)
    with torch.no_grad():
        layer.weight.mul_(F.pad(torch.ones(1, 1), (1, 1, 1, 1)))
    x = torch.randn(2, 3, 6, 7, dtype=torch.float64)
    unit = layer.weight / layer.weight.flatten(1).norm(dim=1)[:, None, None, None]
    torch.testing.assert_close(layer(x), F.conv2d(x, unit, layer.bias, padding=1), rtol=0, atol=1e-12)


def test_one_input_channel_passes_all_energy_before_the_crop() -> None:
    layer = make(1, 4, 3, padding=2, bias=False, eps=0.0)
    x = torch.randn(3, 1, 8, 9, dtype=torch.float64)
    energy = layer(x).square().sum((2, 3)).sqrt()
    torch.testing.assert_close(energy, x.square().sum((2, 3)).sqrt().expand(3, 4), rtol=0, atol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-4])
def test_output_ignores_the_scale_of_a_filter_but_not_its_sign(eps: float) -> None:
    layer = make(3, 4, 3, padding=1, bias=False, eps=eps)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    before = layer(x)
    factor = torch.tensor([7.0, 0.01, -1.0, -30.0], dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        layer.weight.mul_(factor[..., None])
    torch.testing.assert_close(layer(x), before * factor.sign(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kernel", [1, 3, 4, 5])
def test_shapes_are_those_of_conv2d_and_a_stride_subsamples(kernel: int) -> None:
    x = torch.randn(2, 2, 9, 8, dtype=torch.float64)
    for padding in range(kernel):
        strided, full = (make(2, 3, kernel, stride=stride, padding=padding) for stride in (2, 1))
        assert strided(x).shape == nn.Conv2d(2, 3, kernel, stride=2, padding=padding).double()(x).shape
        assert full(x).shape == nn.Conv2d(2, 3, kernel, padding=padding).double()(x).shape
        assert make(2, 3, kernel, padding=padding, bias=False)(x).is_contiguous()
        torch.testing.assert_close(strided(x), full(x)[:, :, ::2, ::2], rtol=0, atol=0 if kernel > 1 else 1e-14)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 0), (4, 2, 1)])
def test_each_channel_is_one_lipschitz_and_the_layer_is_not_unless_scaled(kernel: int, stride: int, padding: int) -> None:
    layer = correlated(make(4, 8, kernel, stride=stride, padding=padding))
    for channel in range(2):
        norm = lanczos_norm(lambda x, c=channel: layer(x)[:, c], (1, 4, 8, 8), iterations=15)
        assert norm <= 1 + 1e-6
    assert lanczos_norm(layer, (1, 4, 8, 8), iterations=15) > 2
    for scale in ("sqrt_out", "exact"):
        layer.scale = scale
        norm = lanczos_norm(layer, (1, 4, 8, 8), iterations=15)
        assert 0.5 < norm <= 1 + 1e-6


def test_a_grouped_layer_is_scaled_group_by_group() -> None:
    layer = correlated(make(4, 8, 3, padding=1, groups=2, scale="sqrt_out"))
    assert 0.9 < lanczos_norm(layer, (1, 4, 8, 8), iterations=15) <= 1 + 1e-6


@pytest.mark.parametrize("scale", ["none", "sqrt_out", "exact"])
def test_gradient_is_orthogonal_to_the_filter_only_when_the_spectrum_is_differentiated(scale: str) -> None:
    x, target = torch.randn(4, 3, 6, 6, dtype=torch.float64), torch.randn(4, 4, 6, 6, dtype=torch.float64)
    cosines = {}
    for detach in (True, False):
        layer = make(3, 4, 3, padding=1, detach=detach, scale=scale)
        (layer(x) - target).square().mean().backward()
        cosines[detach] = F.cosine_similarity(layer.weight.grad.flatten(1), layer.weight.flatten(1)).abs()
    assert cosines[False].max() <= 1e-10
    assert cosines[True].min() > 0.05


@pytest.mark.parametrize("detach", [True, False])
def test_first_and_second_derivatives(detach: bool) -> None:
    layer = make(2, 2, 3, stride=2, padding=1, detach=detach, bias=False)
    x = torch.randn(3, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(layer, (x,))
    if not detach:
        assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(layer, {"weight": w}, (x.detach(),)), (layer.weight,))


def test_the_filter_keeps_images_apart_and_is_its_own_adjoint() -> None:
    gain = power_spectrum(torch.randn(2, 3, 3, 3, dtype=torch.float64), (6, 7))
    a, b = torch.randn(2, 5, 2, 6, 7, dtype=torch.float64)
    for image in range(5):
        alone = zero_phase_filter(a[image : image + 1], gain)
        torch.testing.assert_close(zero_phase_filter(a, gain)[image : image + 1], alone, rtol=0, atol=1e-12)
    torch.testing.assert_close((zero_phase_filter(a, gain) * b).sum(), (a * zero_phase_filter(b, gain)).sum(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("grid", [(34, 34), (9, 6), (6, 9), (5, 5), (2, 3), (1, 4), (3, 1)])
def test_small_maps_are_filtered_by_matrices_as_large_ones_by_transforms(grid: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kernel = torch.randn(4, 2, min(3, grid[0]), min(3, grid[1]), dtype=torch.float64)
    gain = (power_spectrum(kernel, grid) + 0.1).rsqrt()
    z = torch.randn(3, 4, *grid, dtype=torch.float64)
    direct = torch.fft.ifft2(torch.fft.fft2(z) * gain).real
    by_matrices = zero_phase_filter(z, gain)
    monkeypatch.setattr("gconv_gan.layers.lipschitz.circular.few_products", lambda z: z[0, 0].numel() < 100)
    by_few = zero_phase_filter(z, gain)
    monkeypatch.setattr("gconv_gan.layers.lipschitz.circular.MATRIX_SIDE", 0)
    torch.testing.assert_close((power_spectrum(kernel, grid) + 0.1).rsqrt(), gain, rtol=1e-12, atol=0)
    by_transforms = zero_phase_filter(z, gain)
    for filtered in (by_matrices, by_few, by_transforms):
        torch.testing.assert_close(filtered, direct, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["matrices", "one matrix", "transforms"])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_every_form_of_the_filter_keeps_the_window_and_has_its_derivatives(
    form: str, pool: bool, learned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    gain = (power_spectrum(torch.randn(2, 3, 3, 3, dtype=torch.float64), (9, 7)) + 0.1).rsqrt()
    z, window = torch.randn(3, 2, 9, 7, dtype=torch.float64, requires_grad=True), Window((1, 0), pool=pool)
    if form == "transforms":
        monkeypatch.setattr("gconv_gan.layers.lipschitz.circular.MATRIX_SIDE", 0)
    monkeypatch.setattr("gconv_gan.layers.lipschitz.circular.few_products", lambda _: form == "one matrix")
    monkeypatch.setattr("gconv_gan.layers.lipschitz.circular.CACHE_BYTES", 2 * z[0].nbytes)  # two images at a time, then one
    direct = torch.fft.ifft2(torch.fft.fft2(z) * gain).real[:, :, 1:-1]
    direct = F.avg_pool2d(direct, 2) if pool else direct
    torch.testing.assert_close(zero_phase_filter(z, gain, window), direct, rtol=0, atol=1e-13)
    leaves = (z, gain.requires_grad_()) if learned else (z,)

    def filtered(*given: Tensor) -> Tensor:
        even = (given[1] + given[1].flip(1, 2).roll((1, 1), (1, 2))) / 2 if learned else gain
        return zero_phase_filter(given[0], even, window)

    assert torch.autograd.gradcheck(filtered, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(filtered, leaves, fast_mode=True)


@pytest.mark.parametrize("detach", [True, False])
def test_spectral_zeros_and_empty_channels_stay_finite(detach: bool) -> None:
    binomial = torch.tensor([1.0, 2.0, 1.0])
    layer = make(1, 2, 3, padding=1, bias=False, detach=detach).float()
    with torch.no_grad():
        layer.weight.copy_(torch.stack([torch.outer(binomial, binomial), torch.zeros(3, 3)])[:, None])
    assert torch.fft.rfft2(layer.weight[0, 0], s=(10, 10)).abs().min() < 1e-6
    y = layer(torch.randn(2, 1, 8, 8))
    y.square().sum().backward()
    assert y.isfinite().all()
    assert (y[:, 1] == 0).all()
    assert layer.weight.grad.isfinite().all()


@pytest.mark.parametrize("scope", [False, True])
def test_two_forwards_share_one_backward(scope: bool) -> None:
    real, fake = torch.randn(2, 3, 2, 6, 6, dtype=torch.float64)
    layer = make(2, 3, 3, padding=1, scale="exact")
    gradients = []
    for x in (real, fake):
        gradients += torch.autograd.grad(layer(x).square().sum(), layer.weight)
    if scope:
        with cached_spectra():
            loss = layer(real).square().sum() + layer(fake).square().sum()
    else:
        loss = layer(real).square().sum() + layer(fake).square().sum()
    torch.testing.assert_close(torch.autograd.grad(loss, layer.weight)[0], sum(gradients), rtol=1e-12, atol=1e-12)


def test_state_dict_is_conv2ds_at_every_resolution_and_mode() -> None:
    plain = nn.Conv2d(3, 4, 3, padding=1)
    layer = ConvNorm2d(3, 4, 3, padding=1)
    assert list(layer.state_dict()) == list(plain.state_dict())
    layer(torch.randn(1, 3, 8, 8))
    layer.load_state_dict(plain.state_dict())
    other = ConvNorm2d(3, 4, 3, padding=1)
    other.load_state_dict(layer.state_dict())
    x = torch.randn(1, 3, 12, 5)
    trained = layer(x)
    assert torch.equal(trained, other.eval()(x))
    assert torch.equal(trained, copy.deepcopy(layer)(x))


def step_with(optimizer: Callable[..., torch.optim.Optimizer], **options: Any) -> Callable[[ConvNorm2d], None]:
    return lambda layer: optimizer(layer.parameters(), lr=0.1, **options).step()


def edit_data(layer: ConvNorm2d) -> None:
    layer.weight.data[0, 0] += 1.0


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("update", [step_with(torch.optim.Adam, foreach=True), step_with(torch.optim.Adam, fused=True), edit_data])
def test_no_stale_spectra_after_an_update(update: Callable[[ConvNorm2d], None], detach: bool) -> None:
    layer = make(3, 4, 3, padding=1, detach=detach)
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    with cached_spectra():
        before = layer(x)
        before.square().sum().backward()
    update(layer)
    fresh = make(3, 4, 3, padding=1)
    fresh.load_state_dict(layer.state_dict())
    with cached_spectra():
        after = layer(x)
    assert torch.equal(after, fresh(x))
    assert not torch.allclose(after, before)


def test_spectra_are_computed_once_in_a_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compute = ConvNorm2d._compute_gain
    monkeypatch.setattr(ConvNorm2d, "_compute_gain", lambda layer, *args: calls.append(args) or compute(layer, *args))
    layer, learned = make(2, 3, 3), make(2, 3, 3, detach=False)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    with cached_spectra(), cached_spectra():
        layer(x), layer(x)
        assert len(calls) == 1
        layer(x[:, :, 1:])
        assert len(calls) == 2
        learned(x), learned(x)
        assert len(calls) == 4
        with torch.no_grad():
            learned(x), learned(x)
        assert len(calls) == 5
    layer(x), layer(x)
    assert len(calls) == 7


@pytest.mark.parametrize("kernel", [1, 3])
def test_resampling_is_that_of_the_plain_operations(kernel: int) -> None:
    x = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    plain, up, down = (make(3, 4, kernel, padding=kernel // 2, resample=r) for r in ("none", "up", "down"))
    torch.testing.assert_close(up(x), plain(F.interpolate(x, scale_factor=2.0)), rtol=0, atol=1e-12)
    torch.testing.assert_close(down(x), F.avg_pool2d(plain(x), 2), rtol=0, atol=1e-12)


def test_affine_and_bn_follow_the_filter() -> None:
    layer = make(3, 4, 3, padding=1, affine=True, bn=True)
    core = make(3, 4, 3, padding=1)
    core.load_state_dict({name: value for name, value in layer.state_dict().items() if name in ("weight", "bias")})
    x = torch.randn(4, 3, 6, 6, dtype=torch.float64)
    expected = F.batch_norm(F.conv2d(core(x), layer.affine.weight, layer.affine.bias, padding=1, groups=4), None, None, training=True)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)
    assert sum(p.numel() for p in layer.parameters()) == (3 * 9 + 1) * 4 + 10 * 4 + 2 * 4
    assert make(3, 4, 3, bn=True).bn.weight is None


@pytest.mark.parametrize("resample", ["none", "up", "down"])
def test_conversion_in_place_and_back(resample: str) -> None:
    torch.manual_seed(0)
    conv = ResampledConv2d(3, 4, 3, padding=1, resample=resample)
    x = torch.randn(2, 3, 8, 8)
    weight, before = conv.weight, conv(x)
    converted = conv_norm(conv, scale="sqrt_out")
    assert converted is conv
    assert converted.weight is weight
    direct = ConvNorm2d(3, 4, 3, padding=1, scale="sqrt_out", resample=resample)
    direct.load_state_dict(conv.state_dict())
    assert torch.equal(conv(x), direct(x))
    assert "scale='sqrt_out'" in repr(conv)
    assert torch.equal(remove_conv_norm(converted)(x), before)
    assert list(conv.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dilation": 2}, "dilation"),
        ({"padding_mode": "reflect", "padding": 1}, "reflect"),
        ({"padding": 3}, "exceeds"),
        ({"padding": "same"}, "in pixels"),
        ({"stride": 2, "resample": "down"}, "stride 1"),
        ({"kernel_size": 4, "affine": True}, "even"),
    ],
)
def test_unsupported_options_are_refused(options: dict[str, Any], message: str) -> None:
    if options.get("padding") != "same":
        with pytest.raises(ValueError, match=message):
            ConvNorm2d(2, 3, **{"kernel_size": 3, **options})
    if "resample" not in options:
        plain = {name: value for name, value in options.items() if name != "affine"}
        with pytest.raises(ValueError, match=message):
            conv_norm(nn.Conv2d(2, 3, **{"kernel_size": 3, **plain}), affine="affine" in options)


def test_rectangular_kernels_are_supported() -> None:
    layer = make(2, 3, (1, 5), padding=(0, 2), bias=False, eps=0.0)
    assert layer(torch.randn(1, 2, 6, 6, dtype=torch.float64)).shape == (1, 3, 6, 6)
    assert lanczos_norm(lambda x: layer(x)[:, 0], (1, 2, 6, 6)) == pytest.approx(1, abs=0.02)


def test_stacking_with_spectral_norm_is_refused_in_every_order() -> None:
    legacy = getattr(nn.utils, "spectral_norm")  # noqa: B009 - deprecated, hence untyped
    with pytest.raises(ValueError, match="does nothing"):
        spectral_norm(ConvNorm2d(2, 3, 3))
    with pytest.raises(ValueError, match="does nothing"):
        nn.utils.parametrizations.spectral_norm(ConvNorm2d(2, 3, 3))(torch.randn(1, 2, 5, 5))
    with pytest.raises(ValueError, match="does nothing"):
        legacy(ConvNorm2d(2, 3, 3))(torch.randn(1, 2, 5, 5))
    with pytest.raises(ValueError, match="spectrally normalised"):
        conv_norm(nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 3)))
    with pytest.raises(ValueError, match="spectrally normalised"):
        conv_norm(legacy(nn.Conv2d(2, 3, 3)))
    with pytest.raises(ValueError, match="not Linear"):
        conv_norm(nn.Linear(2, 3))
    with pytest.raises(ValueError, match="'bias'"):
        conv_norm(nn.Conv2d(2, 3, 3), "bias")
    with pytest.raises(ValueError, match="expects a ConvNorm2d"):
        remove_conv_norm(nn.Conv2d(2, 3, 3))


def test_the_exact_scale_does_not_depend_on_how_many_rows_are_taken_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    conv = ConvNorm2d(4, 6, 3, padding=1, groups=2, scale="exact").double()
    at_once = conv.spectral_gain((9, 8), torch.float64)
    monkeypatch.setattr(sys.modules[ConvNorm2d.__module__], "SPECTRUM_ELEMENTS", 1)
    torch.testing.assert_close(conv.spectral_gain((9, 8), torch.float64), at_once, rtol=1e-13, atol=0)
    spectrum = torch.fft.fft2(conv.weight.detach(), s=(9, 8)).permute(2, 3, 0, 1)
    flat = conv.spectral_gain((9, 8), torch.float64).permute(1, 2, 0)[..., None] * spectrum
    norms = torch.linalg.matrix_norm(flat.unflatten(2, (2, 3)), 2)
    assert 0.9 < norms.max() <= 1 + 1e-12
