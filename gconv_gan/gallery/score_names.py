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
    "intra_fid": "FID within classes",
    "intra_fd": "Fréchet distance within classes",
    "fid_infinity": "FID extrapolated to infinitely many images",
    "fd_infinity": "Fréchet distance extrapolated to infinitely many images",
}
OTHER_FEATURES = {"kid_mean": "Kernel distance"}
SPREADS = {"is_mean": "is_std", "kid_mean": "kid_std"}
LOWER_IS_BETTER = ("fid", "fd", "kid_mean", "intra_fid", "intra_fd", "fid_infinity", "fd_infinity")


def score_name(key: str, beside: Collection[str]) -> str:
    """Return the name of the score ``key``; the key "fd" among those of its card means features other than Inception's."""
    return OTHER_FEATURES.get(key, NAMES[key]) if "fd" in beside else NAMES[key]


def direction(key: str) -> str:
    """Return "lower is better" or "higher is better"."""
    return "lower is better" if key in LOWER_IS_BETTER else "higher is better"
