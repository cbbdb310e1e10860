"""Label noise, the standard test of memorisation."""

import numpy as np
from jaxtyping import Int64

from gconv_gan.runtime.random import Stream


def symmetric_noise(labels: Int64[np.ndarray, " n"], *, fraction: float, num_classes: int, seed: int) -> Int64[np.ndarray, " n"]:
    """Return a copy of ``labels`` in which exactly round(fraction · n) are wrong, each uniform over the *other* classes.

    The transition matrix is 1 - p on the diagonal and p / (k - 1) elsewhere. Papers that draw the new label from all k classes
    use p for p (k - 1) / k in this definition: their 40 % of ten classes are 36 % here. The choice of labels and classes depends on
    ``seed`` alone.

    Raises:
        ValueError: a fraction outside [0, 1], or fewer than two classes.

    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a share from 0 to 1, not {fraction}")
    if num_classes < 2:
        raise ValueError("one class has no wrong label")
    chosen = Stream(seed, "label_noise").permutation(0, len(labels))[: round(fraction * len(labels))]
    steps = 1 + Stream(seed, "label_noise/steps").integers(0, chosen, below=num_classes - 1).numpy()
    noisy = labels.copy()
    noisy[chosen.numpy()] = (noisy[chosen.numpy()] + steps) % num_classes
    return noisy
