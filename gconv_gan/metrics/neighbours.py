"""Precision, recall, density and coverage: from the images inside the neighbourhood balls of the other set.

Papers: Kynkäänniemi, Karras, Laine, Lehtinen, Aila, "Improved Precision and Recall Metric for Assessing Generative Models",
arXiv 1904.06991 (2019); Naeem, Oh, Uh, Choi, Yoo, "Reliable Fidelity and Diversity Metrics for Generative Models",
arXiv 2002.09797 (2020).

The radius of a ball is the distance of a pair of images, so "inside" must be decided exactly: otherwise ties would depend on the
tile size. Squared distances are first computed as |a|² + |b|² - 2ab (a matrix product); if its rounding error could change the decision,
the pair is computed again as Σ(a - b)², which depends on the two rows alone. A first pass, for which the host does not wait, does so for
a fixed number of pairs of every tile; tiles with more of them are left to a second pass. Memory in addition to the features is O(tile²):
there is no [n, n] matrix and no float64 copy of the features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

Comparison = Literal["<", "<="]

# Candidates kept beyond the k+1 nearest, since the fast distance may swap neighbours whose distances differ by round-off.
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


@dataclass(frozen=True)
class _Points:
    """Rows, and a point near their mean, which is subtracted to reduce the rounding error of the fast form."""

    given: Float[Tensor, "n d"]
    centre: Float64[Tensor, " d"]

    def __len__(self) -> int:
        return len(self.given)

    def __getitem__(self, rows: slice) -> "_Points":
        return _Points(self.given[rows], self.centre)

    @property
    def centred(self) -> Float64[Tensor, "n d"]:
        return self.given.double() - self.centre


def _squared_distances(x: Float64[Tensor, "m d"], y: Float64[Tensor, "n d"]) -> Float64[Tensor, "m n"]:
    """Return |a|² + |b|² - 2ab for all pairs of centred rows: fast, with an error of order d·ε·(|a|² + |b|²)."""
    return torch.addmm(x.square().sum(1)[:, None] + y.square().sum(1), x, y.T, alpha=-2)


def _exact(a: _Points, b: _Points, rows: Int[Tensor, " p"], cols: Int[Tensor, " p"]) -> Float64[Tensor, " p"]:
    """Return Σ(a_i - b_j)² for the listed pairs, in chunks of bounded memory."""
    x, y = a.given, b.given
    chunk = max(1, DIFFERENCES // x.shape[1])
    parts = [
        (x[i].double() - y[j].double()).square().sum(1) for i, j in zip(torch.split(rows, chunk), torch.split(cols, chunk), strict=True)
    ]
    return torch.cat(parts) if parts else x.new_empty(0, dtype=torch.float64)


class _Nearest:
    """The nearest rows found so far for each of n rows: squared distances [n, kept] and row numbers [n, kept]."""

    def __init__(self, count: int, kept: int, device: torch.device) -> None:
        self.distances = torch.full((count, kept), torch.inf, dtype=torch.float64, device=device)
        self.index = torch.zeros(count, kept, dtype=torch.long, device=device)

    def see(self, rows: slice, distances: Float64[Tensor, "m n"], first: int) -> None:
        """Add the distances of ``rows`` from the rows numbered from ``first``."""
        nearest, columns = distances.topk(min(self.distances.shape[1], distances.shape[1]), 1, largest=False)
        candidates = torch.cat([self.distances[rows], nearest], 1)
        numbers = torch.cat([self.index[rows], columns + first], 1)
        self.distances[rows], order = candidates.topk(self.distances.shape[1], 1, largest=False)
        self.index[rows] = numbers.gather(1, order)


def squared_radii(points: Float[Tensor, "n d"], *, k: int, tile: int = 2048) -> Float64[Tensor, " n"]:
    """Return the squared distance of each row to its k-th nearest *other* row: the squared radii of the balls.

    Every pair of tiles is computed once, for the rows of both tiles.

    Raises:
        ValueError: for k rows or fewer, or features that are not finite.

    """
    _check(points, k)
    x = _Points(points, _middle(points, tile))
    kept = min(k + 1 + SPARE_NEIGHBOURS, len(x))
    nearest = _Nearest(len(x), kept, points.device)
    tiles = [slice(start, min(start + tile, len(x))) for start in range(0, len(x), tile)]
    for i, rows in enumerate(tiles):
        own = x[rows].centred
        for columns in tiles[i:]:
            distances = _squared_distances(own, own if columns is rows else x[columns].centred)
            nearest.see(rows, distances, columns.start)
            if columns is not rows:
                nearest.see(columns, distances.T, rows.start)
    radii = []
    for rows in tiles:
        count = rows.stop - rows.start
        own_rows = torch.arange(count, device=points.device).repeat_interleave(kept)
        exact = _exact(x[rows], x, own_rows, nearest.index[rows].flatten()).view(count, kept)
        radii.append(exact.kthvalue(k + 1, dim=1).values)  # the row itself, at distance 0, is among them
    return torch.cat(radii)


def _middle(points: Float[Tensor, "n d"], tile: int) -> Float64[Tensor, " d"]:
    """Return the mean, accumulated tile by tile to avoid a float64 copy of all rows."""
    return torch.stack([rows.double().sum(0) for rows in torch.split(points, tile)]).sum(0) / len(points)


def _check(points: Float[Tensor, "n d"], k: int) -> None:
    if len(points) <= k or k < 1:
        raise ValueError(f"the {k}-th neighbour does not exist among {len(points)} images")
    if not torch.isfinite(points).all():
        raise ValueError("features are not finite")


@dataclass(frozen=True)
class _Pairs:
    """Squared distances of a tile of fakes from a tile of reals, and a bound of their rounding error."""

    fake: _Points
    real: _Points
    distances: Float64[Tensor, "m n"]
    error: Float64[Tensor, "m n"]

    def inside(self, balls: "_Spheres", count: int | None) -> tuple[Bool[Tensor, "m n"], Bool[Tensor, ""]]:
        """Return whether each distance is within the radius, and whether all are decided.

        Args:
            balls: radii and what holds on them.
            count: undecided pairs to compute again exactly, for which the host does not wait; None: all of them.

        """
        inside = self.distances < balls.squared_radii
        undecided = (self.distances - balls.squared_radii).abs_() <= self.error
        # spare places hold the pair (0, 0), whose exact decision is as right
        pairs = undecided.nonzero() if count is None else undecided.nonzero_static(size=min(count, undecided.numel()), fill_value=0)
        rows, cols = pairs.unbind(1)
        exact, radius = _exact(self.fake, self.real, rows, cols), balls.squared_radii.expand_as(inside)[rows, cols]
        inside[rows, cols] = exact < radius if balls.comparison == "<" else exact <= radius
        return inside, undecided.sum() <= len(pairs)


@dataclass(frozen=True)
class _Spheres:
    """Squared radii of the balls about the fakes [m, 1] or about the reals [1, n], and whether a point on the surface is inside."""

    squared_radii: Float64[Tensor, "#m #n"]
    comparison: Comparison

    def of_tile(self, rows: slice, cols: slice) -> "_Spheres":
        about_fakes = self.squared_radii.shape[1] == 1
        return _Spheres(self.squared_radii[rows] if about_fakes else self.squared_radii[:, cols], self.comparison)


def _pairs(fake: _Points, real: _Points) -> _Pairs:
    x, y = fake.centred, real.centred
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    return _Pairs(fake, real, torch.addmm(norms, x, y.T, alpha=-2), norms * (4 * x.shape[1] * torch.finfo(torch.float64).eps))


def decided_at_once(device: torch.device, tile: int) -> int | None:
    """Return how many undecided pairs of a tile are decided when it is computed; None: all, since nothing waits for a CPU."""
    return None if device.type == "cpu" else tile


def _tiles_inside(
    fake: _Points, real: _Points, balls: Sequence[_Spheres], *, tile: int
) -> Iterator[tuple[slice, slice, list[Bool[Tensor, "m n"]]]]:
    """Yield rows, columns and, for each of ``balls``, which pairs are inside; of every tile the sum of what is yielded for it counts.

    A tile with more undecided pairs than the first pass decides is all False there, and follows in the second.
    """
    tiles = [(slice(i, i + tile), slice(j, j + tile)) for i in range(0, len(fake), tile) for j in range(0, len(real), tile)]
    at_once = decided_at_once(fake.given.device, tile)
    complete = []
    for rows, cols in tiles:
        pairs = _pairs(fake[rows], real[cols])
        found = [pairs.inside(one.of_tile(rows, cols), at_once) for one in balls]
        complete.append(torch.stack([decided for _, decided in found]).all())
        yield rows, cols, [inside & complete[-1] for inside, _ in found]
    for (rows, cols), decided in zip(tiles, torch.stack(complete).tolist(), strict=True):
        if not decided:
            pairs = _pairs(fake[rows], real[cols])
            yield rows, cols, [pairs.inside(one.of_tile(rows, cols), None)[0] for one in balls]


def neighbourhoods(
    fake: Float[Tensor, "m d"],
    real: Float[Tensor, "n d"],
    *,
    k: int,
    comparison: Comparison,
    real_radii: Float64[Tensor, " n"] | None = None,
    tile: int = 2048,
) -> Neighbourhoods:
    r"""Return precision, recall, density and coverage.

    With r_k(x) the distance to the k-th nearest other point of x's own set, and B(x) the ball of that radius: precision is the
    share of fakes in at least one real ball, recall the share of reals in at least one fake ball, density
    :math:`\frac{1}{k m}\sum_{\text{fake}} \#\{\text{real balls around it}\}` (it may exceed 1), and coverage the share of reals
    whose own ball holds a fake.

    Args:
        fake: features [m, d].
        real: features [n, d].
        k: number of the neighbour; 3 in torch-fidelity and StyleGAN3, 5 in prdc and StudioGAN.
        comparison: whether a point on the sphere is inside: "<=" in torch-fidelity, "<" in prdc (a set against itself then
            has all four scores equal to 1).
        real_radii: ``squared_radii(real, k=k)``, if they are known.
        tile: rows and columns of distances in memory at once.

    Raises:
        ValueError: for sets of k images or fewer, or features that are not finite.

    """
    _check(fake, k)
    _check(real, k)
    fake_radii = squared_radii(fake, k=k, tile=tile)
    radii = squared_radii(real, k=k, tile=tile) if real_radii is None else real_radii
    centre = _middle(real, tile)
    x, y = _Points(fake, centre), _Points(real, centre)
    in_real = torch.zeros(len(x), dtype=torch.long, device=fake.device)
    recalled, covered = (torch.zeros(len(y), dtype=torch.bool, device=fake.device) for _ in range(2))

    balls = [_Spheres(radii[None], comparison), _Spheres(fake_radii[:, None], comparison)]
    for rows, cols, (in_real_balls, in_fake_balls) in _tiles_inside(x, y, balls, tile=tile):
        in_real[rows] += in_real_balls.sum(1)
        covered[cols] |= in_real_balls.any(0)
        recalled[cols] |= in_fake_balls.any(0)
    return Neighbourhoods(
        precision=_share(in_real > 0),
        recall=_share(recalled),
        density=int(in_real.sum().item()) / (k * len(x)),
        coverage=_share(covered),
    )


def _share(hits: Bool[Tensor, " n"]) -> float:
    return int(hits.sum().item()) / len(hits)


@dataclass(frozen=True)
class BallCounts:
    """How many balls hold each point, and how many points each ball holds."""

    of_points: Int[Tensor, " m"]
    of_balls: Int[Tensor, " n"]


@dataclass(frozen=True)
class Balls:
    """Balls about the rows of a set: squared radii, and whether a point on the surface is inside."""

    squared_radii: Float64[Tensor, " n"]
    comparison: Comparison


def ball_counts(
    points: Float[Tensor, "m d"], centres: Float[Tensor, "n d"], balls: Sequence[Balls], *, tile: int = 2048
) -> list[BallCounts]:
    """Return, for each of ``balls`` about ``centres``, the numbers of pairs (point, ball) with the point inside, decided exactly.

    The distances are computed once for all of ``balls``.
    """
    centre = _middle(centres, tile)
    x, y = _Points(points, centre), _Points(centres, centre)
    found = [BallCounts(*(torch.zeros(len(rows), dtype=torch.long, device=points.device) for rows in (points, centres))) for _ in balls]
    spheres = [_Spheres(one.squared_radii[None], one.comparison) for one in balls]
    for rows, cols, insides in _tiles_inside(x, y, spheres, tile=tile):
        for inside, counts in zip(insides, found, strict=True):
            counts.of_points[rows] += inside.sum(1)
            counts.of_balls[cols] += inside.sum(0)
    return found


@dataclass(frozen=True)
class NearestRows:
    """The nearest rows of each point, nearest first."""

    squared: Float64[Tensor, "m k"]
    """Squared distances."""
    index: Int[Tensor, "m k"]
    """Row numbers."""


def nearest_rows(
    points: Float[Tensor, "m d"],
    among: Float[Tensor, "n d"],
    *,
    k: int,
    own_rows: Int[Tensor, " m"] | None = None,
    tile: int = 2048,
) -> NearestRows:
    """Return the ``k`` rows of ``among`` nearest to each point, with exact distances.

    Args:
        points: features [m, d].
        among: features [n, d].
        k: number of neighbours.
        own_rows: the row of ``among`` that each point is itself, which is not its own neighbour; None: the points are other images.
        tile: rows and columns of distances in memory at once.

    Raises:
        ValueError: there are fewer than ``k`` rows, or features are not finite.

    """
    others = len(among) - (own_rows is not None)
    if not 1 <= k <= others:
        raise ValueError(f"there are {others} images to search, too few for {k} neighbours")
    if not (torch.isfinite(points).all() and torch.isfinite(among).all()):
        raise ValueError("features are not finite")
    centre = _middle(among, tile)
    x, y = _Points(points, centre), _Points(among, centre)
    kept = min(k + 1 + SPARE_NEIGHBOURS, len(y))
    nearest = _Nearest(len(x), kept, points.device)
    tiles = [slice(start, min(start + tile, len(x))) for start in range(0, len(x), tile)]
    parts = []
    for rows in tiles:
        own = x[rows].centred
        for start in range(0, len(y), tile):
            nearest.see(rows, _squared_distances(own, y[slice(start, start + tile)].centred), start)
        index = nearest.index[rows].sort(1).values
        count = rows.stop - rows.start
        exact = _exact(x[rows], y, torch.arange(count, device=index.device).repeat_interleave(kept), index.flatten()).view(count, kept)
        if own_rows is not None:
            exact = exact.masked_fill(index == own_rows[rows, None], torch.inf)
        distances, order = exact.sort(dim=1, stable=True)
        parts.append((distances[:, :k], index.gather(1, order)[:, :k]))
    return NearestRows(torch.cat([distances for distances, _ in parts]), torch.cat([index for _, index in parts]))
