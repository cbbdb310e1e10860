r"""Statistics of memorisation: whether fakes lie nearer to the training images than to images that were held out.

Stein et al., arXiv 2306.04675 (2023), find that no published score separates memorisation from underfitting or lost modes. The test here
is built so that it depends on neither: training set T and held-out set H have N images each, of one law, and

.. math:: S = \frac1m\sum_x \Big[1(d_T(x) < d_H(x)) + \tfrac12\,1(d_T(x) = d_H(x))\Big]

is the share of the m fakes whose nearest image is a training image. A generator that knows nothing of *which* images it was trained on
has E S = ½, whatever its quality. Fakes share nearest images, so a binomial interval over fakes is too narrow. Given the 2N images and
the number of fakes :math:`c_r` whose nearest image is r, the split into T and H is a random choice of N among 2N, so

.. math:: \mathrm{Var}\,S = \frac{2N}{2N-1}\sum_r\frac{(c_r - m/2N)^2}{4m^2}

exactly, and random splits give the p-value without a new search (our construction: a permutation test in the manner of the
nearest-neighbour two-sample tests of Schilling, JASA 1986). If images are balanced class by class, so are the splits.

Authenticity: Alaa, van Breugel, Saveliev, van der Schaar, "How Faithful is your Synthetic Data?", arXiv 2102.08921 (2022). Its value
without copying depends on the width of the features, so it is given beside that of the held-out images. Calibrated distances: Carlini et
al., "Extracting Training Data from Diffusion Models", arXiv 2301.13188 (2023), section 4.2.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from gconv_gan.metrics.neighbours import NearestRows, nearest_rows
from gconv_gan.runtime.random import Stream

PERMUTATIONS = 10_000
PERMUTED_AT_ONCE = 2**22  # numbers shuffled in one call; bounds the memory
CALIBRATION_NEIGHBOURS = 50
NORMAL_95 = 1.96


@dataclass(frozen=True)
class CopyTest:
    """The share S of fakes nearest to a training image, and its distribution under the hypothesis of no memory."""

    share: float
    standard_error: float
    p_value: float
    """Probability of so large a share, or a larger one, without memory."""
    fakes: int
    images: int
    """N, the number of images on each side."""

    @property
    def interval(self) -> tuple[float, float]:
        """Return the interval S ± 1.96 standard errors."""
        return self.share - NORMAL_95 * self.standard_error, self.share + NORMAL_95 * self.standard_error

    @property
    def excess(self) -> float:
        """Return 2S - 1: about the share of the fakes that are copies of one of the N training images."""
        return 2 * self.share - 1

    @property
    def detectable(self) -> float:
        """Return the least share of copies, 2 · 1.96 standard errors, that the test tells from none."""
        return 2 * NORMAL_95 * self.standard_error


@dataclass(frozen=True)
class Balanced:
    """Equally many images of the training set and of the held-out set, of every class where both have classes."""

    train: Int[Tensor, " n"]
    """Row numbers."""
    held_out: Int[Tensor, " n"]
    strata: Int[Tensor, " n"]
    """Class of both; 0 without classes."""


def balanced(num_train: int, num_held_out: int, labels: tuple[Tensor, Tensor] | None, *, seed: int) -> Balanced:
    """Return a random choice of as many training images as held-out images, class by class if ``labels`` of both are given.

    Raises:
        ValueError: there are fewer than two images on a side.

    """
    first, second = labels or (torch.zeros(num_train, dtype=torch.long), torch.zeros(num_held_out, dtype=torch.long))
    orders = [Stream(seed, name).permutation(0, len(of)) for name, of in (("memorisation_train", first), ("memorisation_held_out", second))]
    chosen: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for one in torch.unique(first).tolist():
        rows = [order[of[order] == one] for order, of in zip(orders, (first, second), strict=True)]
        count = min(len(found) for found in rows)
        for kept, found in zip(chosen, rows, strict=False):
            kept.append(found[:count])
        chosen[2].append(torch.full((count,), one, dtype=torch.long))
    result = Balanced(*(torch.cat(parts) for parts in chosen))
    if len(result.train) < 2:
        raise ValueError("fewer than two images of each side can be compared")
    return result


def copy_test(
    fake: Float[Tensor, "m d"],
    train: Float[Tensor, "n d"],
    held_out: Float[Tensor, "k d"],
    *,
    strata: Int[Tensor, " n"] | None = None,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> CopyTest:
    """Return the share of fakes nearest to a training image, its standard error and its p-value.

    Args:
        fake: features of the fakes.
        train: features of training images.
        held_out: features of as many held-out images.
        strata: class of row i of both sets, within which training and held-out images could be exchanged; None: all could.
        permutations: number of random splits.
        seed: seed of the splits.

    Raises:
        ValueError: the sets have unequal numbers of images, or fewer than two.

    """
    if len(train) != len(held_out) or len(train) < 2:
        raise ValueError(f"equally many images are needed on both sides, at least two: got {len(train)} and {len(held_out)}")
    counts = nearest_counts(fake, train, held_out)
    groups = torch.zeros(len(train), dtype=torch.long) if strata is None else strata
    share = float(counts[: len(train)].sum().item()) / len(fake)
    variance, drawn = 0.0, np.zeros(permutations)
    draws = np.random.default_rng(seed)
    for one in torch.unique(groups).tolist():
        inside = torch.cat([groups, groups]) == one
        values = counts[inside].numpy()
        variance += len(values) / (len(values) - 1) * float(np.square(values - values.mean()).sum()) / 4
        drawn += _random_halves(values, permutations, draws)
    beyond = int((drawn >= share * len(fake) * (1 - 1e-12)).sum())
    return CopyTest(share, variance**0.5 / len(fake), (1 + beyond) / (1 + permutations), len(fake), len(train))


def nearest_counts(fake: Float[Tensor, "m d"], train: Float[Tensor, "n d"], held_out: Float[Tensor, "n d"]) -> Float64[Tensor, " 2*n"]:
    """Return how many fakes have each image as their nearest, training images first; two equally near images share a fake."""
    near, far = (nearest_rows(fake, rows, k=1) for rows in (train, held_out))
    of_train = (near.squared < far.squared).double() + 0.5 * (near.squared == far.squared).double()
    counts = torch.zeros(2 * len(train), dtype=torch.float64)
    counts.index_add_(0, near.index[:, 0].cpu(), of_train[:, 0].cpu())
    counts.index_add_(0, len(train) + far.index[:, 0].cpu(), 1 - of_train[:, 0].cpu())
    return counts


def _random_halves(values: Float64[np.ndarray, " k"], permutations: int, draws: np.random.Generator) -> Float64[np.ndarray, " p"]:
    """Return the sum of ``values`` over a random half of them, ``permutations`` times; only the values above 0 are shuffled."""
    positive = values[values > 0]
    chosen = draws.hypergeometric(len(positive), len(values) - len(positive), len(values) // 2, size=permutations)
    sums = np.zeros(permutations)
    at_once = max(1, PERMUTED_AT_ONCE // max(1, len(positive)))
    for start in range(0, permutations, at_once):
        rows = chosen[start : start + at_once]
        shuffled = draws.permuted(np.broadcast_to(positive, (len(rows), len(positive))), axis=1)
        ends = np.concatenate([np.zeros((len(rows), 1)), shuffled.cumsum(1)], 1)
        sums[start : start + at_once] = ends[np.arange(len(rows)), rows]
    return sums


def authenticity(nearest: NearestRows, train: Float[Tensor, "n d"]) -> float:
    r"""Return the share of points x with :math:`d(x, t^*) > d(t^*, t')`: t* the nearest training image, t' its nearest other one.

    1 means that no point is nearer to a training image than that image's own neighbour; copies are not authentic.

    Args:
        nearest: the nearest rows of ``train`` of each point.
        train: features of the training images, at least two.

    """
    rows, inverse = torch.unique(nearest.index[:, 0], return_inverse=True)
    own = nearest_rows(train[rows], train, k=1, own_rows=rows).squared[inverse, 0]
    return float((nearest.squared[:, 0] > own).double().mean().item())


def calibrated_distances(nearest: NearestRows) -> Float64[Tensor, " m"]:
    """Return the distance of each point from its nearest row, divided by half its mean distance from all rows of ``nearest``.

    With 50 rows this is the calibration of Carlini et al.: copies lie far below 1, and no value is above 2.
    """
    distances = nearest.squared.sqrt()
    scale = distances.mean(1) / 2
    return distances[:, 0] / scale.where(scale > 0, 1.0)
