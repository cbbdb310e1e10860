r"""Scale-initialised BatchNorm: initial scales far below 1, and a BatchNorm of the images.

Davis and Frank, "Revisiting Batch Norm Initialization", ECCV 2022, arXiv 2110.13989; checked against osu-cvl/revisiting-bn-init.
By :math:`\partial L / \partial x = (\gamma / \sigma)(g - \bar g - \hat x\, \overline{g \hat x})` a scale
multiplies gradients as well as outputs.
The method includes a learning rate of scales divided by 100 and no decay of norms and biases, see ``optim/parameter_groups.py``.
"""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gconv_gan.config.schema import value_of
from gconv_gan.layers.norms.batch_norm import BatchNorm2d, ClassConditionalNorm2d, LatentNorm2d
from gconv_gan.layers.norms.self_modulation import SelfModulatedBatchNorm2d

SCALE = 0.1
RECTIFIED_DEVIATION = 0.58  # of max(u, 0) for a standard normal u: (1/2 - 1/(2 pi))^(1/2) = 0.584


@torch.no_grad()
def initialise_batch_norms(
    network: nn.Module, scale: float = SCALE, *, last_scale: float | None = None, skip: Collection[nn.Module] = ()
) -> None:
    r"""Set :math:`\gamma` to ``scale`` and :math:`\beta` to 0 in every BatchNorm of ``network``, chosen by module type.

    In a class-conditional norm it sets each class's scale and shift; in a norm modulated by the latent vector it sets the mean scale, and
    the modulation in proportion. Scales that are all zero stay zero, so that a branch that starts as zero remains zero. Call it after
    all other initialisations.

    Args:
        network: changed in place.
        scale: the paper searches from 0.1.
        last_scale: of the last BatchNorm in the order of definition (in a generator it sets the range before the tanh); None: ``scale``.
        skip: norms that are not changed.

    Raises:
        ValueError: for a scale that is not positive.

    """
    for asked in (scale, last_scale):
        if asked is not None and asked <= 0:
            raise ValueError(f"the scale of BatchNorm must be positive, not {asked}")
    norms = [module for module in network.modules() if _is_scaled(module) and module not in skip]
    for norm in norms:
        _initialise(norm, scale if last_scale is None or norm is not norms[-1] else last_scale)


def start_batch_norms(network: nn.Module, norm: Callable[..., nn.Module]) -> None:
    """Set the initial scales of the BatchNorms of a finished network, if ``norm`` gives other scales than the network's own."""
    scale = value_of(norm, "initial_scale", 1.0)
    last = value_of(norm, "last_initial_scale", scale)
    if (scale, last) != (1.0, 1.0):
        initialise_batch_norms(network, scale, last_scale=last)


def _is_scaled(module: nn.Module) -> bool:
    if isinstance(module, ClassConditionalNorm2d | LatentNorm2d):
        return isinstance(module.norm, _BatchNorm)
    return isinstance(module, SelfModulatedBatchNorm2d) or (isinstance(module, _BatchNorm) and module.weight is not None)


def _initialise(norm: nn.Module, scale: float) -> None:
    match norm:
        case SelfModulatedBatchNorm2d():
            norm.scale.bias.fill_(scale)
            norm.scale.weight.mul_(scale)
            norm.shift.bias.zero_()
        case LatentNorm2d():
            norm.mean_scale = scale
        case ClassConditionalNorm2d():
            _fill(norm.scale.weight, norm.shift.weight, scale)
        case _BatchNorm():
            _fill(norm.weight, norm.bias, scale)


def _fill(gamma: Tensor, beta: Tensor | None, scale: float) -> None:
    if gamma.any():
        gamma.fill_(scale)
    if beta is not None:
        beta.zero_()


class InputBatchNorm2d(BatchNorm2d):
    r"""BatchNorm of the images before a network, instead of standardisation with the data set's mean and deviation.

    .. math:: y = \gamma\, \mathrm{BN}(x), \qquad \gamma = 0.58\,\gamma_0 \;\text{ at the start}

    There is no shift. The images get the standard deviation of the features inside the network: that of a rectified normal variable, times
    the initial scale :math:`\gamma_0` of the other norms. Input and result [B, C, H, W]; the scale is learned, ``bias`` is constant 0.

    Args:
        num_features: C, the colours.
        scale: the other norms' initial scale.

    """

    def __init__(self, num_features: int = 3, *, scale: float = SCALE, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum)
        nn.init.constant_(self.weight, scale * RECTIFIED_DEVIATION)
        self.bias.requires_grad_(False)
