"""Names of the scores on a page; some differ if the features are not those of Inception."""

from collections.abc import Collection
from typing import Literal

NAMES = {
    "fid": "FID",
    "fd": "Fréchet distance",
    "is_mean": "Inception Score",
    "kid_mean": "KID",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "intra_fid": "Intra-class FID",
    "intra_fd": "Intra-class Fréchet distance",
    "fid_infinity": "FID∞, extrapolated to infinitely many images",
    "fd_infinity": "Fréchet distance, extrapolated to infinitely many images",
    "mind": "MIND",
    "mind_debiased": "MIND, debiased",
    "monge_distance": "Monge distance",
    "monge_distance_debiased": "Monge distance, debiased",
    "cmmd": "CMMD",
    "cmmd_biased": "CMMD, biased estimate",
    "mmd": "MMD, Gaussian kernel",
    "mmd_biased": "MMD, Gaussian kernel, biased estimate",
    "clipped_density": "Clipped Density",
    "clipped_density_raw": "Clipped Density, not limited to 1",
    "clipped_coverage": "Clipped Coverage",
    "f_score": "F-score of precision and recall",
    "accuracy": "Accuracy",
    "top5": "Top-5 accuracy",
    "loss": "Loss",
    "calibration_error": "Calibration error",
    "accuracy_gaussian": "Accuracy under noise",
    "accuracy_fgsm": "Accuracy under FGSM",
    "accuracy_pgd": "Accuracy under PGD",
}
OTHER_FEATURES = {"kid_mean": "Kernel distance"}
SPREADS = {"is_mean": "is_std", "kid_mean": "kid_std"}
Direction = Literal["lower", "higher"]
"""Which way a score is better."""


def keys_of(scores: Collection[str]) -> list[str]:
    """Return the keys to show, without standard deviations: those with a name in the order of ``NAMES``, then those of plug-ins."""
    return [key for key in NAMES if key in scores] + [key for key in scores if key not in NAMES and key not in SPREADS.values()]


def score_name(key: str, beside: Collection[str]) -> str:
    """Return the words for the score ``key``, given the keys of all scores of its card: "fd" among them means other features."""
    name = NAMES.get(key, key)
    return OTHER_FEATURES.get(key, name) if "fd" in beside else name


def direction(key: str, lower_is_better: Collection[str], known: Collection[str] = NAMES) -> Direction | None:
    """Return which way a score is better: of ``known`` keys, those that are not among ``lower_is_better`` are better high; else None."""
    if key in lower_is_better:
        return "lower"
    return "higher" if key in known else None


def in_words(direction: Direction | None) -> str:
    """Return a direction as words that follow the name of a score; "" for an unknown one."""
    return "" if direction is None else f", {direction} is better"
