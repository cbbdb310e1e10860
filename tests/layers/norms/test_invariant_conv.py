"""InvariantConv2d: folding against explicit patches, its two invariances, blocks, statistics, freezing."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gconv_gan.layers.norms.invariant_conv import InvariantConv2d, block_of, locally_normalised
from gconv_gan.layers.norms.whitening import Whitening
from tests.layers.made import correlated, sample_white
from tests.reference.whitening import invariant_conv, remaining_variance


def make(*shape: int, **options: object) -> InvariantConv2d:
    torch.manual_seed(0)
    return InvariantConv2d(*shape, **options).double()


def reference(layer: InvariantConv2d, x: Tensor, **geometry: int) -> Tensor:
    bias = torch.zeros(layer.out_channels).double() if layer.bias is None else layer.bias
    statistics = {"sampling": layer.sampling_stride, "iterations": layer.whitening.iterations, "eps": layer.eps}
    return invariant_conv(x, layer.weight, bias, block=layer.block, **geometry, **statistics)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "block", "sampling"),
    [(3, 1, 1, 2, 1), (3, 2, 0, 3, 2), (1, 1, 0, 2, 1), (2, 1, 1, 6, 3), (3, 1, 1, 6, 1)],
)
def test_folding_equals_whitening_every_patch(kernel: int, stride: int, padding: int, block: int, sampling: int, bias: bool) -> None:
    layer = make(
        6, 4, kernel, stride=stride, padding=padding, bias=bias, local_norm="none", block_size=block, sampling_stride=sampling, iterations=3
    )
    x = correlated(8, 6, 7, 6).requires_grad_()
    ours, theirs = layer(x), reference(layer, x, stride=stride, padding=padding)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(ours)
    gradients = [torch.autograd.grad(y, (x, layer.weight), direction) for y in (ours, theirs)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_groups_are_layers_of_their_own() -> None:
    layer, x = make(8, 12, 3, padding=1, groups=4, local_norm="none"), correlated(6, 8, 5, 5)
    parts = []
    for index, part in enumerate(x.chunk(4, 1)):
        alone = make(2, 3, 3, padding=1, local_norm="none")
        with torch.no_grad():
            alone.weight.copy_(layer.weight.chunk(4)[index])
            alone.bias.copy_(layer.bias.chunk(4)[index])
        parts.append(alone(part))
    torch.testing.assert_close(layer(x), torch.cat(parts, 1), rtol=1e-10, atol=1e-10)


def whitening_of(x: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Return D and Cov of the channels of x, without eps, as the layer takes them."""
    statistics = Whitening(x.shape[1], 1, iterations=iterations, eps=0.0, scale="frobenius").double()
    return statistics(x)[1][0], statistics.batch_statistics(x)[1][0]


def test_each_direction_keeps_the_variance_of_the_recursion() -> None:
    d, covariance = whitening_of(correlated(4, 8, 6, 6), 5)
    expected = remaining_variance(torch.linalg.eigvalsh(covariance) / torch.linalg.matrix_norm(covariance), 5)
    torch.testing.assert_close(torch.linalg.eigvalsh(d @ covariance @ d), expected.sort().values, rtol=0, atol=1e-10)
    d, covariance = whitening_of(correlated(4, 8, 6, 6), 40)
    assert (d @ covariance @ d - torch.eye(8)).abs().max() <= 1e-10


@pytest.mark.parametrize(("size", "variance"), [(16, 1.0), (32, 0.9999), (64, 0.9985), (144, 0.9882), (288, 0.9588)])
def test_white_patches_are_shrunk_less_than_by_the_trace(size: int, variance: float) -> None:
    torch.manual_seed(0)
    d, covariance = whitening_of(sample_white(8, size, 8, 8), 5)
    assert (d @ covariance @ d).diagonal().mean().item() == pytest.approx(variance, abs=1e-4)


@pytest.mark.parametrize(("whiten", "eps", "tolerance"), [(True, 0.0, 1e-9), (False, 0.0, 1e-9), (False, 1e-5, 1e-4)])
def test_the_layer_ignores_scale_and_shift_of_each_image(whiten: bool, eps: float, tolerance: float) -> None:
    layer, x = make(4, 5, 3, padding=1, whiten=whiten, eps=eps), correlated(4, 4, 6, 6)
    scale, shift = torch.tensor([0.5, 1.0, 7.0, 30.0]).double(), torch.tensor([-2.0, 0.0, 5.0, 100.0]).double()
    moved = x * scale[:, None, None, None] + shift[:, None, None, None]
    torch.testing.assert_close(layer(moved), layer(x), rtol=0, atol=tolerance)


def test_local_norms_are_their_definitions() -> None:
    x = correlated(3, 4, 5, 6)
    values = x[0].numel()
    expected = F.layer_norm(x, x.shape[1:], eps=0.0) * ((values - 1) / values) ** 0.5
    torch.testing.assert_close(locally_normalised(x, "layer", 1e-5), expected, rtol=1e-4, atol=1e-4)
    deviation, mean = torch.std_mean(x, (1, 2, 3), keepdim=True)
    for eps in (0.0, 0.3):
        exact = (x - mean) / (deviation.square() + eps**2).sqrt()
        torch.testing.assert_close(locally_normalised(x, "layer", eps), exact, rtol=1e-10, atol=1e-10)
    l1 = locally_normalised(x, "l1", 1e-5)
    torch.testing.assert_close(l1.abs().mean((1, 2, 3)), torch.ones(3).double(), rtol=0, atol=1e-4)
    torch.testing.assert_close(l1 / x, (l1 / x)[:, :1, :1, :1].expand_as(x))
    assert locally_normalised(x, "none", 1e-5) is x
    with pytest.raises(ValueError, match="single value"):
        locally_normalised(torch.ones(2, 1, 1, 1), "layer", 1e-5)


def test_mixing_the_channels_rotates_the_whitened_input() -> None:
    """GL(n): whitening X B is whitening X times an orthogonal matrix, so gradient descent sees the same problem."""
    x, mixing = correlated(6, 5, 6, 6), torch.randn(5, 5, dtype=torch.float64) + 3 * torch.eye(5)
    white = []
    for maps in (x, torch.einsum("nchw,cd->ndhw", x, mixing)):
        layer = make(5, 5, 1, bias=False, local_norm="none", sampling_stride=1, iterations=60, eps=0.0)
        with torch.no_grad():
            layer.weight.copy_(torch.eye(5)[..., None, None])
        white.append(layer(maps).transpose(0, 1).flatten(1).T)
    rotation = torch.linalg.lstsq(white[0], white[1]).solution
    torch.testing.assert_close(white[0] @ rotation, white[1], rtol=0, atol=1e-6)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(5).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "asked", "groups", "block", "matrices"), [(96, 64, 1, 32, 1), (16, 64, 1, 16, 1), (32, 64, 4, 8, 4), (128, 64, 1, 64, 1)]
)
def test_the_block_rule(channels: int, asked: int, groups: int, block: int, matrices: int) -> None:
    assert block_of(channels, asked, groups) == block
    layer = InvariantConv2d(channels, 4, 3, groups=groups, block_size=asked)
    assert layer.whitening.running_matrix.shape == (matrices, 9 * block, 9 * block)


@pytest.mark.parametrize("running", ["matrix", "covariance"])
def test_with_momentum_one_evaluation_repeats_training(running: str) -> None:
    layer, x = make(6, 4, 3, padding=1, block_size=3, momentum=1.0, running=running), correlated(5, 6, 6, 6)
    y = layer(x)
    torch.testing.assert_close(layer.eval()(x), y, rtol=0, atol=1e-6)


def test_frozen_statistics_change_in_100_of_1000_passes_and_the_counter_is_saved() -> None:
    torch.manual_seed(0)
    layer = Whitening(2, 1, freeze=True)
    x = torch.randn(2, 2, 2, 1)

    def changes(layer: Whitening) -> bool:
        before = layer.running_matrix.clone()
        layer(x + layer.num_batches_tracked)
        return not torch.equal(layer.running_mean, before_mean) or not torch.equal(layer.running_matrix, before)

    updates = []
    for index in range(1050):
        before_mean = layer.running_mean.clone()
        if changes(layer):
            updates.append(index)
        if index == 1010:
            restored = Whitening(2, 1, freeze=True)
            restored(x)  # a counter of its own, which loading must replace
            restored.load_state_dict(layer.state_dict())
            layer = restored
    assert updates == [*range(100), *range(1000, 1050)]
    assert int(layer.num_batches_tracked) == 1050


def test_between_updates_training_uses_the_running_statistics() -> None:
    layer, x = make(4, 3, 3, freeze=True), correlated(4, 4, 6, 6)
    layer.whitening.num_batches_tracked.fill_(100)
    trained = layer(x)
    assert torch.equal(trained, layer.eval()(x))


def test_without_both_normalisations_it_is_a_convolution() -> None:
    layer, plain = make(4, 5, 3, padding=1, local_norm="none", whiten=False), nn.Conv2d(4, 5, 3, padding=1).double()
    plain.load_state_dict(layer.state_dict())
    x = correlated(2, 4, 6, 6)
    assert torch.equal(layer(x), plain(x))


@pytest.mark.parametrize("resample", ["up", "down"])
def test_resampling_is_that_of_the_plain_operations(resample: str) -> None:
    layer, plain = (make(4, 5, 3, padding=1, local_norm="none", resample=r) for r in (resample, "none"))
    x = correlated(3, 4, 6, 6)
    expected = plain(F.interpolate(x, scale_factor=2.0)) if resample == "up" else F.avg_pool2d(plain(x), 2)
    torch.testing.assert_close(layer(x), expected, rtol=1e-10, atol=1e-10)


def test_unsupported_options_are_refused() -> None:
    with pytest.raises(ValueError, match="mostly inserted zeros"):
        InvariantConv2d(2, 2, 4, padding=1, resample="transposed")
    with pytest.raises(ValueError, match="must be positive"):
        InvariantConv2d(2, 2, 3, block_size=0)
    with pytest.raises(ValueError, match="single value per channel"):
        InvariantConv2d(2, 2, 3)(torch.randn(1, 2, 3, 3))
