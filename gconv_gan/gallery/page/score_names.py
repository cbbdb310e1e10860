"""Names of the scores on a page; some differ if the features are not those of Inception."""

from collections.abc import Collection

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
LOWER_IS_BETTER = (
    *("fid", "fd", "kid_mean", "intra_fid", "intra_fd", "fid_infinity", "fd_infinity"),
    *("mind", "mind_debiased", "monge_distance", "monge_distance_debiased", "cmmd", "cmmd_biased", "mmd", "mmd_biased"),
    *("loss", "calibration_error"),
)


def keys_of(scores: Collection[str]) -> list[str]:
    """Return the keys to show, without standard deviations: those with a name in the order of ``NAMES``, then those of plug-ins."""
    return [key for key in NAMES if key in scores] + [key for key in scores if key not in NAMES and key not in SPREADS.values()]


def score_name(key: str, beside: Collection[str]) -> str:
    """Return the words for the score ``key``, given the keys of all scores of its card: "fd" among them means other features."""
    name = NAMES.get(key, key)
    return OTHER_FEATURES.get(key, name) if "fd" in beside else name


def direction(key: str) -> str:
    """Return whether lower or higher is better, in words that follow the name; "" for the score of a plug-in."""
    if key not in NAMES:
        return ""
    return ", lower is better" if key in LOWER_IS_BETTER else ", higher is better"
