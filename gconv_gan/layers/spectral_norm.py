r"""Spectral normalisation: a weight, as a matrix, is divided by its largest singular value.

Paper: Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
arXiv 1802.05957. The work is done by ``torch.nn.utils.parametrizations.spectral_norm``; what users of it should know:

- The parameter moves to ``parametrizations.weight.original``, with the buffers ``parametrizations.weight.0._u`` and ``._v``;
  ``weight`` is computed. Initialise *before* registering: in-place changes of the computed ``weight`` are lost.
- In training mode every *access* of ``weight`` advances the power iteration by one step, also that of a logger; wrap the
  passes that belong to one step of an optimiser in ``one_power_iteration``. Evaluation leaves u and v alone.
- u and v are constants of the backward pass and are cloned before use, so two forwards of D may share one backward.
- Whole modules cannot be pickled any more; ``copy.deepcopy`` and state dicts work.
- The norm is that of the reshaped matrix, neither an upper nor a lower bound of the convolution's (``layers.lipschitz``).

Generators are normalised as well in SAGAN and BigGAN: all but their class embeddings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gconv_gan.layers.conv_norm import ConvNorm2d, has_spectral_norm
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.weights import as_matrices, stored, weights_of

Module = TypeVar("Module", bound=nn.Module)


def spectral_norm(module: Module, *, eps: float = 1e-12, n_power_iterations: int = 1) -> Module:
    r"""Normalise ``module.weight`` in place and return the module (arXiv 1802.05957, algorithm 1).

    .. math::
        \bar W = W / \sigma, \quad \sigma = u^\top W v, \qquad v \leftarrow W^\top u / \lVert W^\top u \rVert, \quad
        u \leftarrow W v / \lVert W v \rVert

    W is the weight reshaped to (O, rest): (O, I k k) for a convolution, (out, in) for a linear layer, (C, ch) for an embedding
    of C classes. Fifteen iterations are made at once.

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
    parametrizations.spectral_norm(module, eps=eps, n_power_iterations=n_power_iterations)
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
    """Ordinary convolutions, each divided by its reshaped spectral norm."""
    return spectral_norm(nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias))


class KernelwiseSpectralNorm(nn.Module):
    r"""Parametrisation of a bank [K, O, I, k, k]: each kernel, as a matrix (O, I k k), is divided by its own spectral norm.

    A mixture :math:`\sum_k a_k W_k` then has at most the norm :math:`\sum_k |a_k|`; normalising every sample's mixture would take a
    power iteration a sample. Buffers, training mode and ``eps`` are those of torch's ``spectral_norm``.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, bank: Float[Tensor, "k o i kh kw"], *, eps: float = 1e-12, n_power_iterations: int = 1) -> None:
        super().__init__()
        self.eps, self.n_power_iterations = eps, n_power_iterations
        matrices = as_matrices(bank.detach())
        self.register_buffer("_u", F.normalize(torch.randn_like(matrices[:, :, 0]), dim=1, eps=eps))
        self.register_buffer("_v", F.normalize(torch.randn_like(matrices[:, 0]), dim=1, eps=eps))
        self._iterate(matrices, 15)

    @torch.no_grad()
    def _iterate(self, matrices: Float[Tensor, "k o m"], times: int) -> None:
        for _ in range(times):
            self._v.copy_(F.normalize(torch.einsum("kom,ko->km", matrices, self._u), dim=1, eps=self.eps))
            self._u.copy_(F.normalize(torch.einsum("kom,km->ko", matrices, self._v), dim=1, eps=self.eps))

    def forward(self, bank: Float[Tensor, "k o i kh kw"]) -> Float[Tensor, "k o i kh kw"]:
        matrices = as_matrices(bank)
        if self.training:
            self._iterate(matrices, self.n_power_iterations)
        # clones, so that two forward passes may share one backward pass
        norms = torch.einsum("ko,kom,km->k", self._u.clone(), matrices, self._v.clone())
        return bank / norms[:, None, None, None, None]


def apply_spectral_norm(network: Module, *, eps: float = 1e-12, n_power_iterations: int = 1, embeddings: bool = True) -> Module:
    """Normalise every ``Conv2d``, ``Linear`` and ``Embedding`` of an *initialised* network in place, and return it.

    Of a dictionary, filters and mixing matrix are normalised, of a bank each kernel; gates and styles are not.
    ``ConvNorm2d`` layers, with what is in them, are left as they are.

    Args:
        network: initialised; afterwards changes of a computed weight are lost.
        eps: as in ``spectral_norm``.
        n_power_iterations: as in ``spectral_norm``.
        embeddings: whether to normalise embeddings, too; a generator's are better left alone (BigGAN-PyTorch: it cripples G).

    Raises:
        ValueError: if a weight is normalised already.

    """
    options = {"eps": eps, "n_power_iterations": n_power_iterations}
    for layer, name in list(weights_of(network, embeddings=embeddings)):
        if name == "bank":
            step = KernelwiseSpectralNorm(stored(layer, name), **options)  # type: ignore[arg-type]
            parametrize.register_parametrization(layer, name, step)
        elif name == "weight":
            spectral_norm(layer, **options)  # type: ignore[arg-type]
        else:
            parametrizations.spectral_norm(layer, name, **options)  # type: ignore[arg-type]
    return network


def is_power_vector(name: str) -> bool:
    """Return whether a tensor of a state dict is a vector of a power iteration."""
    return ".parametrizations." in f".{name}" and name.endswith(("._u", "._v"))


@torch.no_grad()
def advance_power_iterations(network: nn.Module) -> None:
    """Take one power iteration of every spectrally normalised tensor, whatever mode the network is in."""
    for module in network.modules():
        steps = list(module) if isinstance(module, parametrize.ParametrizationList) else []
        if any(isinstance(step, parametrizations._SpectralNorm | KernelwiseSpectralNorm) for step in steps):
            modes = [step.training for step in steps]
            for step in steps:
                step.train()
            module()
            for step, training in zip(steps, modes, strict=True):
                step.train(training)


@contextmanager
def one_power_iteration(*networks: nn.Module) -> Iterator[None]:
    """Take one power iteration of every normalised tensor in training mode, on entry, and none within the scope.

    So all passes between two steps of an optimiser (micro-batches, penalties) see the same weights, however many they are; a
    single pass sees what it would without the scope.
    """
    resting: list[nn.Module] = []
    for network in networks:
        for module in network.modules():
            steps = list(module) if isinstance(module, parametrize.ParametrizationList) else []
            moving = [s for s in steps if s.training and isinstance(s, parametrizations._SpectralNorm | KernelwiseSpectralNorm)]
            if moving:
                with torch.no_grad():
                    module()
                resting += moving
    for step in resting:
        step.training = False
    try:
        yield
    finally:
        for step in resting:
            step.training = True
