"""The supervised loop: cross-entropy, one optimiser, accuracy on held-out images."""

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.data.loaders import BatchSource
from gconv_gan.data.transforms import to_unit
from gconv_gan.runtime.modes import evaluating
from gconv_gan.training.report import Report


def train_classifier(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    data: BatchSource,
    accelerator: Accelerator,
    report: Report,
    *,
    total_images: int,
    log_every: int,
) -> None:
    """Minimise the cross-entropy of ``network`` over ``total_images`` images of ``data``; ``report`` a line every ``log_every``."""
    parallel = accelerator.prepare(network)
    report.start(0)
    for seen in range(0, total_images, data.batch_size):
        images, labels = data.batch(seen)
        assert labels is not None
        logits = parallel(images)
        loss = F.cross_entropy(logits, labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        report.add({"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == labels).float().mean()})
        report.advance(data.batch_size)
        after = seen + data.batch_size
        if after // log_every > seen // log_every:
            report.line(after)
    report.close()


@torch.no_grad()
def accuracy(network: nn.Module, dataset: ImageDataset, *, batch_size: int = 512) -> float:
    """Return the share of ``dataset`` whose label has the largest logit, in evaluation mode."""
    assert dataset.labels is not None
    device, labels = next(network.parameters()).device, torch.from_numpy(dataset.labels.copy())
    hits: list[Tensor] = []
    with evaluating(network):
        for start in range(0, len(dataset), batch_size):
            images = torch.from_numpy(dataset.images[start : start + batch_size].copy())
            hits.append(network(to_unit(images).to(device)).argmax(1).cpu() == labels[start : start + batch_size])
    return torch.cat(hits).float().mean().item()
