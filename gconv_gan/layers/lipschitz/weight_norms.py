"""Normalisation of all weights of a discriminator, which bounds its Lipschitz constant; and which weights are normalised."""

from typing import ClassVar

from pydantic import PositiveFloat
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from gconv_gan.layers.lipschitz.conv_norm import ConvNorm2d, Scale, conv_norm, has_spectral_norm
from gconv_gan.layers.lipschitz.spectral_norm import apply_spectral_norm


def parameters_without_scale(network: nn.Module) -> set[str]:
    """Return the names of parameters whose scale their layer divides out: spectrally normalised weights and filters of ``ConvNorm2d``.

    A positive factor on one of them changes no output of the network, once the power iteration has followed.
    """
    names: set[str] = set()
    for prefix, module in network.named_modules():
        if isinstance(module, parametrize.ParametrizationList) and any(isinstance(step, _SpectralNorm) for step in module):
            names.add(f"{prefix}.original")
        elif isinstance(module, ConvNorm2d):
            names.add(f"{prefix}.weight".lstrip("."))
        elif has_spectral_norm(module):  # by torch's older hook
            names.add(f"{prefix}.weight_orig".lstrip("."))
    return names & {name for name, _ in network.named_parameters()}


class SpectralNorms:
    """Divide every convolution, linear map and embedding by the spectral norm of its reshaped weight.

    Args:
        eps: Lower bound of the vector norms in the power iteration.

    """

    def __init__(self, *, eps: PositiveFloat = 1e-12) -> None:
        self.eps = eps

    def __call__(self, network: nn.Module) -> None:
        """Normalise the weights of ``network`` in place."""
        apply_spectral_norm(network, eps=self.eps)


class ConvNorms:
    """Convert every convolution to a ConvNorm2d; linear maps and embeddings are spectrally normalised.

    Args:
        affine: Add the learned depthwise filter (drops the Lipschitz bound).
        bn: Add batch normalisation (drops the bound, couples the images of a batch).
        detach: Treat the preconditioner as a constant in the backward pass, as the official code does.
        scale: Divide further so that the layer is 1-Lipschitz: by √out_channels, or by its exact norm.

    """

    couples_batch: ClassVar[str] = "bn"

    def __init__(self, *, affine: bool = False, bn: bool = False, detach: bool = True, scale: Scale = "none") -> None:
        self.affine, self.bn, self.detach, self.scale = affine, bn, detach, scale

    def __call__(self, network: nn.Module) -> None:
        """Normalise the weights of ``network`` in place."""
        for module in list(network.modules()):
            if isinstance(module, nn.Conv2d):
                conv_norm(module, affine=self.affine, bn=self.bn, detach=self.detach, scale=self.scale)
        apply_spectral_norm(network)
