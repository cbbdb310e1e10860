"""Streaming moments equal those of two passes, for any batches, order and number of processes."""

import pytest
import torch
from torch import Tensor

from gconv_gan.metrics.statistics import Moments, StreamingMoments


def features(n: int = 300, d: int = 12) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=draw, dtype=torch.float64) * 0.5 + torch.linspace(0, 30, d, dtype=torch.float64)


def streamed(x: Tensor, sizes: list[int], shift: Tensor | None = None) -> Moments:
    stream = StreamingMoments(x.shape[1], shift=shift)
    for part in torch.split(x, sizes):
        stream.update(part)
    return stream.result()


def same(a: Moments, b: Moments, rtol: float) -> None:
    assert a.count == b.count
    torch.testing.assert_close(a.mean, b.mean, rtol=rtol, atol=0)
    torch.testing.assert_close(a.covariance, b.covariance, rtol=rtol, atol=rtol * float(b.covariance.diagonal().amax()))


def test_equals_two_passes() -> None:
    x = features()
    expected = Moments(300, x.mean(0), torch.cov(x.T))
    same(streamed(x, [300], x[:50].mean(0)), expected, 1e-10)
    same(streamed(x, [300]), expected, 1e-10)


def test_does_not_depend_on_batches_or_order() -> None:
    x, shift = features(), features()[:10].mean(0)
    whole = streamed(x, [300], shift)
    same(streamed(x, [1, 7, 64, 228], shift), whole, 1e-12)
    same(streamed(x[torch.randperm(300, generator=torch.Generator().manual_seed(1))], [100, 200], shift), whole, 1e-12)


def test_a_shift_keeps_the_digits_of_a_small_covariance_far_from_the_origin() -> None:
    x = features() * 1e-3 + 1e4
    error = [(streamed(x, [300], shift).covariance - torch.cov(x.T)).abs().max().item() for shift in (x[:1].mean(0), None)]
    assert error[0] < 1e-16
    assert error[1] > 1e3 * error[0]


def test_too_few_samples_and_wrong_widths_are_refused() -> None:
    stream = StreamingMoments(12)
    stream.update(features(1))
    with pytest.raises(ValueError, match="at least two"):
        stream.result()
    with pytest.raises(ValueError, match="5 columns"):
        stream.update(torch.zeros(3, 5))
    with pytest.raises(ValueError, match="the shift has shape"):
        StreamingMoments(12, shift=torch.zeros(3))
