r"""Norms of two-dimensional convolutions: exact on a periodic grid, upper bounds with zero padding.

A is a kernel [O, I/groups, kh, kw]; norms are operator norms, the largest singular value of the layer as one big matrix.

- Sedghi, Gupta, Long, "The Singular Values of Convolutional Layers", ICLR 2019: singular values by Fourier transform.
- Delattre et al., "Efficient Bound of Lipschitz Constant for Convolutional Layers by Gram Iteration", ICML 2023.
- Ryu et al., "Plug-and-Play Methods Provably Converge with Properly Trained Denoisers", ICML 2019: power iteration with the layer itself.
"""

import math
from collections.abc import Callable, Sequence

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor

from gconv_gan.layers.lipschitz.circular import kernel_spectrum


def circular_norm(weight: Float[Tensor, "o i kh kw"], size: tuple[int, int], *, stride: int = 1, groups: int = 1) -> float:
    r"""Return the exact norm of the circular convolution of ``size`` (h, w) images, every ``stride``-th output kept.

    With stride s and m = size/s it is the maximum over the m x m coarse frequencies of

    .. math:: \sigma_{\max}\Big( \tfrac1s [\hat A(\omega + m j)]_{j \in \{0,\dots,s-1\}^2} \Big), \quad \text{a matrix } O \times s^2 I .

    Raises:
        ValueError: if the stride does not divide the size.

    """
    return max(largest_singular_value(_strided_spectrum(group, size, stride)) for group in _split(weight, groups))


def zero_padded_bound(
    weight: Float[Tensor, "o i kh kw"], size: tuple[int, int], *, stride: int = 1, groups: int = 1, refine: bool = True
) -> float:
    """Return an upper bound for the zero-padded convolution of ``size`` images, valid for every padding up to k-1.

    The layer is a restriction (some inputs zero, some outputs dropped) of the circular one on the grid (h+kh-1, w+kw-1), enlarged to
    a multiple of the stride. ``refine=False`` ignores the stride, the looser classical form: 25 to 50 % above for stride 2.
    """
    stride = stride if refine else 1
    grid = [stride * math.ceil((n + k - 1) / stride) for n, k in zip(size, weight.shape[2:], strict=True)]
    return circular_norm(weight, (grid[0], grid[1]), stride=stride, groups=groups)


def gram_norm(matrices: Complex[Tensor, "*batch o i"], iterations: int) -> Float[Tensor, "*batch"]:
    r"""Return an upper bound of the largest singular value of each matrix, differentiable, by Gram iteration.

    :math:`\sigma \le \lVert G_t \rVert_F^{2^{-t}}` with :math:`G_{t+1} = G_t^* G_t`, at every t; the scale of G is kept as a
    logarithm L, so nothing overflows. A zero matrix gives (almost) zero.
    """
    gram = matrices if matrices.shape[-1] <= matrices.shape[-2] else matrices.mT
    log_scale = gram.real.new_zeros(matrices.shape[:-2])
    for _ in range(iterations):
        norm = _frobenius(gram)
        log_scale = 2.0 * (log_scale + norm.log())
        gram = gram / norm[..., None, None]
        gram = gram.mH @ gram
    return ((_frobenius(gram).log() + log_scale) / 2.0**iterations).exp()


def largest_singular_value(matrices: Complex[Tensor, "*batch o i"], *, at_least: float = 0.0) -> float:
    """Return the exact maximum over a batch of matrices, or ``at_least`` if that is larger.

    Singular values are computed only for matrices whose Gram bound exceeds the largest value so far.
    """
    matrices = matrices.flatten(0, -3)
    bounds, order = gram_norm(matrices, 4).sort(descending=True)
    chunk = 16
    for start in range(0, len(order), chunk):
        if bounds[start] <= at_least:
            break
        at_least = max(at_least, torch.linalg.svdvals(matrices[order[start : start + chunk]]).max().item())
    return at_least


def reshape_norm(weight: Float[Tensor, "o ..."]) -> float:
    """Return the norm of the matrix [O, rest]: what spectral normalisation sets to 1, no bound of the layer in either direction."""
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


def lanczos_norm(
    function: Callable[[Tensor], Tensor],
    shape: Sequence[int],
    *,
    iterations: int = 40,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> float:
    r"""Return a lower bound of the norm of the linear part of ``function`` on inputs of ``shape``; it rises to the norm.

    The products :math:`x \leftarrow J^\top J x` of power iteration, by automatic differentiation, with J x = f(x) - f(0): biases
    do not count, and stride, padding and Fourier transforms are taken as they are. The result is |J x| / |x| for the best x
    in the space the products span (Lanczos), which needs tens of products where plain power iteration needs hundreds.
    ``shape`` includes the batch dimension, usually of size 1; the ``iterations`` vectors are kept in memory.
    """
    generator = torch.Generator(device).manual_seed(seed)
    x = torch.randn(tuple(shape), generator=generator, dtype=dtype, device=device)
    with torch.no_grad():
        offset = function(torch.zeros_like(x))
    basis, diagonal, off_diagonal = (x / x.norm()).reshape(1, -1), [], []
    while True:
        _, product = _normal_product(function, offset, basis[-1].view_as(x))
        residual = product.flatten()
        diagonal.append(residual @ basis[-1])
        for _ in range(2):  # a single orthogonalisation leaves rounding errors, which the next products amplify
            residual = residual - basis.T @ (basis @ residual)
        size = residual.norm()
        if len(basis) == min(iterations, x.numel()) or size <= torch.finfo(dtype).eps * diagonal[0]:
            break
        off_diagonal.append(size)
        basis = torch.cat([basis, residual[None] / size])
    projected = torch.diag(torch.stack(diagonal))
    if off_diagonal:
        projected += torch.diag(torch.stack(off_diagonal), 1) + torch.diag(torch.stack(off_diagonal), -1)
    best = torch.linalg.eigh(projected).eigenvectors[:, -1] @ basis
    image, _ = _normal_product(function, offset, (best / best.norm()).view_as(x))
    return float(image.norm())


def _normal_product(function: Callable[[Tensor], Tensor], offset: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return J x and J^T J x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x) - offset
    return y.detach(), torch.autograd.grad(y, x, y.detach())[0]


def _split(weight: Tensor, groups: int) -> tuple[Tensor, ...]:
    return weight.detach().chunk(groups)


def _strided_spectrum(weight: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    if stride == 1:
        return kernel_spectrum(weight, size)
    if size[0] % stride or size[1] % stride:
        raise ValueError(f"the norm of a strided circular convolution needs a size divisible by the stride, not {size} and {stride}")
    spectrum = kernel_spectrum(weight, size, half=False)
    # frequencies that a stride makes equal differ by size/stride: the index of the difference stands before that of the frequency
    return rearrange(spectrum, "(a h) (b w) o i -> h w o (a b i)", a=stride, b=stride) / stride


def _frobenius(matrices: Tensor) -> Tensor:
    # The floor keeps the logarithm of the norm and its gradient finite for a zero matrix.
    squares: Tensor = torch.view_as_real(matrices).square().sum((-3, -2, -1))
    return squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()
