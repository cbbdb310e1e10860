r"""Spectral normalisation: a weight, as a matrix, is divided by its largest singular value.

Paper: Miyato, Kataoka, Koyama, Yoshida, "Spectral Normalization for Generative Adversarial Networks", ICLR 2018,
arXiv 1802.05957. The work is done by ``torch.nn.utils.parametrizations.spectral_norm``; what users of it should know:

- The parameter moves to ``parametrizations.weight.original``, with the buffers ``parametrizations.weight.0._u`` and ``._v``;
  ``weight`` is computed. Initialise *before* registering: in-place changes of the computed ``weight`` are lost.
- In training mode every *access* of ``weight`` advances the power iteration by one step, also that of a logger; wrap the
  forward passes that should share one in ``torch.nn.utils.parametrize.cached()``. Evaluation leaves u and v alone.
- u and v are constants of the backward pass and are cloned before use, so two forwards of D may share one backward.
- Whole modules cannot be pickled any more; ``copy.deepcopy`` and state dicts work.
- The norm is that of the reshaped matrix, neither an upper nor a lower bound of the convolution's (``layers.lipschitz``).
"""

from typing import TypeVar

from torch import nn
from torch.nn.utils import parametrizations

from gconv_gan.layers.conv_norm import ConvNorm2d, has_spectral_norm

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


def apply_spectral_norm(network: Module, *, eps: float = 1e-12, n_power_iterations: int = 1) -> Module:
    """Normalise every ``Conv2d``, ``Linear`` and ``Embedding`` of an *initialised* network in place, and return it.

    ``ConvNorm2d`` layers, with what is in them, are left as they are.

    Raises:
        ValueError: if a weight is normalised already.

    """
    if isinstance(network, nn.Conv2d | nn.Linear | nn.Embedding) and not isinstance(network, ConvNorm2d):
        spectral_norm(network, eps=eps, n_power_iterations=n_power_iterations)
    elif not isinstance(network, ConvNorm2d):
        for child in network.children():
            apply_spectral_norm(child, eps=eps, n_power_iterations=n_power_iterations)
    return network
