"""Inputs with the statistics that tests of whitening need."""

import torch
from torch import Tensor


def correlated(*shape: int, condition: float = 100.0, mean: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return maps whose channels are mixed: standard deviations from 1 down to condition^(-1/2), and a mean."""
    channels = shape[1]
    mixing, _ = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64))
    mixing = mixing * torch.logspace(0, -0.5 * torch.tensor(condition).log10().item(), channels, dtype=torch.float64)
    return (torch.einsum("cd,ndhw->nchw", mixing, torch.randn(*shape, dtype=torch.float64)) + mean).to(dtype)


def sample_white(*shape: int) -> Tensor:
    """Return maps whose sample mean is exactly 0 and sample covariance exactly I."""
    batch, channels, height, width = shape
    rows = torch.randn(batch * height * width, channels, dtype=torch.float64)
    orthonormal, _ = torch.linalg.qr(rows - rows.mean(0))
    white = orthonormal * len(rows) ** 0.5
    return white.view(batch, height, width, channels).permute(0, 3, 1, 2)


def covariance(x: Tensor) -> Tensor:
    """Return the biased covariance [C, C] of the channels over batch and positions."""
    rows = x.transpose(0, 1).flatten(1)
    return torch.cov(rows, correction=0)
