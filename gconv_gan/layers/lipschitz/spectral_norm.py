r"""Spectral normalisation: a weight, as a matrix, is divided by its largest singular value.

Paper: Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
arXiv 1802.05957. Values, gradients and state dict are those of ``torch.nn.utils.parametrizations.spectral_norm``; notes
for its use:

- The parameter moves to ``parametrizations.weight.original``, with the buffers ``parametrizations.weight.0._u`` and ``._v``;
  ``weight`` is computed. Initialise *before* registering: in-place changes of the computed ``weight`` are lost.
- In training mode every *access* of ``weight`` advances the power iteration by one step, including that of a logger; wrap the
  passes of one optimiser step in ``PowerIterations.once``, which advances all weights of the networks together
  and takes a fraction of the operations. Evaluation does not change u and v.
- u and v are constants of the backward pass. Each forward pass stores its own, so that two forward passes of D may share one backward pass.
- Whole modules can no longer be pickled; ``copy.deepcopy`` and state dicts work.
- The norm is that of the reshaped matrix, neither an upper nor a lower bound of the convolution's (``layers.lipschitz``).

SAGAN and BigGAN normalise the generator too, except class embeddings.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, has_spectral_norm
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.weights import as_matrices, stored, weights_of
from gconv_gan.runtime.precision import float32_arithmetic

Module = TypeVar("Module", bound=nn.Module)
INITIAL_ITERATIONS = 15


class Singular(NamedTuple):
    """A weight's largest singular value and its vectors, as estimated, in shapes that broadcast against the weight."""

    sigma: Tensor
    u: Tensor
    v: Tensor


class SpectralNorm(parametrizations._SpectralNorm):
    r"""Parametrisation that divides a weight, as a matrix W (O, rest), by its largest singular value.

    .. math::
        \bar W = W / \sigma, \quad \sigma = u^\top W v, \qquad u \leftarrow W v / \lVert W v \rVert, \quad
        v \leftarrow W^\top u / \lVert W^\top u \rVert

    Of a bank [K, O, I, k, k] each kernel, as a matrix (O, I k k), is divided by its own norm, and v is updated before u. A mixture
    :math:`\sum_k a_k W_k` then has at most the norm :math:`\sum_k |a_k|`; normalising every sample's mixture would take a
    power iteration a sample.

    Buffers: ``_u`` [O] and ``_v`` [I k k], for a bank [K, O] and [K, I k k]. They start from 15 iterations.

    Args:
        weight: the initialised weight: two to four axes, or the five of a bank.
        eps: floor of the two vector norms.
        n_power_iterations: per access of the weight in training mode.

    Raises:
        ValueError: for fewer than one power iteration.

    """

    _u: Tensor
    _v: Tensor

    def __init__(self, weight: Float[Tensor, "..."], *, eps: float = 1e-12, n_power_iterations: int = 1) -> None:
        nn.Module.__init__(self)
        if n_power_iterations < 1:
            raise ValueError(f"spectral normalisation needs at least one power iteration, not {n_power_iterations}")
        self.dim, self.eps, self.n_power_iterations = 0, eps, n_power_iterations
        self.held: Singular | None = None  # within PowerIterations.once: σ of all passes of the step
        matrices = as_matrices(weight.detach())
        for name, shape in (("_u", matrices.shape[:-1]), ("_v", (*matrices.shape[:-2], matrices.shape[-1]))):
            self.register_buffer(name, F.normalize(matrices.new_empty(shape).normal_(), dim=-1, eps=eps))
        power_step([(self, weight)], steps=INITIAL_ITERATIONS)

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the weight divided by its norm, in the same shape."""
        singular = self.held
        if singular is None:
            singular = power_step([(self, weight)], steps=self.n_power_iterations)[0] if self.training else self._estimate(weight)
        normalised: Tensor = _Divided.apply(weight, *singular)
        return normalised

    def cut(self, shape: torch.Size, dim: int, positions: Tensor) -> None:
        """Cut u and v as a weight of ``shape`` is cut to ``positions`` along ``dim``, without normalising them again."""
        bank = len(shape[:-4])
        u, v = self._u, self._v.view(*shape[:bank], *shape[bank + 1 :])
        if dim <= bank:
            self._u = u.index_select(dim, positions)
        if dim != bank:
            self._v = v.index_select(dim if dim < bank else dim - 1, positions).flatten(bank)

    @torch.no_grad()
    def _estimate(self, weight: Tensor) -> Singular:
        u, v = self._u.clone(), self._v.clone()  # the buffers may change before the backward pass
        sigma = (u * torch.matmul(as_matrices(weight), v[..., None])[..., 0]).sum(-1)
        return _broadcastable(weight, sigma, u, v)


class _Divided(torch.autograd.Function):
    r"""W / σ with :math:`\sigma = u^\top W v`; u, v are constant, and G becomes :math:`(G - \langle G, \bar W\rangle uv^\top) / \sigma`."""

    @staticmethod
    def forward(weight: Tensor, sigma: Tensor, u: Tensor, v: Tensor) -> Tensor:
        return weight / sigma

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output, *inputs[1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        weight, normalised, sigma, u, v = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative is differentiated again with respect to the weights, including σ
            sigma = _total(weight * u * v, sigma)
        along = _total(gradient * normalised, sigma)
        return torch.addcmul(gradient, along * u, v, value=-1) / sigma, None, None, None


def _total(products: Tensor, like: Tensor) -> Tensor:
    """Return the sum over all axes, or for a bank over all but the first, in the shape of σ."""
    return products.sum() if like.ndim == 0 else products.sum(tuple(range(1, products.ndim)), keepdim=True)


def _broadcastable(weight: Tensor, sigma: Tensor, u: Tensor, v: Tensor) -> Singular:
    """Return σ, u and v in shapes that broadcast against ``weight``; v has the axes of the weight after the outputs, flattened or not."""
    bank = weight.shape[:-4]
    rest = weight.shape[len(bank) + 1 :]
    ones = (1,) * len(rest)
    return Singular(sigma.view(*bank, 1, *ones) if bank else sigma, u.view(*u.shape, *ones), v.reshape(*bank, 1, *rest))


# ---- power iterations ----------------------------------------------------------------------------------------------


@torch.no_grad()
def power_step(weights: Sequence[tuple[parametrizations._SpectralNorm, Tensor]], *, steps: int = 1) -> list[Singular]:
    r"""Advance the power iterations of several weights together, in place, and return their σ, u and v.

    Norms, floors, divisions and copies are one operation each for all weights. σ needs no additional product: it is the norm of
    the step's last product: :math:`u^\top W v = \lVert W^\top u \rVert`. A kernel in channels_last order is multiplied without a copy,
    and the small v is permuted instead.

    Args:
        weights: each parametrisation with the weight that it divides.
        steps: how many steps.

    """
    operands = [_Operands.of(step, weight) for step, weight in weights]
    floors = [step.eps for step, weight in weights for _ in range(_kernels(weight))]
    second = [operand.second.reshape(operand.second.shape[: operand.matrix.ndim - 2] + (-1,)) for operand in operands]
    for _ in range(steps):
        first = [_times(operand.matrix, vector) for operand, vector in zip(operands, second, strict=True)]
        _normalise(first, floors)
        second = [_times(operand.matrix.mT, vector) for operand, vector in zip(operands, first, strict=True)]
        norms = iter(_normalise(second, floors))
    second = [vector.view_as(operand.second) for operand, vector in zip(operands, second, strict=True)]
    torch._foreach_copy_([operand.first for operand in operands], first)
    torch._foreach_copy_([operand.second for operand in operands], second)
    found = []
    for (_, weight), one, other in zip(weights, first, second, strict=True):
        if weight.ndim == 5:
            found.append(_broadcastable(weight, torch.stack([next(norms) for _ in range(_kernels(weight))]), other, one))
        else:
            found.append(_broadcastable(weight, next(norms), one, other.permute(2, 0, 1) if other.ndim == 3 else other))
    return found


class _Operands(NamedTuple):
    """A step of one weight: first = matrix · second, second = matrixᵀ · first, each then divided by its norm."""

    matrix: Tensor
    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, step: parametrizations._SpectralNorm, weight: Tensor) -> "_Operands":
        """Return views of the weight and of the buffers: u is the first, but v for a bank."""
        u, v = step._u, step._v
        weight = weight.detach().movedim(step.dim, 0)
        if weight.ndim == 5:
            return cls(as_matrices(weight).mT, v, u)
        if weight.ndim == 4 and not weight.is_contiguous() and weight.is_contiguous(memory_format=torch.channels_last):
            return cls(weight.permute(0, 2, 3, 1).flatten(1), u, v.view(weight.shape[1:]).permute(1, 2, 0))
        return cls(as_matrices(weight), u, v)


def _kernels(weight: Tensor) -> int:
    return weight.shape[0] if weight.ndim == 5 else 1


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return torch.mv(matrix, vector) if matrix.ndim == 2 else torch.bmm(matrix, vector[:, :, None])[:, :, 0]


def _normalise(vectors: Sequence[Tensor], floors: Sequence[float]) -> list[Tensor]:
    """Divide each vector, or row of a matrix, by its norm in place, and return the norms."""
    rows = [row for vector in vectors for row in (vector.unbind() if vector.ndim == 2 else (vector,))]
    norms = torch._foreach_norm(rows)
    torch._foreach_div_(rows, torch._foreach_clamp_min(norms, floors))
    return list(norms)


class PowerIterations:
    """The power iterations of every spectrally normalised tensor of some networks, found once and advanced together.

    Create it after the networks were normalised. torch's own ``spectral_norm`` in a user's network is included.
    """

    def __init__(self, *networks: nn.Module) -> None:
        self._steps = [
            (step, module, list(module)[:index])
            for network in networks
            for module in network.modules()
            if isinstance(module, parametrize.ParametrizationList)
            for index, step in enumerate(module)
            if isinstance(step, parametrizations._SpectralNorm)
        ]

    def advance(self) -> None:
        """Take one step of each, in training and in evaluation mode."""
        self._advance(training_only=False)

    @contextmanager
    def once(self, *, hold: bool = True) -> Iterator[None]:
        r"""Take one step of each that is in training mode, on entry, and none within the scope.

        All passes between two optimiser steps (micro-batches, penalties) then use the same weights; a single pass is the same as without
        the scope.

        Args:
            hold: divide by the σ of the step in every pass; False: each pass computes :math:`u^\top W v` of the weights that it is run
                with, which may be others (``torch.func.functional_call``).

        """
        moved = self._advance(training_only=True)
        for step, singular in moved:
            step.training = False
            if hold and isinstance(step, SpectralNorm):
                step.held = singular
        try:
            yield
        finally:
            for step, _ in moved:
                step.training = True
                if isinstance(step, SpectralNorm):
                    step.held = None

    @torch.no_grad()
    def _advance(self, *, training_only: bool) -> list[tuple[nn.Module, Singular]]:
        by_steps: dict[int, list[tuple[parametrizations._SpectralNorm, Tensor]]] = {}
        for step, chain, before in self._steps:
            if step.training or not training_only:
                weight: Tensor = chain.original
                for earlier in before:
                    weight = earlier(weight)
                by_steps.setdefault(step.n_power_iterations, []).append((step, weight))
        moved: list[tuple[nn.Module, Singular]] = []
        for steps, weights in by_steps.items():
            with float32_arithmetic(weights[0][1].device):
                found = power_step(weights, steps=steps)
            moved += [(step, singular) for (step, _), singular in zip(weights, found, strict=True)]
        return moved


# ---- normalising layers and networks -------------------------------------------------------------------------------


def spectral_norm(module: Module, *, eps: float = 1e-12, n_power_iterations: int = 1) -> Module:
    r"""Normalise ``module.weight`` in place and return the module (arXiv 1802.05957, algorithm 1).

    .. math::
        \bar W = W / \sigma, \quad \sigma = u^\top W v, \qquad u \leftarrow W v / \lVert W v \rVert, \quad
        v \leftarrow W^\top u / \lVert W^\top u \rVert

    W is the weight reshaped to (O, rest): (O, I k k) for a convolution, (out, in) for a linear layer, (C, ch) for an embedding
    of C classes. Fifteen iterations are run immediately.

    Args:
        module: ``nn.Conv2d`` (``ResampledConv2d`` included: its k x k kernel is normalised), ``nn.Linear`` or ``nn.Embedding``.
        eps: floor of the two vector norms.
        n_power_iterations: per access of the weight in training mode.

    Raises:
        ValueError: for another module, a ``ConvNorm2d`` (on which it does nothing), or a weight that is already normalised.

    """
    if isinstance(module, ConvNorm2d):
        raise ValueError("spectral_norm does nothing on the weight of a ConvNorm2d, which ignores each filter's scale: use one of them")
    if not isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
        raise ValueError(f"spectral_norm normalises Conv2d, Linear and Embedding, not {type(module).__name__}")
    if has_spectral_norm(module):
        raise ValueError(f"the weight of this {type(module).__name__} is spectrally normalised already")
    _register(module, "weight", eps=eps, n_power_iterations=n_power_iterations)
    return module


def spectral_conv(
    in_channels: int,
    out_channels: int,
    kernel_size: Pair,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """Ordinary convolutions, each divided by its reshaped spectral norm.

    Returns a ``Conv2d`` with the parametrisation ``SpectralNorm`` on its weight.
    """
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias))


def _register(layer: nn.Module, name: str, *, eps: float, n_power_iterations: int) -> None:
    step = SpectralNorm(stored(layer, name), eps=eps, n_power_iterations=n_power_iterations)
    parametrize.register_parametrization(layer, name, step)


def apply_spectral_norm(network: Module, *, eps: float = 1e-12, n_power_iterations: int = 1, embeddings: bool = True) -> Module:
    """Normalise every ``Conv2d``, ``Linear`` and ``Embedding`` of an *initialised* network in place, and return it.

    Of a dictionary, filters and mixing matrix are normalised, of a bank each kernel; gates and styles are not.
    ``ConvNorm2d`` layers and their sub-modules are not changed.

    Args:
        network: initialised; later changes of a computed weight have no effect.
        eps: as in ``spectral_norm``.
        n_power_iterations: as in ``spectral_norm``.
        embeddings: whether to normalise embeddings, too; not recommended for generators (BigGAN-PyTorch).

    Raises:
        ValueError: if a weight is normalised already.

    """
    for layer, name in list(weights_of(network, embeddings=embeddings)):
        if name == "weight":
            spectral_norm(layer, eps=eps, n_power_iterations=n_power_iterations)
        else:
            _register(layer, name, eps=eps, n_power_iterations=n_power_iterations)
    return network


def is_power_vector(name: str) -> bool:
    """Return whether a tensor of a state dict is a vector of a power iteration."""
    return ".parametrizations." in f".{name}" and name.endswith(("._u", "._v"))
