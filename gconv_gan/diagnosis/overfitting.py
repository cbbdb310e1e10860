"""The discriminator's overfitting during training: its logits on images that are not trained on, beside those on training images."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import nn

from gconv_gan.data.device_images import gather
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.diagnosis.evidence import Logits
from gconv_gan.diagnosis.measure import Pictures, logits
from gconv_gan.gallery.latents import Sheet, random_sheet
from gconv_gan.gallery.trained_generator import generate
from gconv_gan.losses.objective import Objective

COUNT = 256
"""Images of each kind: three forward passes of the discriminator on so many take a status line."""
ERRORS = 3
"""Standard errors by which the means on training and generated images have to differ."""


def overfitting(found: Logits) -> float | None:
    r"""Return :math:`r_v = (E D(\text{train}) - E D(\text{hold-out})) / (E D(\text{train}) - E D(\text{fake}))` (arXiv 2006.06676).

    It is shift- and scale-invariant, so it is defined for every loss. 0: held-out images count as real; 1: they count as generated.

    Returns:
        None where the denominator is not above three standard errors, or no logits of held-out images are there.

    """
    gap = float(found.train.mean() - found.fake.mean())
    error = math.sqrt(float(found.train.var() / len(found.train) + found.fake.var() / len(found.fake)))
    if found.held_out is None or gap <= ERRORS * error:
        return None
    return float(found.train.mean() - found.held_out.mean()) / gap


@dataclass(frozen=True)
class OverfittingProbe:
    """Measures the overfitting on fixed images and latents; a call changes nothing of the run."""

    train: Pictures
    held_out: Pictures
    sheet: Sheet

    def __call__(self, generator: nn.Module, discriminator: nn.Module, objective: Objective) -> dict[str, float]:
        """Return "d_held_out", the mean logit of held-out images, and "overfitting", r_v, where it is defined.

        Both networks are in evaluation mode, and images augmented as in training, as the doctor has them.
        """
        fake = Pictures(generate(generator, self.sheet.z, self.sheet.y), self.sheet.y)
        found = logits(discriminator, objective, self.train, fake, self.held_out)
        assert found.held_out is not None
        share = overfitting(found)
        return {"d_held_out": float(found.held_out.mean()), **({} if share is None else {"overfitting": share})}


def pictures(dataset: ImageDataset, rows: Int64[np.ndarray, " n"], *, count: int, labelled: bool) -> Pictures:
    """Return ``count`` images, evenly spaced among the numbers ``rows``, and their labels where those are wanted."""
    count = min(count, len(rows))
    chosen = torch.from_numpy(rows)[torch.arange(count) * len(rows) // count]
    labels = torch.from_numpy(dataset.labels.copy())[chosen] if labelled and dataset.labels is not None else None
    return Pictures(gather(dataset.images, chosen), labels)


def probe(
    dataset: ImageDataset,
    training: Int64[np.ndarray, " n"],
    held_out: Int64[np.ndarray, " m"],
    *,
    latent_dim: int,
    num_classes: int | None,
) -> OverfittingProbe:
    """Return the probe of a run that trains on the images ``training`` of a set and not on those of ``held_out``."""
    labelled = num_classes is not None
    train, others = (pictures(dataset, rows, count=COUNT, labelled=labelled) for rows in (training, held_out))
    return OverfittingProbe(train, others, random_sheet(0, "overfitting", count=COUNT, latent_dim=latent_dim, num_classes=num_classes))
