"""Perturbations of images for robustness tests: adversarial attacks (FGSM, PGD) and Gaussian noise.

Perturbation sizes are in units of the pixel range [0, 1], as papers give them (8/255); the networks' range [-1, 1] is twice as wide.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.runtime.modes import evaluating, frozen
from gconv_gan.runtime.random import Stream

Images = Float[Tensor, "b 3 s s"]


def _gradient_sign(network: nn.Module, images: Images, labels: Int[Tensor, " b"]) -> Images:
    """Return the sign of the cross-entropy's gradient with respect to the images; the parameters are frozen."""
    x = images.detach().requires_grad_(True)
    with evaluating(network), frozen(network), torch.enable_grad():
        (gradient,) = torch.autograd.grad(F.cross_entropy(network(x), labels, reduction="sum"), x)
    return gradient.sign()


def fgsm(network: nn.Module, images: Images, labels: Int[Tensor, " b"], *, epsilon: float) -> Images:
    r"""Return :math:`\mathrm{clip}(x + \varepsilon\, \mathrm{sign} \nabla_x H)` (Goodfellow et al., arXiv 1412.6572)."""
    return (images + 2 * epsilon * _gradient_sign(network, images, labels)).clamp(-1, 1)


def pgd(network: nn.Module, images: Images, labels: Int[Tensor, " b"], *, epsilon: float, step: float, steps: int, noise: Images) -> Images:
    r"""Return the images after ``steps`` signed-gradient steps, each projected back (Madry et al., arXiv 1706.06083).

    .. math:: x \leftarrow \mathrm{clip}_{[x_0 - \varepsilon,\, x_0 + \varepsilon]}\big(x + \alpha\, \mathrm{sign} \nabla_x H\big)

    The start is :math:`x_0 + \varepsilon u` with u, the ``noise``, in [-1, 1]; the result is clipped to the pixel range.
    """
    low, high = (images - 2 * epsilon).clamp(min=-1), (images + 2 * epsilon).clamp(max=1)
    x = torch.minimum(torch.maximum(images + 2 * epsilon * noise, low), high)
    for _ in range(steps):
        x = torch.minimum(torch.maximum(x + 2 * step * _gradient_sign(network, x, labels), low), high)
    return x


def uniform_noise(seed: int, first: int, like: Images) -> Images:
    """Return u in [-1, 1) of the shape of ``like``; image i's depends on (seed, ``first`` + i) alone."""
    return Stream(seed, "pgd").uniform(0, _numbers(first, like), *like.shape[1:]) * 2 - 1


def gaussian_noise(images: Images, *, deviation: float, seed: int, first: int) -> Images:
    """Return the images plus N(0, deviation²), clipped to the pixel range; image i's noise depends on (seed, ``first`` + i) alone."""
    noise = Stream(seed, "gaussian_noise").normal(0, _numbers(first, images), *images.shape[1:])
    return (images + 2 * deviation * noise.to(images)).clamp(-1, 1)


def _numbers(first: int, images: Images) -> Int[Tensor, " b"]:
    return torch.arange(first, first + len(images), device=images.device)
