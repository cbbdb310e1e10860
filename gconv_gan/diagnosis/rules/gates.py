"""Rules on the gates of convolutions whose kernels are selected by the latent vector."""

from collections.abc import Callable

from gconv_gan.diagnosis.evidence import Evidence, LayerGates
from gconv_gan.diagnosis.finding import Absent, Reading

BEGUN = 0.1
"""Share of the run before which gates need not depend on the latent vector."""
INFORMATION = 0.01
"""Below this share the gates of a layer carry no information on the latent vector."""


def constant(evidence: Evidence) -> Reading | Absent | None:
    r"""Return the smallest variance of a layer's gates over the latents, among layers with information share below 0.01.

    The information share is I = B − H, the mutual information of latent vector and kernel over log n.
    """
    if evidence.images_seen < BEGUN * evidence.config.trainer.total_images:
        return Absent("less than 10 % of the run is trained")
    if evidence.measured is None:
        return _logged(evidence)
    layers = evidence.measured.gates
    ignorant = [layer for layer in layers if layer.balance - layer.entropy < INFORMATION]
    worst = min(ignorant or layers, key=lambda layer: layer.variance, default=None)
    return None if worst is None else Reading(worst.variance, where=worst.layer, healthy=not ignorant)


def _logged(evidence: Evidence) -> Reading | Absent | None:
    """Return the mean of all layers that the last line logged."""
    variance, information = evidence.series("gate_variance"), evidence.series("gate_information")
    if not variance or not information:
        return None
    return Reading(max(value for _, value in variance[-2:]), healthy=information[-1][1] >= INFORMATION)


def saturated(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest share of gates at an end of their range; of a softmax 1 − H. Under top_m gates are closed by design."""
    return _worst(
        evidence, [layer for layer in _layers(evidence) if layer.selection != "top_m"], lambda layer: Reading(_saturation(layer)), max
    )


def _saturation(layer: LayerGates) -> float:
    return 1 - layer.entropy if layer.selection == "softmax" else max(layer.at_ends, 1 - layer.entropy)


def dead(evidence: Evidence) -> Reading | Absent | None:
    """Return the smallest mean gate of a kernel over that of the most used one, in layers of balance below one half."""
    uneven = [layer for layer in _layers(evidence) if layer.balance < 0.5]
    layers = uneven or _layers(evidence)
    return _worst(evidence, layers, lambda layer: Reading(layer.least, healthy=not uneven), min)


def copies(evidence: Evidence) -> Reading | Absent | None:
    """Return the largest mean cosine between the kernels of a layer."""
    layers = [layer for layer in _layers(evidence) if layer.similarity is not None]
    return _worst(evidence, layers, lambda layer: Reading(layer.similarity or 0.0), max)


def _layers(evidence: Evidence) -> list[LayerGates]:
    return [] if evidence.measured is None else list(evidence.measured.gates)


def _worst(
    evidence: Evidence, layers: list[LayerGates], read: Callable[[LayerGates], Reading], choose: Callable[..., LayerGates]
) -> Reading | Absent | None:
    if evidence.measured is None:
        return Absent("no checkpoint was read")
    if not layers:
        return None
    worst = choose(layers, key=lambda layer: read(layer).value)
    reading = read(worst)
    return Reading(reading.value, where=worst.layer, healthy=reading.healthy)
