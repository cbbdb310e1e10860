"""Stratified parts of a data set: held-out images, and training on a fraction."""

import numpy as np
from jaxtyping import Int64

from gconv_gan.data.image_dataset import ImageDataset
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


def without_held_out(dataset: ImageDataset, *, share: float, seed: int) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " m"]]:
    """Return the indices of the images that a GAN is trained on, and of those held out of training: ``share`` of every class."""
    everything = np.arange(len(dataset), dtype=np.int64)
    if share == 0:
        return everything, everything[:0]
    labels = np.zeros_like(everything) if dataset.labels is None else dataset.labels
    held_out, rest = stratified(labels, everything, fraction=share, seed=seed, stream="held_out")
    return rest, held_out
