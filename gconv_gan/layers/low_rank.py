r"""Convolutions of low rank: a layer's filters as a matrix, its projection onto rank r, and the two thin layers that it then is.

A filter bank W [C, I, k, k] is the matrix :math:`\bar W` [C, I k²], a row per filter. If its rank is r, the layer is a convolution to r
channels followed by a 1×1 convolution to C. Guo, Lin, Chen, Xing, Liu, Xu, "Compact Model Training by Low-Rank Projection with Energy
Transfer", IEEE TNNLS 2024, arXiv 2204.05566. Matrices here have an axis of groups in front: a grouped convolution is one matrix per group.

Convolutions of torch are described here, every other one by itself, as a ``Factorable``.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gconv_gan.layers.conditioning import Condition, Conditioned, apply
from gconv_gan.layers.lipschitz.spectral_norm import SpectralNorm
from gconv_gan.layers.resample import ResampledConv2d
from gconv_gan.layers.slicing import kind
from gconv_gan.layers.weights import stored
from gconv_gan.runtime.modes import evaluating

SMALLEST_NORM = 1e-4
"""A matrix whose largest singular value is below is left as it is (the official code's guard)."""
SAFE = 1e-5
"""Added to the square of a factor that is divided by (the official code's)."""
BALANCE = 1e-4
"""Least share of √σ₁ by which a factor is scaled: singular values that are zero have no root to share."""


class UnfactorableError(ValueError):
    """The filters of this layer are not one matrix whose rank can be lowered: the message says why."""


@dataclass(frozen=True)
class Filters:
    """The filters of a layer, as one matrix of C/g rows for each of its g groups.

    Attributes:
        layer: that holds them.
        name: of the weight, which may be spectrally normalised: the matrix is that of the stored one.
        dim: axis of the filters.
        groups: g.
        kernels: number of kernels that stand side by side in the matrix.
        mix: [O, C] where the layer's outputs are combinations of its filters; None: they are the filters.

    """

    layer: nn.Module
    name: str
    dim: int = 0
    groups: int = 1
    kernels: int = 1
    mix: Shaped[Tensor, "o c"] | None = None

    @property
    def weight(self) -> nn.Parameter:
        """Return the stored weight."""
        return stored(self.layer, self.name)

    @property
    def step(self) -> SpectralNorm | None:
        """Return the spectral normalisation of the weight, if there is one."""
        return next((step for step in parametrizations_of(self.layer, self.name) if isinstance(step, SpectralNorm)), None)

    def matrices(self) -> Shaped[Tensor, "g c d"]:
        """Return the matrices in float64."""
        rows = self.weight.detach().movedim(self.dim, 0)
        return rows.reshape(self.groups, len(rows) // self.groups, -1).double()

    def times(self, left: Float[Tensor, "g n c"]) -> Tensor:
        """Return the weight of the g n filters that are combinations ``left`` of these, in the weight's layout and precision."""
        weight = self.weight
        filters = (left @ self.matrices()).reshape(-1, *weight.movedim(self.dim, 0).shape[1:])
        return filters.movedim(0, self.dim).to(weight.dtype)

    def rank_limit(self) -> int:
        """Return S, the largest rank that a matrix can have."""
        return min(self.matrices().shape[1:])

    def saves(self, rank: int) -> bool:
        """Return whether two layers of this rank have fewer weights per position than one: r (I k² + C) < C I k²."""
        _, rows, columns = self.matrices().shape
        taps = columns // self.kernels
        return rank * (taps + rows) < rows * taps

    def row_factors(self, outputs: Float[Tensor, " o"] | None) -> Float[Tensor, " c"] | None:
        """Return the factor on each filter where the layer's outputs have the factors ``outputs`` (None: 1); None: all are 1.

        Behind a matrix Mix it is the norm of the filter's column of diag(a) Mix.
        """
        if self.mix is None:
            return None if outputs is None else outputs.detach().double()
        mix = self.mix.detach().double()
        norms: Tensor = torch.linalg.vector_norm(mix if outputs is None else mix * outputs.detach().double()[:, None], dim=0)
        return norms


class Factorable:
    """Base of convolutions that describe their filters themselves, beside ``nn.Module``; it stands before it among the bases."""

    def filters(self) -> Filters:
        """Return the filters; raise ``UnfactorableError`` where a low rank of theirs is none of the layer."""
        raise NotImplementedError

    def in_two(self, outer: Float[Tensor, "g c r"], inner: Float[Tensor, "g r c"]) -> tuple[nn.Module, nn.Module]:
        r"""Return the two layers, in their order, that hold the factors (inner :math:`\bar W`) and outer."""
        raise NotImplementedError


@singledispatch
def filters(layer: nn.Module) -> Filters | None:
    """Return the filters of a layer; None of a layer without kernels of its own, whose children are looked at instead.

    Raises:
        UnfactorableError: it has kernels, and their rank is not the layer's.

    """
    own = list(layer.parameters(recurse=False))
    if parametrize.is_parametrized(layer):
        own += layer.get_submodule("parametrizations").parameters()
    if any(parameter.ndim > 3 for parameter in own):
        raise UnfactorableError(f"{kind(layer)} does not describe its filters (see gconv_gan.layers.low_rank.Factorable)")
    return None


filters.register(Factorable, lambda layer: layer.filters())


@filters.register
def _(layer: nn.Conv2d) -> Filters:
    if type(layer).forward is not nn.Conv2d.forward or type(layer)._conv_forward not in PLAIN:
        raise UnfactorableError(f"{kind(layer)} is another function of its filters than a convolution with them")
    return checked(Filters(layer, "weight", groups=layer.groups))


@filters.register
def _(layer: nn.ConvTranspose2d) -> Filters:
    if layer.groups > 1:
        raise UnfactorableError("a grouped transposed convolution has its filters in blocks")
    return checked(Filters(layer, "weight", dim=1))


PLAIN = (nn.Conv2d._conv_forward, ResampledConv2d._conv_forward)


def checked(found: Filters) -> Filters:
    """Return the filters; raise ``UnfactorableError`` for a parametrisation other than one spectral norm, also of a grouped layer."""
    steps = parametrizations_of(found.layer, found.name)
    if steps and (len(steps) > 1 or not isinstance(steps[0], SpectralNorm)):
        raise UnfactorableError(f"the weight of this {kind(found.layer)} is a function of others ({kind(steps[0])})")
    if steps and found.groups > 1:
        raise UnfactorableError(f"this {kind(found.layer)} has groups, and its spectral norm is that of all of them")
    return found


def parametrizations_of(layer: nn.Module, name: str) -> list[nn.Module]:
    """Return the parametrisations of a weight, in their order; none where it is a parameter itself."""
    return list(layer.get_submodule(f"parametrizations.{name}").children()) if parametrize.is_parametrized(layer, name) else []


def all_filters(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, Filters | UnfactorableError]]:
    """Yield the name of every convolution with its filters, or the reason that it has none."""
    for name, child in network.named_children():
        path = f"{prefix}{name}"
        try:
            found = filters(child)
        except UnfactorableError as error:
            yield path, error
        else:
            if found is not None:
                yield path, found
            else:
                yield from all_filters(child, f"{path}.")


# ---- projection ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spectrum:
    """Left singular vectors [g, C/g, C/g] and squared singular values [g, C/g], largest first, of M = diag(a) W̄, in float64."""

    vectors: Float[Tensor, "g c c"]
    squares: Float[Tensor, "g c"]
    factors: Float[Tensor, "g c"] | None
    """a; None: 1."""

    @classmethod
    def of(cls, found: Filters, factors: Float[Tensor, " c"] | None = None) -> "Spectrum":
        """Return that of filters with a factor on each row; the eigenvalues of the small matrix M Mᵀ."""
        rows = found.matrices()
        a = None if factors is None else factors.double().view(rows.shape[:2])
        rows = rows if a is None else rows * a[..., None]
        squares, vectors = torch.linalg.eigh(rows @ rows.mT)
        return cls(vectors.flip(-1), squares.flip(-1).clamp(min=0), a)

    def shares(self) -> Float[Tensor, " c"]:
        """Return the share of the energy that the first r singular values of every group hold, for r = 1 …; zeros have all of it."""
        energy = self.squares.sum(0).cumsum(0)
        return energy / energy[-1] if energy[-1] > 0 else torch.ones_like(energy)


@torch.no_grad()
def project(found: Filters, spectrum: Spectrum, rank: int, *, transfer: bool = True, tail: float = 0.0) -> None:
    r"""Project filters in place onto rank r, and hand the energy of the other singular values to the kept ones.

    .. math::
        M = \mathrm{diag}(a)\,\bar W = U\,\mathrm{diag}(s)\,V^\top, \qquad
        s'_j = g\,s_j \;(j \le r), \quad s'_j = \rho\,s_j \;(j > r), \\
        g^2 = \frac{\sum_j s_j^2 - \rho^2 \sum_{j > r} s_j^2}{\sum_{j \le r} s_j^2}, \qquad
        \bar W \leftarrow \mathrm{diag}\Big(\frac{a}{a^2 + 10^{-5}}\Big)\, U\,\mathrm{diag}(s')\,V^\top

    (arXiv 2204.05566, its code). M keeps its Frobenius norm for every ρ; with ρ = 0 both matrices have rank r, since a factor on a row
    raises no rank. A row with a = 0 becomes 0. A matrix with s₁ < 1e-4 is left as it is. With groups, r is the rank of each, and g is the
    same for all.

    Args:
        found: the filters; a weight in float32 or float64.
        spectrum: of them.
        rank: r.
        transfer: False: g = 1.
        tail: ρ.

    """
    if found.weight.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"filters are projected in float32 or float64, not {found.weight.dtype}")
    squares = spectrum.squares
    if squares.max().sqrt() < SMALLEST_NORM:
        return
    kept, lost = squares[:, :rank].sum(), squares[:, rank:].sum()
    gain = ((kept + lost - tail**2 * lost) / kept).sqrt() if transfer else torch.ones_like(kept)
    change = torch.full_like(squares, tail)
    change[:, :rank] = gain
    left = (spectrum.vectors * change[:, None, :]) @ spectrum.vectors.mT
    if spectrum.factors is not None:
        a = spectrum.factors
        left = (a / (a.square() + SAFE))[..., None] * left * a[:, None, :]
    found.weight.copy_(found.times(left))


# ---- two layers ----------------------------------------------------------------------------------------------------


class ConditionedPair(Conditioned):
    """Two layers, at least one of them a function of the condition: the output of the first is the input of the second."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        return apply(self.second, apply(self.first, x, condition), condition)


@torch.no_grad()
def factorise(network: nn.Module, name: str, rank: int) -> None:
    r"""Replace a convolution of ``network`` by the two layers of its best approximation of rank r, in place, with new parameters.

    .. math:: \bar W \approx U_r \mathrm{diag}(s_r) V_r^\top: \quad
        \text{first: } \mathrm{diag}(\sqrt{s_r})\, V_r^\top\;[r, I, k, k], \qquad
        \text{second: } U_r\, \mathrm{diag}(\sqrt{s_r})\;[C, r, 1, 1]

    Stride, padding, dilation and resampling belong to the first, the bias to the second. Of a bank the first is a bank, of a dictionary
    the second a dictionary of 1×1 filters. Where the rank is r, the function of the layer stays. Of a spectrally normalised layer the
    factors are :math:`\mathrm{diag}(s_r) V_r^\top` and :math:`U_r`, both normalised again: the norm of the first is that of the layer, of
    the second 1.
    """
    layer = network.get_submodule(name)
    found = filters(layer)
    assert found is not None
    spectrum = Spectrum.of(found)
    outer = spectrum.vectors[:, :, :rank]
    inner = outer.mT
    if found.step is None:
        roots = spectrum.squares[:, :rank].pow(0.25)
        largest = roots.max()
        roots = roots.clamp(min=BALANCE * float(largest)) if largest > 0 else torch.ones_like(roots)
        outer, inner = outer * roots[:, None, :], inner / roots[..., None]
    _replace(network, name, outer, inner)


def thin(network: nn.Module, name: str, rank: int) -> None:
    """Replace a convolution as ``factorise`` does, by layers whose weights are to be loaded."""
    found = filters(network.get_submodule(name))
    assert found is not None
    groups, rows, _ = found.matrices().shape
    weight = found.weight
    zeros = torch.zeros(groups, rows, rank, device=weight.device, dtype=torch.float64)
    _replace(network, name, zeros, zeros.mT)


def _replace(network: nn.Module, name: str, outer: Tensor, inner: Tensor) -> None:
    layer = network.get_submodule(name)
    first, second = in_two(layer, outer, inner)
    conditioned = isinstance(first, Conditioned) or isinstance(second, Conditioned)
    pair = ConditionedPair(first, second) if conditioned else nn.Sequential()
    if not conditioned:
        pair.add_module("first", first)
        pair.add_module("second", second)
    for module in (pair, *pair.modules()):
        module.training = layer.training
    network.set_submodule(name, pair, strict=True)


@singledispatch
def in_two(layer: nn.Module, outer: Float[Tensor, "g c r"], inner: Float[Tensor, "g r c"]) -> tuple[nn.Module, nn.Module]:
    """Return the two layers of a convolution, see ``Factorable``."""
    raise NotImplementedError


in_two.register(Factorable, lambda layer, outer, inner: layer.in_two(outer, inner))


@in_two.register
def _(layer: nn.Conv2d, outer: Tensor, inner: Tensor) -> tuple[nn.Module, nn.Module]:
    first = copy.deepcopy(layer)
    first.out_channels = inner.shape[0] * inner.shape[1]
    first.register_parameter("bias", None)
    late = layer.kernel_size == (1, 1) and getattr(layer, "resample", "none") == "up"
    if late:  # a 1×1 convolution commutes with it
        first.resample = "none"  # type: ignore[assignment]
    fill_first(first, "weight", Filters(layer, "weight", groups=layer.groups), inner)
    return first, second_conv(layer, "weight", outer, layer.bias, upsample=late)


@in_two.register
def _(layer: nn.ConvTranspose2d, outer: Tensor, inner: Tensor) -> tuple[nn.Module, nn.Module]:
    first = copy.deepcopy(layer)
    first.out_channels = inner.shape[1]
    first.register_parameter("bias", None)
    fill_first(first, "weight", Filters(layer, "weight", dim=1), inner)
    return first, second_conv(layer, "weight", outer, layer.bias)


def fill_first(first: nn.Module, name: str, found: Filters, inner: Float[Tensor, "g r c"]) -> None:
    """Give the first layer the combinations ``inner`` of filters, and the spectral norm of theirs.

    Its vector u is that of the layer times ``inner`` and not normalised: σ = uᵀ W v is then that of the layer, also where the power
    iteration has not converged.
    """
    step = found.step
    parameter = nn.Parameter(found.times(inner).contiguous(), requires_grad=found.weight.requires_grad)
    if step is None:
        first.register_parameter(name, parameter)
        return
    u = (inner[0].to(step._u.dtype) @ step._u[..., None])[..., 0]
    _set_normalised(first, name, parameter, step, u, step._v.clone())


def second_conv(layer: nn.Module, name: str, outer: Float[Tensor, "g c r"], bias: Tensor | None, *, upsample: bool = False) -> nn.Module:
    """Return the 1×1 convolution that combines the results of the first layer, with the layer's bias."""
    groups, rows, rank = outer.shape
    channels, biased = (groups * rank, groups * rows), bias is not None
    second: nn.Conv2d
    if upsample:
        second = ResampledConv2d(*channels, 1, groups=groups, bias=biased, device="meta", resample="up")  # its tensors are set below
    else:
        second = nn.Conv2d(*channels, 1, groups=groups, bias=biased, device="meta")
    if bias is not None:
        second.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    fill_second(second, "weight", Filters(layer, name), outer.reshape(groups * rows, rank, 1, 1))
    return second


def fill_second(second: nn.Module, name: str, found: Filters, kernel: Float[Tensor, "c r 1 1"]) -> None:
    """Give the second layer its kernel, and a spectral norm, 1, where the layer has one."""
    weight, step = found.weight, found.step
    parameter = nn.Parameter(kernel.to(weight.dtype).contiguous(), requires_grad=weight.requires_grad)
    if step is None:
        second.register_parameter(name, parameter)
        return
    v = torch.zeros(kernel.shape[1], dtype=step._v.dtype, device=step._v.device)
    v[0] = 1
    _set_normalised(second, name, parameter, step, parameter.detach()[:, 0, 0, 0].clone(), v)


def _set_normalised(layer: nn.Module, name: str, parameter: nn.Parameter, like: SpectralNorm, u: Tensor, v: Tensor) -> None:
    """Let a layer's weight be ``parameter``, normalised as ``like`` is, with the vectors u and v."""
    if not parametrize.is_parametrized(layer, name):
        layer.register_parameter(name, parameter)
        step = copy.deepcopy(like)
        step._u, step._v = u, v
        with evaluating(layer):  # registering calls it once, which must not advance it
            parametrize.register_parametrization(layer, name, step)
        step.training = like.training
        return
    chain: Any = layer.get_submodule(f"parametrizations.{name}")
    chain.register_parameter("original", parameter)
    chain[0]._u, chain[0]._v = u, v
