"""IterNorm: the reference, the exact partial whitening of the paper, groups, running statistics, precision."""

import pytest
import torch
from torch import Tensor, nn

from gconv_gan.layers.norms.iter_norm import IterNorm, whitening_group_size
from tests.layers.made import correlated, covariance, sample_white
from tests.reference.whitening import iter_norm, remaining_variance


def make(channels: int, **options: object) -> IterNorm:
    torch.manual_seed(0)
    return IterNorm(channels, **options).double()


@pytest.mark.parametrize(("channels", "size", "iterations"), [(6, 6, 5), (6, 3, 5), (8, 2, 3), (6, 1, 4)])
def test_equals_the_reference_with_its_gradient(channels: int, size: int, iterations: int) -> None:
    """The reference is the uncoupled recursion, equal to the coupled one at few iterations."""
    layer = make(channels, group_size=size, iterations=iterations)
    x = correlated(3, channels, 5, 4).requires_grad_()
    ours, theirs = layer(x), iter_norm(x, size, iterations, 1e-5)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    direction = torch.randn_like(x)
    gradients = [torch.autograd.grad(y, x, direction)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("iterations", [3, 5, 8])
def test_each_direction_keeps_the_variance_of_the_recursion(iterations: int) -> None:
    layer, x = make(8, iterations=iterations), correlated(4, 8, 6, 6)
    _, whitening = layer.statistics(x)
    sigma = covariance(x) + 1e-5 * torch.eye(8)
    expected = remaining_variance(torch.linalg.eigvalsh(sigma) / sigma.trace(), iterations)
    found = torch.linalg.eigvalsh(whitening[0] @ sigma @ whitening[0].T)
    torch.testing.assert_close(found, expected.sort().values, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("size", "iterations", "variance"),
    [
        (8, 5, 0.9985),
        (16, 3, 0.5130),
        (16, 5, 0.9657),
        (32, 5, 0.8235),
        (64, 5, 0.5864),
        (64, 7, 0.9832),
        (128, 8, 0.9893),
        (256, 5, 0.2007),
    ],
)
def test_white_input_is_shrunk_by_the_papers_table(size: int, iterations: int, variance: float) -> None:
    torch.manual_seed(0)
    y = make(size, group_size=size, iterations=iterations)(sample_white(6, size, 8, 8))
    torch.testing.assert_close(covariance(y).diagonal().mean().item(), variance, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_many_iterations_whiten(dtype: torch.dtype, tolerance: float) -> None:
    torch.manual_seed(0)
    x = correlated(8, 8, 6, 6, condition=1e2, dtype=dtype)
    layer = make(8, iterations=30, eps=0.0).to(dtype)
    _, whitening = layer.statistics(x)
    residual = whitening[0] @ covariance(x) @ whitening[0] - torch.eye(8)
    assert residual.abs().max() <= tolerance


@pytest.mark.parametrize("iterations", [1, 5])
def test_groups_of_one_channel_are_batch_norm(iterations: int) -> None:
    layer, norm = make(5, group_size=1, iterations=iterations), nn.BatchNorm2d(5).double()
    with torch.no_grad():
        for parameter, other in zip(layer.parameters(), norm.parameters(), strict=True):
            other.copy_(parameter.copy_(torch.randn(5)))
    x = correlated(3, 5, 4, 4)
    # one direction has v = 1, the fixed point, from the start
    torch.testing.assert_close(layer(x), norm(x), rtol=0, atol=1e-10)


def test_groups_do_not_see_each_other() -> None:
    layer, x = make(6, group_size=2), correlated(3, 6, 4, 4)
    y, changed = layer(x), x.clone()
    changed[:, 2:4] = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(layer(changed)[:, [0, 1, 4, 5]], y[:, [0, 1, 4, 5]], rtol=0, atol=1e-12)
    order = [4, 5, 0, 1, 2, 3]
    torch.testing.assert_close(layer(x[:, order]), y[:, order], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("channels", "asked", "size"), [(80, 64, 16), (3, 64, 3), (128, 64, 64), (96, 64, 32), (6, 4, 2), (7, 4, 1)])
def test_the_group_size_is_clamped_then_halved(channels: int, asked: int, size: int) -> None:
    assert whitening_group_size(channels, asked) == size
    assert IterNorm(channels, group_size=asked).statistics.running_matrix.shape == (channels // size, size, size)


@pytest.mark.parametrize("running", ["matrix", "covariance"])
def test_with_momentum_one_evaluation_repeats_training(running: str) -> None:
    layer, x = make(6, group_size=3, momentum=1.0, running=running), correlated(3, 6, 4, 4)
    y = layer(x)
    torch.testing.assert_close(layer.eval()(x), y, rtol=0, atol=1e-6)


def test_running_averages_are_of_the_matrix_or_of_the_covariance() -> None:
    first, second = correlated(4, 4, 5, 5), correlated(4, 4, 5, 5, mean=3.0)
    for running in ("matrix", "covariance"):
        layer = make(4, momentum=0.25, running=running)
        matrices = []
        for x in (first, second):
            layer(x)
            matrices.append(layer.statistics.batch_statistics(x)[1] if running == "covariance" else layer.statistics(x)[1])
        layer.statistics.reset_running_stats()
        for x in (first, second):
            layer(x)
        expected = 0.75**2 * torch.eye(4) + 0.75 * 0.25 * matrices[0] + 0.25 * matrices[1]
        torch.testing.assert_close(layer.statistics.running_matrix, expected, rtol=1e-12, atol=1e-12)
        mean = 0.75 * 0.25 * first.mean((0, 2, 3)) + 0.25 * second.mean((0, 2, 3))
        torch.testing.assert_close(layer.statistics.running_mean, mean, rtol=1e-12, atol=1e-12)
        assert int(layer.statistics.num_batches_tracked) == 2


def test_momentum_none_is_the_plain_average() -> None:
    layer = make(3, momentum=None)
    batches = [correlated(2, 3, 4, 4) for _ in range(3)]
    for x in batches:
        layer(x)
    expected = torch.stack([x.mean((0, 2, 3)) for x in batches]).mean(0)
    torch.testing.assert_close(layer.statistics.running_mean, expected, rtol=1e-12, atol=0)


def test_statistics_keep_float32_under_autocast_and_for_narrow_input() -> None:
    """A mean that is large against the deviation: bfloat16 statistics would be off by half of it."""
    torch.manual_seed(0)
    x = (correlated(8, 4, 6, 6, mean=0.0) + 20.0).bfloat16()
    layer = IterNorm(4)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    assert layer.statistics.running_matrix.dtype == torch.float32
    torch.testing.assert_close(y.double(), iter_norm(x.double(), 4, 5, 1e-5), rtol=0.01, atol=0.01)


def test_fewer_values_than_channels_stay_finite() -> None:
    x: Tensor = correlated(4, 16, 1, 1, dtype=torch.float32).requires_grad_()
    y = IterNorm(16)(x)
    y.square().sum().backward()
    assert y.isfinite().all()
    assert x.grad.isfinite().all()


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one Newton iteration"):
        IterNorm(4, iterations=0)
    with pytest.raises(ValueError, match="group_size must be positive"):
        IterNorm(4, group_size=0)
    with pytest.raises(ValueError, match="single value per channel"):
        IterNorm(4)(torch.zeros(1, 4, 1, 1))
