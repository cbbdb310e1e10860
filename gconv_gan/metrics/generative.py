"""Inception Score and Kernel Inception Distance, from logits and features.

Papers: Salimans, Goodfellow, Zaremba, Cheung, Radford, Chen, "Improved Techniques for Training GANs", arXiv 1606.03498 (2016);
Bińkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", arXiv 1801.01401 (2018).

Both are computed in float64. Permutations and subsets come from NumPy's frozen ``RandomState``, drawn in torch-fidelity's
order, so that equal features give scores equal to torch-fidelity's.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

TILE = 2048  # rows of kernel values in memory at once


class Spread(NamedTuple):
    """A mean over chunks or subsets, and the population standard deviation over them."""

    mean: float
    std: float


def _spread(values: list[Tensor]) -> Spread:
    """Return mean and standard deviation; 0 for a deviation within the round-off of equal values."""
    stacked = torch.stack(values)
    spread = stacked.std(correction=0)
    round_off = 16 * torch.finfo(torch.float64).eps * stacked.abs().amax()
    return Spread(float(stacked.mean().item()), float(spread.item()) if spread > round_off else 0.0)


def _check_finite(rows: Float[Tensor, "n d"], what: str) -> None:
    finite = torch.isfinite(rows).all(1)
    if not finite.all():
        raise ValueError(f"{what} are not finite, first those of image {int((~finite).nonzero()[0].item())}")


def inception_score(logits: Float[Tensor, "n c"], *, splits: int = 10, permutation_seed: int | None = None) -> Spread:
    r"""Return the mean and spread over chunks of :math:`\exp \mathrm{E}_x \mathrm{KL}(p(c|x) \,|\, \bar p(c))`.

    The rows are cut into ``splits`` chunks [i·n//splits, (i+1)·n//splits), each with its own mean prediction. The score lies
    between 1 (all predictions alike) and c (certain and balanced); fewer images in a chunk lower it.

    Args:
        logits: [n, c], in the order of the images.
        splits: number of chunks.
        permutation_seed: shuffle the rows first, by ``RandomState(seed).permutation``; None: keep their order.

    Raises:
        ValueError: for fewer rows than chunks, or logits that are not finite.

    """
    count = len(logits)
    if not 1 <= splits <= count:
        raise ValueError(f"{count} images cannot be cut into {splits} chunks")
    _check_finite(logits, "logits")
    log_p = logits.double().log_softmax(1)
    if permutation_seed is not None:
        order = np.random.RandomState(permutation_seed).permutation(count)  # noqa: NPY002  (torch-fidelity's stream)
        log_p = log_p[torch.from_numpy(order).to(log_p.device)]
    scores = []
    for i in range(splits):
        chunk = log_p[i * count // splits : (i + 1) * count // splits]
        log_mean = chunk.logsumexp(0) - np.log(len(chunk))
        divergence = (chunk.exp() * (chunk - log_mean)).sum(1)
        scores.append(divergence.mean().exp())
    return _spread(scores)


def _kernel(x: Float[Tensor, "m d"], y: Float[Tensor, "n d"]) -> Float[Tensor, "m n"]:
    """Return k(x, y) = (x·y/d + 1)³ for all pairs of rows."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(x: Float[Tensor, "m d"], tile: int) -> Float[Tensor, ""]:
    """Return the mean of k(x_i, x_j) over i ≠ j, by tiles of rows."""
    count = len(x)
    total = torch.stack([_kernel(rows, x).sum() for rows in torch.split(x, tile)]).sum()
    diagonal = ((x.square().sum(1) / x.shape[1] + 1) ** 3).sum()
    return (total - diagonal) / (count * (count - 1))


def mmd2_unbiased(fake: Float[Tensor, "m d"], real: Float[Tensor, "n d"], *, tile: int = TILE) -> float:
    r"""Return the unbiased squared MMD of the cubic kernel over *all* pairs, in O(tile·n) memory.

    .. math:: \frac{\sum_{i\ne j}k(x_i,x_j)}{m(m-1)} + \frac{\sum_{i\ne j}k(y_i,y_j)}{n(n-1)} - \frac{2\sum_{ij}k(x_i,y_j)}{mn}

    It may be negative; below its rounding error it is 0. ``kid`` averages this over subsets.

    Raises:
        ValueError: for sets of fewer than two rows.

    """
    if min(len(fake), len(real)) < 2:
        raise ValueError(f"need two sets of at least two rows, got {len(fake)} and {len(real)}")
    return float(_mmd2(fake, real, tile).item())


def _mmd2(fake: Float[Tensor, "m d"], real: Float[Tensor, "n d"], tile: int) -> Float64[Tensor, ""]:
    x, y = fake.double(), real.double()
    cross = torch.stack([_kernel(rows, y).sum() for rows in torch.split(x, tile)]).sum() / (len(x) * len(y))
    within_x, within_y = _mean_off_diagonal(x, tile), _mean_off_diagonal(y, tile)
    value = within_x + within_y - 2 * cross
    round_off = x.shape[1] * torch.finfo(torch.float64).eps * (within_x.abs() + within_y.abs() + 2 * cross.abs())
    return torch.where(value.abs() > round_off, value, 0.0)


def _by_index(features: Float[Tensor, "n d"], index: Int[Tensor, " n"] | None) -> Float[Tensor, "n d"]:
    return features if index is None else features[index.argsort()]


def kid(
    fake: Float[Tensor, "m d"],
    real: Float[Tensor, "n d"],
    *,
    subsets: int = 100,
    subset_size: int = 1000,
    seed: int = 2020,
    fake_index: Int[Tensor, " m"] | None = None,
    real_index: Int[Tensor, " n"] | None = None,
) -> Spread:
    """Return mean and spread of ``mmd2_unbiased`` over ``subsets`` pairs of random subsets, each without replacement.

    Subsets are drawn by image number. If the rows are not in the order of the images, ``fake_index`` and ``real_index`` give the
    image number of each row, so that the score does not depend on the order of the rows.

    Args:
        fake: features [m, d].
        real: features [n, d].
        subsets: number of subsets.
        subset_size: images in each.
        seed: seed of the ``RandomState`` that draws the subsets, first of the fakes and then of the reals.
        fake_index: image number of each row of ``fake``; None: the row number.
        real_index: image number of each row of ``real``; None: the row number.

    Raises:
        ValueError: a subset is larger than a set, or features are not finite.

    """
    if not 2 <= subset_size <= min(len(fake), len(real)):
        raise ValueError(f"subsets of {subset_size} images cannot be drawn from {len(fake)} fakes and {len(real)} reals")
    _check_finite(fake, "features of fakes")
    _check_finite(real, "features of reals")
    x, y = _by_index(fake, fake_index), _by_index(real, real_index)
    draws = np.random.RandomState(seed)  # noqa: NPY002  (torch-fidelity's stream)
    chosen = np.stack([draws.choice(count, subset_size, replace=False) for _ in range(subsets) for count in (len(x), len(y))])
    on_device = torch.from_numpy(chosen).to(x.device)  # by one copy: the host does not wait between the subsets
    return _spread([_mmd2(x[one], y[other], TILE) for one, other in zip(on_device[::2], on_device[1::2], strict=True)])
