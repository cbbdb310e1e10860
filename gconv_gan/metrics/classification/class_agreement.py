"""Class agreement: the share of generated images that a classifier of real images assigns to the requested class."""

from dataclasses import dataclass

import torch
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.sources import BLOCK, FakeSource


@dataclass(frozen=True)
class ClassAgreement:
    """Share of images whose requested class has the classifier's largest logit: over all, and of each class."""

    share: float
    per_class: tuple[float, ...]
    num_fake: int


@torch.no_grad()
def class_agreement(generator: nn.Module, classifier: Extractor, *, num_fake: int, seed: int) -> ClassAgreement:
    """Return mean over i of [argmax_k logit_k(G(z_i, y_i)) = y_i], z_i and y_i as ``FakeSource`` draws them from ``seed``.

    Raises:
        UserError: the generator is unconditional, the classifier has other classes, or a class was never drawn.

    """
    source = FakeSource(generator, count=num_fake, seed=seed, device=next(generator.parameters()).device)
    if source.num_classes is None:
        raise UserError("the generator is unconditional: it has no classes to compare")
    if source.num_classes != classifier.num_logits:
        raise UserError(f"the generator has {source.num_classes} classes, but the classifier {classifier.name} has {classifier.num_logits}")
    asked, seen = [], []
    for block in range(-(-num_fake // BLOCK)):
        images, labels = source.block(block), source.block_labels(block)
        assert labels is not None
        asked.append(labels)
        seen += [classifier(part)[1].argmax(1) for part in torch.split(images, 64)]
    y = torch.cat(asked)
    hits = y == torch.cat(seen).cpu()
    counts = torch.bincount(y, minlength=source.num_classes)
    if (counts == 0).any():
        raise UserError(f"{num_fake} images are too few: class {int((counts == 0).nonzero()[0])} was never drawn")
    shares = torch.bincount(y, weights=hits.double(), minlength=source.num_classes) / counts
    return ClassAgreement(hits.double().mean().item(), tuple(shares.tolist()), num_fake)
