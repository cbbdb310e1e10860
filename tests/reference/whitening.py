"""Whitening by its definitions: loops over groups, the uncoupled recursion, explicit patches; slow references in float64."""

import torch
import torch.nn.functional as F
from torch import Tensor


def uncoupled_newton(sigma: Tensor, iterations: int, size: Tensor) -> Tensor:
    """P <- (3 P - P^3 Sigma_N) / 2 from P = I, over the root of ``size``, the trace or norm that scales Sigma."""
    normalised, p = sigma / size, torch.eye(len(sigma), dtype=sigma.dtype)
    for _ in range(iterations):
        p = 0.5 * (3 * p - torch.linalg.matrix_power(p, 3) @ normalised)
    return p / size.sqrt()


def remaining_variance(v: Tensor, iterations: int) -> Tensor:
    """Return what a direction of scaled variance ``v`` ends with: v <- v (1.5 - 0.5 v)^2."""
    for _ in range(iterations):
        v = v * (1.5 - 0.5 * v) ** 2
    return v


def iter_norm(x: Tensor, size: int, iterations: int, eps: float) -> Tensor:
    """Whiten each group of ``size`` channels of [N, C, H, W] with its batch statistics, group by group."""
    groups = []
    for maps in x.split(size, dim=1):
        rows = maps.transpose(0, 1).flatten(1)
        centred = rows - rows.mean(1, keepdim=True)
        sigma = centred @ centred.T / rows.shape[1] + eps * torch.eye(size, dtype=x.dtype)
        white = uncoupled_newton(sigma, iterations, sigma.trace()) @ centred
        groups.append(white.view(size, x.shape[0], *x.shape[2:]).transpose(0, 1))
    return torch.cat(groups, 1)


def patch_rows(x: Tensor, kernel: int, stride: int, padding: int, block: int) -> Tensor:
    """Return the patches [N L, (k k C)] cut into rows [J, N L, k k block]: index q of a patch lies in row q mod J, J = C / block."""
    patches = F.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2).flatten(0, 1)
    count = x.shape[1] // block
    return torch.stack([patches[:, j::count] for j in range(count)])


def invariant_conv(x: Tensor, weight: Tensor, bias: Tensor, *, stride: int, padding: int, block: int, **statistics: float) -> Tensor:
    """b + sum over blocks of (patch - mean) D w, with mean and D of the rows at every ``sampling``-th position."""
    out, channels, kernel, _ = weight.shape
    sampling, iterations, eps = int(statistics["sampling"]), int(statistics["iterations"]), statistics["eps"]
    rows = patch_rows(x, kernel, stride * sampling, padding, block).flatten(0, 1)
    mean = rows.mean(0)
    covariance = rows.T @ rows / len(rows) - torch.outer(mean, mean) + eps * torch.eye(len(mean), dtype=x.dtype)
    d = uncoupled_newton(covariance, iterations, torch.linalg.matrix_norm(covariance))
    result = bias.expand(1, out)
    for j, part in enumerate(patch_rows(x, kernel, stride, padding, block)):
        result = result + (part - mean) @ d @ weight.flatten(1)[:, j :: channels // block].T
    height, width = ((n + 2 * padding - kernel) // stride + 1 for n in x.shape[2:])
    return result.view(x.shape[0], height, width, out).permute(0, 3, 1, 2)
