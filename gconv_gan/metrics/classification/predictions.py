"""Accuracy, likelihood and calibration of a classifier, from its logits on labelled images."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from gconv_gan.data.batches.held_out import HeldOut
from gconv_gan.layers.lipschitz.conv_norm import cached_spectra
from gconv_gan.runtime.modes import evaluating, full_precision
from gconv_gan.runtime.precision import float32_arithmetic

CALIBRATION_BINS = 15


@torch.no_grad()
def predictions(
    network: nn.Module, data: HeldOut, *, batch_size: int = 250, index: int = 0, processes: int = 1
) -> tuple[Float[Tensor, "n k"], Int64[Tensor, " n"]]:
    """Return logits and labels, on the CPU, of every ``processes``-th image from ``index`` on, in evaluation mode, in exact float32."""
    device = next(network.parameters()).device
    logits: list[Tensor] = []
    labels: list[Tensor] = []
    with evaluating(network), cached_spectra(), full_precision(network), float32_arithmetic(device):
        for images, truth in data.batches(batch_size, index=index, processes=processes):
            x = images.to(device).contiguous(memory_format=torch.channels_last)
            logits.append(network(x).float().cpu())
            labels.append(truth)
    return torch.cat(logits), torch.cat(labels)


def hits(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], *, k: int = 1) -> Float[Tensor, " n"]:
    """Return 1 where the label is among the ``k`` largest logits (or all, if there are fewer than k), else 0."""
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == labels[:, None]).any(1).float()


def negative_log_likelihood(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
    r"""Return :math:`-\log p_y` of every image, in nats."""
    return F.cross_entropy(logits, labels, reduction="none")


def expected_calibration_error(logits: Float[Tensor, "n k"], labels: Int[Tensor, " n"], *, bins: int = CALIBRATION_BINS) -> float:
    r"""Return :math:`\sum_b \frac{n_b}{n} \lvert \mathrm{accuracy}_b - \mathrm{confidence}_b \rvert` over equal bins of confidence.

    Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599), equation 3;
    the confidence is the largest probability, and bin b holds ((b - 1)/B, b/B].
    """
    confidence, predicted = logits.double().softmax(1).max(1)
    correct = (predicted == labels).double()
    place = (confidence * bins).ceil().long().clamp(1, bins) - 1
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, place, correct - confidence)
    return float(gap.abs().sum() / len(labels))
