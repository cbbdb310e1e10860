"""A small network on a few images: the largest eigenvalue of batches, and the largest learning rate that still trains, by batch size."""

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from gconv_gan.config.base import Config
from gconv_gan.experiments.paired import paired_test
from gconv_gan.optim.batch_spectrum import batch_extreme, effective_batch, noise_of_products
from gconv_gan.optim.lanczos import hessian_product, lanczos
from gconv_gan.runtime.random import Stream

HIDDEN = (48, 32)
CLASSES = 10
TRAINING_STEPS, TRAINING_BATCH, TRAINING_RATE = 150, 64, 0.1
LANCZOS_STEPS, BATCHES = 12, 10
BROADENING_SIZES = (4, 8, 16, 32, 64, 128, 256)
RATE_SIZES = (4, 8, 16, 32, 64, 128, 256, 512)
GROWING = (4, 64)
"""Batch sizes between which the slope is fitted, both included."""
STEPS, REACHED = 120, 1.2
GRID = 2**0.25
OptimizerName = Literal["sgd", "adam"]
GRIDS: dict[OptimizerName, tuple[int, int]] = {"sgd": (-6, 3), "adam": (-10, -1)}
"""Exponents of 2 between which learning rates are tried, four an octave."""

Weights = list[Float[Tensor, "r _ _"]]
"""Weight matrices of r networks at once; the last row of each is the bias."""


class Images:
    """Images as vectors, with labels."""

    def __init__(self, pixels: Float[Tensor, "n i"], labels: Int[Tensor, " n"]) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, count: int, *, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield ``count`` random batches without repetition within a batch."""
        stream = Stream(seed, f"batches/{size}")
        for step in range(count):
            chosen = stream.permutation(step, len(self))[:size]
            yield self.pixels[chosen], self.labels[chosen]


def initial_weights(inputs: int, *, seed: int, replicas: int = 1) -> Weights:
    """Return torch's initial weights of the linear layers, uniform in ±1/√inputs, the same for all replicas."""
    stream, widths = Stream(seed, "weights"), (inputs, *HIDDEN, CLASSES)
    found = []
    for layer, (i, o) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        uniform = stream.uniform(layer, torch.zeros(1, dtype=torch.int64), i + 1, o) * 2 - 1
        found.append((uniform / math.sqrt(i)).repeat(replicas, 1, 1).requires_grad_())
    return found


def losses(weights: Weights, pixels: Float[Tensor, "b i"], labels: Int[Tensor, " b"]) -> Float[Tensor, " r"]:
    """Return the cross-entropy of every replica of a ReLU network."""
    replicas = len(weights[0])
    x = pixels.expand(replicas, -1, -1)
    for index, weight in enumerate(weights):
        x = torch.baddbmm(weight[:, -1:], F.relu(x) if index else x, weight[:, :-1])
    return F.cross_entropy(x.flatten(0, 1), labels.repeat(replicas), reduction="none").view(replicas, -1).mean(1)


class Broadening(Config):
    """Largest eigenvalues of one seed."""

    whole: float
    """Largest eigenvalue of the Hessian on all images."""
    by_size: dict[int, tuple[float, ...]]
    """Batch size -> largest eigenvalue of each batch."""
    noise: float
    """The noise pσ², estimated from single images."""
    predicted: dict[int, float]
    """Batch size -> prediction of Theorem 4 from ``whole`` and ``noise``."""


def broadening(images: Images, *, seed: int) -> Broadening:
    """Return the largest eigenvalue of the Hessian on batches of several sizes, of a network after 150 steps of SGD."""
    weights = initial_weights(images.pixels.shape[1], seed=seed)
    optimizer = torch.optim.SGD(weights, TRAINING_RATE)
    for pixels, labels in images.batches(TRAINING_BATCH, TRAINING_STEPS, seed=seed):
        optimizer.zero_grad()
        torch.autograd.backward(losses(weights, pixels, labels).sum())
        optimizer.step()
    count = sum(weight.numel() for weight in weights)
    starts = Stream(seed, "lanczos").normal(0, torch.arange(BATCHES), count)

    def largest(pixels: Tensor, labels: Tensor, start: Tensor) -> float:
        return float(lanczos(hessian_product(losses(weights, pixels, labels).sum(), weights), start, LANCZOS_STEPS).values[-1])

    whole = largest(images.pixels, images.labels, starts[0])
    by_size = {
        size: tuple(largest(*batch, start) for batch, start in zip(images.batches(size, BATCHES, seed=seed + 1000), starts, strict=True))
        for size in BROADENING_SIZES
    }
    singles = list(images.batches(1, 200, seed=seed + 2000))
    unit = starts[0] / starts[0].norm()
    noise = noise_of_products([hessian_product(losses(weights, *one).sum(), weights)(unit) for one in singles])
    predicted = {size: batch_extreme(whole, noise, effective_batch(float(size), float(len(images)))) for size in BROADENING_SIZES}
    return Broadening(whole=whole, by_size=by_size, noise=noise, predicted=predicted)


def rate_grid(optimizer: OptimizerName) -> list[float]:
    """Return the learning rates of the search."""
    low, high = GRIDS[optimizer]
    return [2.0**low * GRID**index for index in range(4 * (high - low) + 1)]


def largest_rate(images: Images, optimizer: OptimizerName, size: int, *, seed: int) -> float | None:
    """Return the largest learning rate with which the loss on all images is below 1.2 at any tenth of 120 steps; None: with no rate."""
    rates = torch.tensor(rate_grid(optimizer))
    weights = initial_weights(images.pixels.shape[1], seed=seed, replicas=len(rates))
    reached = torch.zeros(len(rates), dtype=torch.bool)
    first, second = ([torch.zeros_like(weight) for weight in weights] for _ in range(2))
    for step, (pixels, labels) in enumerate(images.batches(size, STEPS, seed=seed), 1):
        gradients = torch.autograd.grad(losses(weights, pixels, labels).sum(), weights)
        with torch.no_grad():
            for weight, gradient, mean, square in zip(weights, gradients, first, second, strict=True):
                if optimizer == "adam":
                    mean.lerp_(gradient, 0.1)
                    square.lerp_(gradient**2, 0.001)
                    gradient = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
                weight -= rates[:, None, None] * gradient
            if step % 10 == 0:
                reached |= losses(weights, images.pixels, images.labels) < REACHED  # false for NaN
    return float(rates[reached].max()) if reached.any() else None


class Growth(Config):
    """The largest learning rates of an optimiser, and how they grow with the batch."""

    by_size: dict[int, tuple[float | None, ...]]
    """Batch size -> largest learning rate of each seed; None: no learning rate trained."""
    slopes: tuple[float, ...]
    """d ln α_max / d ln B between the sizes of ``GROWING``, one per seed."""
    slope: float
    interval: tuple[float, float]
    """95 % confidence interval of the mean slope, by Student's t over seeds."""


def growth(by_size: dict[int, tuple[float | None, ...]]) -> Growth:
    """Return the slopes of the largest learning rates, over the sizes of a seed that have one."""
    slopes = []
    for rates in zip(*(by_size[size] for size in by_size if GROWING[0] <= size <= GROWING[1]), strict=True):
        pairs = np.array([(size, rate) for size, rate in zip(by_size, rates, strict=False) if rate is not None])
        slopes.append(float(np.polyfit(np.log(pairs[:, 0]), np.log(pairs[:, 1]), 1)[0]))
    test = paired_test(slopes)
    return Growth(by_size=by_size, slopes=tuple(slopes), slope=test.mean, interval=test.interval)
