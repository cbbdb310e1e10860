"""Precision, recall, density and coverage: which images lie inside the neighbourhood balls of the other set.

Papers: Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing Generative Models",
arXiv 1904.06991 (2019); Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models",
arXiv 2002.09797 (2020).

A ball's radius is itself the distance of a pair of images, so "inside" must be decided exactly, or ties would depend on how the
work was cut. Squared distances are first taken as |a|² + |b|² - 2ab (a matrix product); where that cannot decide, the pair is
computed again as Σ(a - b)², whose value depends on the two rows alone. Memory is O(tile²): no [n, n] matrix exists.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

Comparison = Literal["<", "<="]

# Candidates kept beyond the k+1 nearest: the fast distance may swap neighbours that differ by round-off.
SPARE_NEIGHBOURS = 4
# Elements of the differences formed at once when pairs are computed again (float64: 32 MiB).
DIFFERENCES = 2**22


@dataclass(frozen=True)
class Neighbourhoods:
    """The four scores of a set of fakes against a set of reals."""

    precision: float
    recall: float
    density: float
    coverage: float

    @property
    def f_score(self) -> float:
        """2PR / max(1e-5, P + R)."""
        return 2 * self.precision * self.recall / max(1e-5, self.precision + self.recall)


@dataclass(frozen=True)
class _Points:
    """The rows as given, from which ties are decided, and shifted towards the origin, where the fast form loses fewer digits."""

    given: Float64[Tensor, "n d"]
    centred: Float64[Tensor, "n d"]

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, rows: slice) -> "_Points":
        return _Points(self.given[rows], self.centred[rows])


def _squared_distances(a: _Points, b: _Points) -> Float64[Tensor, "m n"]:
    """Return |a|² + |b|² - 2ab for all pairs: fast, with an error of order d·ε·(|a|² + |b|²)."""
    x, y = a.centred, b.centred
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2)


def _exact(a: _Points, b: _Points, rows: Int[Tensor, " p"], cols: Int[Tensor, " p"]) -> Float64[Tensor, " p"]:
    """Return Σ(a_i - b_j)² for the listed pairs, in chunks of bounded memory."""
    x, y = a.given, b.given
    chunk = max(1, DIFFERENCES // x.shape[1])
    parts = [(x[i] - y[j]).square().sum(1) for i, j in zip(torch.split(rows, chunk), torch.split(cols, chunk), strict=True)]
    return torch.cat(parts) if parts else x.new_empty(0)


def _squared_radii(x: _Points, *, k: int, tile: int) -> Float64[Tensor, " n"]:
    """Return the squared distance of each row of ``x`` to its k-th nearest *other* row."""
    device, kept, radii = x.given.device, min(k + 1 + SPARE_NEIGHBOURS, len(x)), []
    for start in range(0, len(x), tile):
        rows = x[start : start + tile]
        nearest = torch.empty(len(rows), 0, dtype=torch.float64, device=device)
        index = torch.empty(len(rows), 0, dtype=torch.long, device=device)
        for offset in range(0, len(x), tile):
            distances = _squared_distances(rows, x[offset : offset + tile])
            columns = torch.arange(offset, offset + distances.shape[1], device=device).expand_as(distances)
            candidates, numbers = torch.cat([nearest, distances], 1), torch.cat([index, columns], 1)
            nearest, order = candidates.topk(min(kept, candidates.shape[1]), 1, largest=False)
            index = numbers.gather(1, order)
        own = torch.arange(len(rows), device=device).repeat_interleave(kept)
        exact = _exact(rows, x, own, index.flatten()).view(len(rows), kept)
        radii.append(exact.kthvalue(k + 1, dim=1).values)  # the row itself, at distance 0, is among them
    return torch.cat(radii)


def _inside(
    fake: _Points, real: _Points, distances: Float64[Tensor, "m n"], radii: Float64[Tensor, "m n"], comparison: Comparison
) -> Bool[Tensor, "m n"]:
    """Return whether each distance is within the radius, computing again the pairs that round-off could decide."""
    inside = distances < radii
    norms = fake.centred.square().sum(1)[:, None] + real.centred.square().sum(1)
    error = 4 * fake.given.shape[1] * torch.finfo(torch.float64).eps * norms
    rows, cols = ((distances - radii).abs() <= error).nonzero(as_tuple=True)
    exact, radius = _exact(fake, real, rows, cols), radii[rows, cols]
    inside[rows, cols] = exact < radius if comparison == "<" else exact <= radius
    return inside


def neighbourhoods(
    fake: Float[Tensor, "m d"], real: Float[Tensor, "n d"], *, k: int, comparison: Comparison, tile: int = 2048
) -> Neighbourhoods:
    r"""Return precision, recall, density and coverage.

    With r_k(x) the distance to the k-th nearest other point of x's own set, and B(x) the ball of that radius: precision is the
    share of fakes in at least one real ball, recall the share of reals in at least one fake ball, density
    :math:`\frac{1}{k m}\sum_{\text{fake}} \#\{\text{real balls around it}\}` (it may exceed 1), and coverage the share of reals
    whose own ball holds a fake.

    Args:
        fake: features [m, d].
        real: features [n, d].
        k: which neighbour; 3 in torch-fidelity and StyleGAN3, 5 in prdc and StudioGAN.
        comparison: whether a point on the sphere is inside: "<=" in torch-fidelity, "<" in prdc (a set against itself then
            scores exactly 1 four times).
        tile: rows and columns of distances held at once.

    Raises:
        ValueError: for sets of k images or fewer, or features that are not finite.

    """
    if min(len(fake), len(real)) <= k or k < 1:
        raise ValueError(f"the {k}-th neighbour does not exist among {min(len(fake), len(real))} images")
    if not (torch.isfinite(fake).all() and torch.isfinite(real).all()):
        raise ValueError("features are not finite")
    centre = real.double().mean(0)
    x, y = (_Points(rows, rows - centre) for rows in (fake.double(), real.double()))
    fake_radii, real_radii = _squared_radii(x, k=k, tile=tile), _squared_radii(y, k=k, tile=tile)
    in_real = torch.zeros(len(x), dtype=torch.long, device=fake.device)
    recalled, covered = (torch.zeros(len(y), dtype=torch.bool, device=fake.device) for _ in range(2))
    for i in range(0, len(x), tile):
        for j in range(0, len(y), tile):
            rows, cols = slice(i, i + tile), slice(j, j + tile)
            distances = _squared_distances(x[rows], y[cols])
            inside = _inside(x[rows], y[cols], distances, real_radii[cols].expand_as(distances), comparison)
            in_real[rows] += inside.sum(1)
            covered[cols] |= inside.any(0)
            recalled[cols] |= _inside(x[rows], y[cols], distances, fake_radii[rows, None].expand_as(distances), comparison).any(0)
    return Neighbourhoods(
        precision=_share(in_real > 0),
        recall=_share(recalled),
        density=int(in_real.sum().item()) / (k * len(x)),
        coverage=_share(covered),
    )


def _share(hits: Bool[Tensor, " n"]) -> float:
    return int(hits.sum().item()) / len(hits)
