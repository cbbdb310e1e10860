"""The network of a classifier run: new, or with the weights of another run, and the description that rebuilds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.data.device_images import gather
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.metrics.extractors.trained_classifier import DESCRIPTION, TENSORS, describe, load_classifier
from gconv_gan.metrics.extractors.weights import sha256_of
from gconv_gan.models.changes import rebuild
from gconv_gan.models.classifiers.parts.standardised import Standardised
from gconv_gan.models.factory import build_classifier_network
from gconv_gan.runtime.random import stream_seed


@dataclass(frozen=True)
class Built:
    """A new network and the description that rebuilds it."""

    network: nn.Module
    description: dict[str, Any]


def build_network(config: ClassifierRunConfig, dataset: ImageDataset, training: Int64[np.ndarray, " n"]) -> Built:
    """Return the network, initialised from the run's seed: equal on every process, without a broadcast."""
    network, origin = new_network(config, len(dataset.classes))
    description = describe(config.network, image_size=config.image_size, classes=dataset.classes) | origin
    if config.standardise:
        mean, deviation = channel_statistics(dataset, training)
        description["standardise"] = {"mean": mean, "deviation": deviation}
        network = Standardised(network, mean=mean, deviation=deviation)
    return Built(network, description)


def new_network(config: ClassifierRunConfig, num_classes: int) -> tuple[nn.Module, dict[str, Any]]:
    """Return the bare network and what its description says of the origin of its weights; nothing where the run's seed draws them."""
    with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
        torch.manual_seed(stream_seed(config.seed, "networks", 0))
        network = build_classifier_network(config.network, num_classes=num_classes, image_size=config.image_size)
    return network, {} if config.start_from is None else start_from(Path(config.start_from), network, standardise=config.standardise)


def start_from(folder: Path, network: nn.Module, *, standardise: bool) -> dict[str, Any]:
    """Copy every weight but the head's of the classifier in ``folder`` into ``network``, which takes over changes of structure.

    Returns:
        ``start_from``: path and hash of the weights' file; ``methods``: records of the changes, where there are some.

    Raises:
        UserError: there is no trained classifier, it is another network, or its changes were made behind another input than the
            run's, which ``standardise`` says.

    """
    trained, fields = load_classifier(folder)
    records = fields.get("methods", [])
    if records and isinstance(trained, Standardised) != standardise:
        raise UserError(
            f"start_from: a training method changed the network in {folder}, which has standardise = {str(not standardise).lower()}: "
            "set the same here"
        )
    # records name the layers of the whole network, with its standardisation
    whole = Standardised(network, **fields["standardise"]) if standardise and records else network
    rebuild("classifier", whole, records, source=folder / DESCRIPTION)
    tensors = (trained.network if isinstance(trained, Standardised) else trained).state_dict()
    trunk = {name: tensor for name, tensor in tensors.items() if not _is_head(name)}
    expected = {name: tensor for name, tensor in network.state_dict().items() if not _is_head(name)}
    unlike = sorted(trunk.keys() ^ expected.keys()) or [name for name in trunk if trunk[name].shape != expected[name].shape]
    if unlike:
        raise UserError(f"start_from: {folder} holds another network than this run's: {unlike[0]} differs")
    network.load_state_dict(trunk, strict=False)
    origin = {"path": str(folder), "sha256": sha256_of(folder / TENSORS)}
    return {"start_from": origin, **({"methods": records} if records else {})}


def _is_head(name: str) -> bool:
    return name.removeprefix("network.").startswith("head.")


def channel_statistics(dataset: ImageDataset, training: Int64[np.ndarray, " n"]) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each colour channel in [-1, 1], over at most 10,000 evenly spaced training images."""
    chosen = training[np.arange(min(len(training), 10_000)) * len(training) // min(len(training), 10_000)]
    sums, squares = np.zeros(3), np.zeros(3)
    for start in range(0, len(chosen), 1000):
        pixels = gather(dataset.images, torch.from_numpy(chosen[start : start + 1000])).numpy().astype(np.float64) / 127.5 - 1
        sums, squares = sums + pixels.sum((0, 2, 3)), squares + (pixels**2).sum((0, 2, 3))
    count = len(chosen) * dataset.manifest.size**2
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-8))
    return [round(float(x), 6) for x in mean], [round(float(x), 6) for x in deviation]
