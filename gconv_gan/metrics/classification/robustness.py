"""Accuracy on perturbed images: Gaussian noise, FGSM, PGD."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.layers.lipschitz.conv_norm import cached_spectra
from gconv_gan.metrics.classification.attacks import fgsm, gaussian_noise, pgd, uniform_noise
from gconv_gan.runtime.modes import evaluating, full_precision
from gconv_gan.runtime.precision import float32_arithmetic

Images = Float[Tensor, "b 3 s s"]
Change = Callable[[Images, Int64[Tensor, " b"], int], Images]
"""``change(images, labels, first) -> images``; ``first`` is the index of the first image in the test set."""

PGD_STEPS = 20
PGD_STEP = 2  # in 255ths


def robustness(
    network: nn.Module,
    data: HeldOut,
    *,
    gaussian: Sequence[float] = (),
    fgsm_epsilons: Sequence[float] = (),
    pgd_epsilons: Sequence[float] = (),
    seed: int = 0,
    batch_size: int = 250,
) -> dict[str, float]:
    """Return the accuracy on ``data`` under each perturbation, by name: "gaussian 0.1", "fgsm 8/255", "pgd20 8/255".

    Args:
        network: images in [-1, 1] -> logits.
        data: the images.
        gaussian: deviations of the noise, in units of the pixel range [0, 1].
        fgsm_epsilons: ε in 255ths.
        pgd_epsilons: ε in 255ths; 20 steps of 2/255 from a uniform start.
        seed: seed of the noise and of PGD's start; image i's depends on (seed, i) alone.
        batch_size: images per forward pass.

    """
    changes: dict[str, Change] = {
        **{f"gaussian {deviation:g}": _noisy(deviation, seed) for deviation in gaussian},
        **{f"fgsm {epsilon:g}/255": _fgsm(network, epsilon / 255) for epsilon in fgsm_epsilons},
        **{f"pgd{PGD_STEPS} {epsilon:g}/255": _pgd(network, epsilon / 255, seed) for epsilon in pgd_epsilons},
    }
    return {name: accuracy_under(network, data, change, batch_size=batch_size) for name, change in changes.items()}


def _noisy(deviation: float, seed: int) -> Change:
    return lambda x, _labels, first: gaussian_noise(x, deviation=deviation, seed=seed, first=first)


def _fgsm(network: nn.Module, epsilon: float) -> Change:
    return lambda x, labels, _first: fgsm(network, x, labels, epsilon=epsilon)


def _pgd(network: nn.Module, epsilon: float, seed: int) -> Change:
    def change(x: Images, labels: Int64[Tensor, " b"], first: int) -> Images:
        noise = uniform_noise(seed, first, x).to(x)
        return pgd(network, x, labels, epsilon=epsilon, step=PGD_STEP / 255, steps=PGD_STEPS, noise=noise)

    return change


def accuracy_under(network: nn.Module, data: HeldOut, change: Change, *, batch_size: int = 250) -> float:
    """Return the share of the perturbed images that the network classifies correctly, in evaluation mode."""
    device = next(network.parameters()).device
    right = first = 0
    with evaluating(network), cached_spectra(), full_precision(network), float32_arithmetic(device):
        for images, truth in data.batches(batch_size):
            x, labels = images.to(device), truth.to(device)
            changed = change(x, labels, first)
            with torch.no_grad():
                right += int((network(changed).argmax(1) == labels).sum())
            first += len(images)
    return right / len(data)
