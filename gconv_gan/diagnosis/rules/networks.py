"""Rules on the weights: singular values, and running variances."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gconv_gan.diagnosis.evidence import Evidence, Spectrum
from gconv_gan.diagnosis.finding import Absent, Reading

POWER_ITERATIONS = 200
"""Discriminator steps, of one power iteration each, after which the norm of a weight at rest is known."""
NO_NETWORKS = Absent("no checkpoint was read")


def not_normalised(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest distance from 1 of the first singular value of a spectrally normalised layer of the discriminator."""
    if evidence.measured is None:
        return NO_NETWORKS
    layers = [layer for layer in evidence.measured.spectra if layer.normalised]
    if layers and evidence.images_seen < POWER_ITERATIONS * evidence.config.trainer.batch_size:
        return Absent(f"the power iteration has had fewer than {POWER_ITERATIONS} discriminator steps")
    return _largest(layers, [abs(layer.largest - 1) for layer in layers])


def growth(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest growth of a first singular value since initialisation, of layers without normalisation."""
    if evidence.measured is None:
        return NO_NETWORKS
    layers = [layer for layer in evidence.measured.spectra if not layer.normalised and layer.initial]
    if not layers:
        return Absent(evidence.measured.absent.get("initial", "no weight can be compared with its initial value"))
    return _largest(layers, [layer.largest / layer.initial for layer in layers if layer.initial])


def collapsed(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest share of singular values below a tenth of the first, over the discriminator's layers."""
    if evidence.measured is None:
        return NO_NETWORKS
    layers = [layer for layer in evidence.measured.spectra if layer.layer.startswith("discriminator.")]
    return _largest(layers, [layer.small for layer in layers])


def _largest(layers: Sequence[Spectrum], values: Sequence[float]) -> Reading | None:
    if not layers:
        return None
    value, layer = max(zip(values, layers, strict=True), key=lambda pair: pair[0])
    return Reading(value, where=layer.layer)


def least_variance(evidence: Evidence) -> Reading | Absent | None:
    """Return the smallest running variance of the averaged generator."""
    return _variance(evidence, lambda variances: float(variances.min()), smallest=True)


def variance_spread(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest running variance over the median of its layer."""
    return _variance(evidence, lambda variances: float(variances.max() / variances.median().clamp_min(1e-30)), smallest=False)


def _variance(evidence: Evidence, number: Callable[[Tensor], float], *, smallest: bool) -> Reading | Absent | None:
    if evidence.measured is None:
        return NO_NETWORKS
    if not evidence.measured.variances:
        return None
    readings = []
    for layer, variances in evidence.measured.variances.items():
        if not torch.isfinite(variances).all():
            return Reading(float("nan"), where=layer)
        readings.append(Reading(number(variances), where=layer))
    return (min if smallest else max)(readings, key=lambda reading: reading.value)
