"""Projection onto a low rank and the two layers that follow, against the singular value decomposition (arXiv 2204.05566)."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, apply
from gconv_gan.layers.dynamic.cond_conv import CondConv2d
from gconv_gan.layers.dynamic.gconv import GConv2d
from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d
from gconv_gan.layers.lipschitz.spectral_norm import PowerIterations, apply_spectral_norm, spectral_norm
from gconv_gan.layers.low_rank import Filters, Spectrum, UnfactorableError, all_filters, factorise, filters, project, thin
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ClassConditionalNorm2d, LatentBatchNorm2d, folded_scale
from gconv_gan.layers.norms.invariant_conv import InvariantConv2d
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.weights import stored

PRECISE = {torch.float32: 1e-5, torch.float64: 1e-12}
precisions = pytest.mark.parametrize("dtype", PRECISE)


def described(layer: nn.Module) -> Filters:
    found = filters(layer)
    assert found is not None
    return found


def conv(dtype: torch.dtype = torch.float32, *, outputs: int = 12, inputs: int = 5, side: int = 3) -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(inputs, outputs, side, padding=side // 2).to(dtype)


def factors(count: int = 12) -> Tensor:
    """Factors of both signs with |a| ≥ 0.5."""
    torch.manual_seed(1)
    return (0.5 + torch.rand(count, dtype=torch.float64)) * torch.where(torch.arange(count) % 3 == 0, -1.0, 1.0)


def matrix(layer: nn.Conv2d) -> Tensor:
    return layer.weight.detach().flatten(1)


def projected(layer: nn.Conv2d, rank: int, a: Tensor | None = None, **options: Any) -> Tensor:
    """Project in place and return W̄."""
    found = described(layer)
    project(found, Spectrum.of(found, a), rank, **options)
    return matrix(layer)


# ---- projection ----------------------------------------------------------------------------------------------------


@precisions
@pytest.mark.parametrize("rectified", [False, True])
def test_both_matrices_have_the_rank(dtype: torch.dtype, rectified: bool) -> None:
    a = factors() if rectified else None
    w = projected(conv(dtype), 4, a)
    for m in (w, w if a is None else a[:, None].to(dtype) * w):
        s = torch.linalg.svdvals(m)
        assert s[3] / s[0] > 0.1
        assert s[4] / s[0] <= PRECISE[dtype]


@precisions
@pytest.mark.parametrize("tail", [0.0, 0.3])
@pytest.mark.parametrize("rectified", [False, True])
def test_the_norm_of_the_rectified_matrix_stays(dtype: torch.dtype, tail: float, rectified: bool) -> None:
    a = factors() if rectified else torch.ones(12, dtype=torch.float64)
    before = (a[:, None] * matrix(conv(dtype)).double()).norm()
    w = projected(conv(dtype), 4, a if rectified else None, tail=tail).double()
    unsafe = (a.square() + 1e-5) / a if rectified else a  # before the division by a² + 1e-5
    assert abs((unsafe[:, None] * w).norm() - before) / before <= PRECISE[dtype]


@pytest.mark.parametrize(("tail", "transfer"), [(0.0, True), (0.3, True), (0.3, False)])
def test_the_projection_is_that_of_the_singular_value_decomposition(tail: float, transfer: bool) -> None:
    layer, a, rank = conv(torch.float64), factors(), 4
    u, s, vh = torch.linalg.svd(a[:, None] * matrix(layer), full_matrices=False)
    gain = ((s.square().sum() - tail**2 * s[rank:].square().sum()) / s[:rank].square().sum()).sqrt() if transfer else 1.0
    changed = torch.cat([gain * s[:rank], tail * s[rank:]])
    expected = (a / (a.square() + 1e-5))[:, None] * (u * changed) @ vh
    torch.testing.assert_close(projected(layer, rank, a, tail=tail, transfer=transfer), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [4, 12])
def test_a_second_projection_and_one_onto_the_full_rank_change_little(rank: int) -> None:
    layer, a = conv(), factors()
    first = projected(layer, rank, a).clone() if rank < 12 else matrix(layer).clone()
    again = projected(layer, rank, a)
    assert (again - first).norm() / first.norm() <= 1e-4
    assert not torch.equal(again, first)  # the division by a² + 1e-5 shrinks


def test_dead_rows_become_zero_and_a_dead_layer_is_left() -> None:
    layer, a = conv(), factors()
    a[5] = 0
    w = projected(layer, 4, a)
    assert not w[5].any()
    assert w.isfinite().all()
    nn.init.constant_(layer.weight, 1e-7)
    assert torch.equal(projected(layer, 4), torch.full_like(w, 1e-7))


def test_other_precisions_are_refused() -> None:
    layer = conv().bfloat16()
    found = described(layer)
    with pytest.raises(ValueError, match="float32 or float64, not torch.bfloat16"):
        project(found, Spectrum.of(found), 2)


def test_groups_are_projected_one_by_one_with_one_gain() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 12, 3, groups=2).double()
    before = matrix(layer).view(2, 6, -1).clone()
    project(described(layer), Spectrum.of(described(layer)), 2)
    u, s, vh = torch.linalg.svd(before, full_matrices=False)
    gain = (s.square().sum() / s[:, :2].square().sum()).sqrt()
    torch.testing.assert_close(matrix(layer).view(2, 6, -1), gain * (u[:, :, :2] * s[:, None, :2]) @ vh[:, :2], rtol=0, atol=1e-12)


# ---- under a norm and without one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "eps", "tolerance"), [(torch.float64, 1e-30, 1e-9), (torch.float32, 1e-5, 5e-3)])
@pytest.mark.parametrize("rectified", [False, True])
def test_a_batch_norm_in_training_cancels_the_transfer(dtype: torch.dtype, eps: float, tolerance: float, rectified: bool) -> None:
    torch.manual_seed(2)
    x = torch.randn(6, 5, 8, 8, dtype=dtype)
    outputs, evaluated = [], []
    for transfer in (True, False):
        norm = BatchNorm2d(12, eps=eps).to(dtype)
        torch.manual_seed(3)
        nn.init.normal_(norm.weight, 1, 0.2)
        nn.init.uniform_(norm.get_buffer("running_var"), 0.5, 2)
        layer = conv(dtype)
        layer.bias = None
        projected(layer, 4, folded_scale(norm) if rectified else None, transfer=transfer)
        norm.get_buffer("running_var").fill_(1)
        evaluated.append(norm.eval()(layer(x)))
        outputs.append(norm.train()(layer(x)))
    torch.testing.assert_close(*outputs, rtol=0, atol=tolerance)
    assert (evaluated[0] - evaluated[1]).abs().max() > 0.1


def test_gradients_without_norms_are_larger_with_the_transfer() -> None:
    norms = []
    for transfer in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(*[layer for _ in range(3) for layer in (nn.Conv2d(8, 8, 3, padding=1), nn.ReLU())])
        for layer in network:
            if isinstance(layer, nn.Conv2d):
                projected(layer, 2, transfer=transfer)
        network(torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(1))).square().mean().backward()
        norms.append(math.sqrt(sum(float(p.grad.square().sum()) for p in network.parameters() if p.grad is not None)))
    assert norms[0] > 1.5 * norms[1]


def test_the_folded_scale_is_the_factor_of_each_channel_in_evaluation() -> None:
    torch.manual_seed(0)
    norm = BatchNorm2d(4).double()
    nn.init.normal_(norm.weight)
    nn.init.uniform_(norm.get_buffer("running_var"), 0.1, 3)
    x = torch.randn(2, 4, 3, 3).double()
    zero = torch.zeros_like(x)
    factor = folded_scale(norm)
    assert factor is not None
    torch.testing.assert_close((norm.eval()(x) - norm(zero)) / x, factor[:, None, None].expand_as(x))
    classes = ClassConditionalNorm2d(BatchNorm2d(4, affine=False), 4, 3)
    found = folded_scale(classes)
    assert found is not None
    torch.testing.assert_close(found, classes.scale.weight.detach().mean(0) / math.sqrt(1 + 1e-5))
    assert folded_scale(LatentBatchNorm2d(4, 6)) is None
    assert folded_scale(nn.GroupNorm(2, 4)) is None


# ---- two layers ----------------------------------------------------------------------------------------------------

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "3x3": lambda: nn.Conv2d(6, 12, 3, padding=1),
    "3x3, stride 2, no bias": lambda: nn.Conv2d(6, 12, 3, stride=2, bias=False),
    "1x1": lambda: nn.Conv2d(12, 12, 1),
    "rectangular, dilated, reflecting": lambda: nn.Conv2d(6, 12, (3, 1), padding=(2, 0), dilation=(2, 1), padding_mode="reflect"),
    "groups": lambda: nn.Conv2d(12, 16, 3, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(6, 12, 4, stride=2, padding=1),
    "up": lambda: ResampledConv2d(6, 12, 3, padding=1, resample="up"),
    "down": lambda: ResampledConv2d(6, 12, 3, padding=1, resample="down"),
    "transposed kernel": lambda: ResampledConv2d(6, 12, 4, padding=1, resample="transposed"),
    "1x1 up": lambda: ResampledConv2d(12, 12, 1, resample="up"),
    "1x1 up, groups": lambda: ResampledConv2d(12, 16, 1, groups=2, resample="up"),
    "1x1 down": lambda: ResampledConv2d(12, 12, 1, resample="down"),
    "spectral": lambda: spectral_norm(nn.Conv2d(6, 12, 3, padding=1)),
    "spectral 1x1 up": lambda: spectral_norm(ResampledConv2d(12, 12, 1, resample="up")),
    "spectral transposed kernel": lambda: spectral_norm(ResampledConv2d(6, 12, 4, padding=1, resample="transposed")),
}


def gconv(**options: Any) -> Callable[[], nn.Module]:
    return lambda: GConv2d(6, 12, 3, **{"latent_dim": 5, "padding": 1, "gate_init_std": 1.0, **options})


DYNAMIC: dict[str, Callable[[], nn.Module]] = {
    "dictionary": gconv(),
    "dictionary, up, dynamic bias": gconv(resample="up", bias="dynamic", num_kernels=10),
    "dictionary, grouped": gconv(groups=2),
    "dictionary, 1x1 up": lambda: GConv2d(12, 12, 1, latent_dim=5, resample="up", gate_init_std=1.0),
    "dictionary, spectral": lambda: apply_spectral_norm(gconv()()),
    "bank": gconv(mode="bank", num_kernels=3),
    "bank, gates per input": gconv(mode="bank", granularity="channel", resample="down"),
    "bank, gates per tap": gconv(mode="bank", granularity="tap", bias="none"),
    "bank, 1x1 up": lambda: GConv2d(12, 12, 1, latent_dim=5, mode="bank", resample="up", gate_init_std=1.0),
    "bank, spectral": lambda: apply_spectral_norm(gconv(mode="bank")()),
}
EVERY = {**LAYERS, **DYNAMIC}
RANK = 3


class OneLayer(nn.Module):
    layer: Any

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer


def low_rank(make: Callable[[], nn.Module], dtype: torch.dtype) -> OneLayer:
    """Return a network of the layer, projected, and with power iterations that have not converged."""
    torch.manual_seed(0)
    network = OneLayer(make()).to(dtype)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    layer = network.layer
    project(described(layer), Spectrum.of(described(layer), described(layer).row_factors(None)), RANK)
    return network.eval()


@pytest.mark.parametrize("name", EVERY)
@precisions
def test_the_two_layers_compute_what_the_projected_one_does(name: str, dtype: torch.dtype) -> None:
    network = low_rank(EVERY[name], dtype)
    channels = network.layer.in_channels
    x = torch.randn(4, channels, 8, 8, generator=torch.Generator().manual_seed(4)).to(dtype)
    z = Condition(torch.randn(4, 5, generator=torch.Generator().manual_seed(5)).to(dtype))
    expected = apply(network.layer, x, z)
    parameters = sum(p.numel() for p in network.parameters())
    twin = copy.deepcopy(network)
    factorise(twin, "layer", RANK)
    found = apply(twin.layer, x, z)
    scale = float(expected.detach().abs().max())
    assert (found - expected).abs().max() <= {torch.float32: 1e-4, torch.float64: 1e-9}[dtype] * scale
    assert sum(p.numel() for p in twin.parameters()) < parameters
    assert not twin.training
    assert not any(module.training for module in twin.modules())
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in twin.layer.first.parameters(recurse=False))

    again = copy.deepcopy(network)
    thin(again, "layer", RANK)
    again.load_state_dict(twin.state_dict())
    assert torch.equal(apply(again.layer, x, z), found)


@pytest.mark.parametrize("name", [name for name in EVERY if "spectral" in name])
def test_factors_of_a_spectrally_normalised_layer_are_normalised_and_their_norms_are_exact(name: str) -> None:
    network = low_rank(EVERY[name], torch.float64)
    iterations = PowerIterations(network)
    for _ in range(300):
        iterations.advance()
    x = torch.randn(4, network.layer.in_channels, 8, 8).double()
    z = Condition(torch.randn(4, 5).double())
    factorise(network, "layer", RANK)
    expected = apply(network.layer, x, z)
    PowerIterations(network).advance()  # nothing moves: the vectors are the singular ones
    torch.testing.assert_close(apply(network.layer, x, z), expected, rtol=0, atol=1e-9 * float(expected.detach().abs().max()))
    weights = [module for module in network.modules() if hasattr(module, "parametrizations")]
    assert len(weights) == 2


def kernels_of(layer: GConv2d, count: int) -> Tensor:
    """Return W(z) [count, O, I k²] of random latent vectors, from the responses to unit images."""
    side = layer.kernel_size[0]
    units = torch.eye(layer.in_channels * side * side, dtype=torch.float64)
    x = units.view(-1, layer.in_channels, side, side)
    found = []
    for index in range(count):
        z = torch.randn(1, 5, generator=torch.Generator().manual_seed(index)).double()
        y = layer(x, Condition(z.expand(len(x), -1)))
        if layer.bias is not None:
            y = y - layer(torch.zeros_like(x), Condition(z.expand(len(x), -1)))
        found.append(y[:, :, side // 2, side // 2].T)
    return torch.stack(found)


@pytest.mark.parametrize("name", ["dictionary", "bank", "bank, gates per tap"])
def test_the_kernel_of_every_latent_vector_has_the_rank(name: str) -> None:
    torch.manual_seed(0)
    layer = EVERY[name]().double()
    assert isinstance(layer, GConv2d)
    before = torch.linalg.svdvals(kernels_of(layer, 16))
    assert (before[:, RANK] / before[:, 0] > 0.1).all()
    project(described(layer), Spectrum.of(described(layer)), RANK)
    after = torch.linalg.svdvals(kernels_of(layer, 16))
    assert (after[:, RANK - 1] / after[:, 0] > 1e-3).all()
    assert (after[:, RANK] / after[:, 0] < 1e-12).all()


def test_kernels_of_a_bank_projected_alone_have_no_common_rank() -> None:
    torch.manual_seed(0)
    layer = gconv(mode="bank", num_kernels=3)().double()
    assert isinstance(layer, GConv2d)
    for kernel in layer.bank.detach():
        u, s, vh = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
        kernel.copy_(((u[:, :RANK] * s[:RANK]) @ vh[:RANK]).view_as(kernel))
    after = torch.linalg.svdvals(kernels_of(layer, 4))
    assert (after[:, RANK] / after[:, 0] > 1e-3).all()


def test_the_filters_of_a_dictionary_have_the_factors_of_what_combines_them() -> None:
    layer = gconv()().double()
    assert isinstance(layer, GConv2d)
    nn.init.normal_(layer.mix)
    a = factors()
    found = described(layer).row_factors(a)
    assert found is not None
    torch.testing.assert_close(found, (a[:, None] * layer.mix.detach()).square().sum(0).sqrt())
    with torch.no_grad():
        layer.mix.copy_(torch.eye(12))
    found = described(layer).row_factors(a)
    assert found is not None
    torch.testing.assert_close(found, a.abs())


def test_the_layers_of_a_dead_layer_are_zero_and_finite() -> None:
    network = OneLayer(conv())
    nn.init.zeros_(stored(network.layer, "weight"))
    factorise(network, "layer", 1)
    assert torch.equal(network.layer(torch.randn(1, 5, 4, 4)), network.layer.second.bias.view(1, -1, 1, 1).expand(1, 12, 4, 4))
    assert all(p.isfinite().all() for p in network.parameters())


def test_a_rank_saves_multiplications_below_the_ratio_of_the_text() -> None:
    layer = nn.Conv2d(16, 16, 3)
    break_even = 16 * 144 / (144 + 16)
    assert described(layer).saves(math.ceil(break_even) - 1)
    assert not described(layer).saves(math.ceil(break_even))
    assert not described(nn.Conv2d(8, 8, 3, groups=8)).saves(1)  # a depthwise convolution has rank 1


class Doubled(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(2 * x)
        return result


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: ConvNorm2d(4, 4, 3, padding=1), "ConvNorm2d is another function of its filters"),
        (lambda: InvariantConv2d(4, 4, 3, padding=1), "InvariantConv2d is another function of its filters"),
        (lambda: Doubled(4, 4, 3), "Doubled is another function of its filters"),
        (lambda: CondConv2d(4, 4, 3), "CondConv2d does not describe its filters"),
        (lambda: nn.Conv3d(4, 4, 3), "Conv3d does not describe its filters"),
        (lambda: nn.ConvTranspose2d(4, 4, 2, groups=2), "a grouped transposed convolution"),
        (lambda: spectral_norm(nn.Conv2d(4, 4, 3, groups=2)), "has groups, and its spectral norm is that of all of them"),
        (lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)), r"is a function of others \(_WeightNorm\)"),
        (lambda: GConv2d(4, 4, 3, latent_dim=2, mode="bank", granularity="filter"), "a GConv2d bank with gates per filter"),
        (lambda: GConv2d(4, 4, 3, latent_dim=2, mode="bank", bias="dynamic"), "a GConv2d bank with a dynamic bias"),
        (lambda: GConv2d(4, 4, 3, latent_dim=2, mode="bank", groups=2), "a GConv2d bank with groups"),
    ],
)
def test_what_is_no_matrix_of_filters_is_refused_by_name(layer: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(UnfactorableError, match=reason):
        filters(layer())
    ((name, found),) = all_filters(nn.ModuleDict({"x": layer()}))
    assert name == "x"
    assert isinstance(found, UnfactorableError)
