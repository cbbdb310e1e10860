"""Wrong labels, on purpose: the standard test of how much a network memorises."""

import numpy as np
import torch
from jaxtyping import Int64

from gconv_gan.runtime.seeding import generator_for


def symmetric_noise(labels: Int64[np.ndarray, " n"], *, fraction: float, num_classes: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Return a copy of ``labels`` in which exactly round(fraction · n) are wrong, each uniform over the *other* classes.

    The transition matrix is 1 - p on the diagonal and p / (k - 1) elsewhere. Papers that draw the new label from all k classes
    call p what is p (k - 1) / k here: their 40 % of ten classes is our 36 %. Which labels, and which classes, depend on
    ``seed`` alone.

    Raises:
        ValueError: a fraction outside [0, 1], or fewer than two classes.

    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a share from 0 to 1, not {fraction}")
    if num_classes < 2:
        raise ValueError("one class has no wrong label")
    generator = generator_for(seed, "label_noise", 0)
    count = round(fraction * len(labels))
    chosen = torch.randperm(len(labels), generator=generator)[:count].numpy()
    steps = torch.randint(1, num_classes, (count,), generator=generator).numpy()
    noisy = labels.copy()
    noisy[chosen] = (noisy[chosen] + steps) % num_classes
    return noisy
