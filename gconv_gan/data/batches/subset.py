"""Stratified parts of a data set: held-out images, and training on a fraction."""

import numpy as np
from jaxtyping import Int64

from gconv_gan.runtime.random import Stream


def stratified(
    labels: Int64[np.ndarray, " n"], indices: Int64[np.ndarray, " m"], *, fraction: float, seed: int, stream: str
) -> tuple[Int64[np.ndarray, " a"], Int64[np.ndarray, " b"]]:
    """Return a part of ``indices`` with round(fraction · members) of every class, and the rest; both in increasing order.

    The choice of members depends on (seed, stream) and the labels alone.

    Raises:
        ValueError: a fraction outside [0, 1].

    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction is a share from 0 to 1, not {fraction}")
    taken = np.zeros(len(indices), dtype=bool)
    for label in np.unique(labels[indices]):
        members = np.flatnonzero(labels[indices] == label)
        order = Stream(seed, stream).permutation(0, len(members), index=int(label)).numpy()
        taken[members[order[: round(fraction * len(members))]]] = True
    return indices[taken], indices[~taken]
