"""Measurements of the networks of a checkpoint, for the rules that need more than the log."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gconv_gan.data.reading.transforms import to_unit
from gconv_gan.diagnosis.evidence import Diversity, LayerGates, Logits, Spectrum
from gconv_gan.gallery.latents import Sheet
from gconv_gan.gallery.pictures.gates import gate_of, gate_statistics, kernel_similarity, record_gates
from gconv_gan.gallery.trained_generator import SAMPLE_BATCH
from gconv_gan.layers.lipschitz.conv_norm import has_spectral_norm
from gconv_gan.losses.objective import Objective
from gconv_gan.losses.penalties import Examples
from gconv_gan.metrics.neighbours import squared_radii
from gconv_gan.runtime.modes import evaluating

SMALL = 0.1
"""A singular value below this share of the first is small."""
LEAST_INITIAL = 1e-3
"""Initial singular values below this are those of weights that start at 0, whose growth says nothing."""
END = 0.01
"""Distance from an end of a gate's range, as a share of it, within which the gate is saturated."""


class Pictures(NamedTuple):
    """Images and their labels; None for an unconditional discriminator."""

    images: UInt8[Tensor, "n 3 s s"]
    labels: Int[Tensor, " n"] | None


@torch.no_grad()
def logits(discriminator: nn.Module, objective: Objective, train: Pictures, fake: Pictures, held_out: Pictures | None) -> Logits:
    """Return the logits of training, generated and held-out images, each augmented as in training, with random numbers of its own."""
    draws = torch.Generator().manual_seed(0)

    def of(pictures: Pictures) -> Float[Tensor, " n"]:
        images, labels = pictures
        device = next(discriminator.parameters()).device
        found = []
        with evaluating(discriminator):
            for rows in torch.split(torch.arange(len(images)), SAMPLE_BATCH):
                y = None if labels is None else labels[rows].to(device)
                numbers = None
                if objective.augment is not None:
                    numbers = torch.rand(len(rows), objective.augment.numbers_per_image, generator=draws).to(device)
                seen = objective.seen(Examples(to_unit(images[rows].to(device)), y, numbers))
                found.append(discriminator(seen, y).float().cpu())
        return torch.cat(found)

    return Logits(of(train), of(fake), None if held_out is None else of(held_out))


def deviation(images: UInt8[Tensor, "n 3 s s"]) -> float:
    """Return the standard deviation of a pixel in [0, 1] over the images, mean over pixels."""
    return float((images.double() / 255).std(0).mean())


def distances(fake: UInt8[Tensor, "n 3 s s"], real: UInt8[Tensor, "m 3 s s"]) -> Diversity:
    """Return the distances of nearest neighbours in pixels within either set, of as many images as the smaller set has."""
    count = min(len(fake), len(real))

    def nearest(images: Tensor) -> Tensor:
        flat = images[:count].flatten(1).double() / 255
        root: Tensor = (squared_radii(flat, k=1).clamp_min(0) / flat.shape[1]).sqrt()
        return root

    return Diversity(deviation(fake), nearest(fake), nearest(real))


def distances_by_class(fake: Pictures, real: Pictures, classes: Sequence[str]) -> dict[str, Diversity]:
    """Return ``distances`` within each class that has two images of either kind; nothing without labels."""
    if fake.labels is None or real.labels is None:
        return {}
    found = {}
    for label, name in enumerate(classes):
        ours, theirs = fake.images[fake.labels == label], real.images[real.labels == label]
        if min(len(ours), len(theirs)) > 1:
            found[name] = distances(ours, theirs)
    return found


def spectra(name: str, network: nn.Module, initial: nn.Module | None) -> Iterator[Spectrum]:
    """Yield the singular values of every matrix or kernel of a network in evaluation mode, beside those of the network at its start."""
    first = {} if initial is None else {layer: weight for layer, weight, _ in _weights(initial)}
    for layer, weight, normalised in _weights(network):
        values = torch.linalg.svdvals(weight.double().flatten(1))
        start = None
        if layer in first and first[layer].shape == weight.shape:
            norm = float(torch.linalg.matrix_norm(first[layer].double().flatten(1), ord=2))
            start = norm if norm >= LEAST_INITIAL else None
        largest = float(values[0])
        yield Spectrum(f"{name}.{layer}", normalised, largest, float((values < SMALL * largest).double().mean()), start)


@torch.no_grad()
def _weights(network: nn.Module) -> Iterator[tuple[str, Tensor, bool]]:
    """Yield name, value and normalisation of every parameter of at least two axes; of a parametrised layer, its effective weight."""
    for name, module in network.named_modules():
        if isinstance(module, parametrize.ParametrizationList) or ".parametrizations" in f".{name}":
            continue
        if parametrize.is_parametrized(module):
            weight = module.weight
            assert isinstance(weight, Tensor)
            yield name, weight.detach(), has_spectral_norm(module)
            continue
        for key, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and min(parameter.shape[0], parameter[0].numel()) > 1:
                yield f"{name}.{key}".removesuffix(".weight").lstrip("."), parameter.detach(), False


def running_variances(generator: nn.Module) -> dict[str, Float[Tensor, " c"]]:
    """Return the running variances of a generator by layer."""
    return {
        name.rpartition(".")[0]: buffer.detach().double().cpu().flatten()
        for name, buffer in generator.named_buffers()
        if name.endswith("running_var") and buffer.ndim
    }


def gates(generator: nn.Module, sheet: Sheet) -> Iterator[LayerGates]:
    """Yield the statistics of every layer whose gates depend on the latent vector."""
    for layer, values in record_gates(generator, sheet.z, sheet.y).items():
        gate = gate_of(generator, layer)
        if gate.constant or gate.num_gates == 1:
            continue
        statistics = gate_statistics(values)
        module = generator.get_submodule(layer)
        mean = values.mean(0)
        largest = gate.largest
        at_ends = 0.0 if largest is None else float(((values < END * largest) | (values > (1 - END) * largest)).double().mean())
        yield LayerGates(
            layer=layer,
            selection=gate.selection,
            kernels=statistics.kernels,
            entropy=statistics.entropy,
            balance=statistics.balance,
            variance=statistics.variance,
            at_ends=at_ends,
            least=float(mean.min() / mean.max().clamp_min(torch.finfo(mean.dtype).tiny)),
            similarity=kernel_similarity(module) if hasattr(module, "dictionary") or hasattr(module, "bank") else None,
        )
