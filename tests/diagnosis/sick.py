"""Healthy runs, and runs made sick on purpose, on the bundled digits.

``python -m tests.diagnosis.sick [NAME …] [--out FOLDER]`` trains them (all, by default; half a minute to a minute each on two cores) and
stores the logs that show what the run suffers from as fixtures of the tests: ``tests/diagnosis/logs/NAME.jsonl``.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gconv_gan.config.load import merged, validated
from gconv_gan.config.sections.runs import GANRunConfig
from tests.training.tiny import TINY

LOGS = Path(__file__).parent / "logs"
HEALTHY: dict[str, Any] = {
    "seed": 0,
    "data": {"kind": "digits", "split": "train", "flip": False},
    "generator": {"width": 16, "latent_dim": 16, "conv": {"kind": "gconv", "mode": "dictionary"}},
    "discriminator": {"width": 16, "norm": {"kind": "spectral"}},
    "schedule": {"kind": "constant"},
    "generator_optimizer": {"learning_rate": 1e-3},
    "discriminator_optimizer": {"learning_rate": 1e-3},
    "ema": {"half_life_images": 1_500, "ramp": 0.1},
    "trainer": {
        "total_images": 32_000,
        "batch_size": 32,
        "n_dis": 1,
        "log_every": 1_600,
        "sample_every": 1_000_000_000,
        "checkpoint_every": 8_000,
        "keep_checkpoints": 3,
    },
}
RUNS: dict[str, dict[str, Any]] = {
    "healthy": {},
    "healthy_r1": {
        "objective": {"loss": "non_saturating", "penalty": {"kind": "r1", "gamma": 0.01}},
        "discriminator": {"norm": {"kind": "none"}},
        "generator": {"conv": {"kind": "plain"}},
    },
    "rate_30": {"generator_optimizer": {"learning_rate": 3e-2}, "discriminator_optimizer": {"learning_rate": 3e-2}},
    "few_images": {"data": {"kind": "folder"}},
    "n_dis_50": {"trainer": {"n_dis": 50, "total_images": 96_000, "log_every": 4_800, "checkpoint_every": 32_000}},
    "frozen_gates": {"generator": {"conv": {"temperature": 1e4}}},
    "hard_gates": {"generator": {"conv": {"temperature": 1e-3}}},
    "long_average": {"ema": {"half_life_images": 20_000, "ramp": None}},
    "strong_penalty": {"objective": {"penalty": {"kind": "r1", "gamma": 1000.0}}},
}
"""Name -> changes of the healthy run. ``few_images`` has 100 of the training images, from a folder."""

FOUND: dict[str, set[str]] = {
    "healthy": set(),
    "healthy_r1": set(),
    "rate_30": {"generator_without_gradient"},
    "few_images": {"overfitting"},
    "n_dis_50": {"discriminator_accuracy", "discriminator_loss", "separation"},
    "frozen_gates": {"gates_ignore_latent"},
    "hard_gates": {"gates_saturated"},
    "long_average": {"short_run"},
    "strong_penalty": {"penalty_large", "discriminator_learns_nothing"},
}
"""Name -> rules that must say something about the run; about a healthy run no rule does."""
LOGGED = {name: FOUND[name] - {"separation"} for name in FOUND if name not in ("few_images", "hard_gates")}
"""Rules that find it in the log alone; overfitting and saturation are measured at a checkpoint."""


def held_out_pictures(folder: Path) -> Path:
    """Write the digits that no run was trained on, and return the folder."""
    return _written(folder, [index for index in range(1797) if index % 5 == 4])


def few_pictures(folder: Path, count: int = 100) -> Path:
    """Write the first ``count`` training digits as PNG files, a folder per class, and return the folder."""
    return _written(folder, [index for index in range(1797) if index % 5 != 4][:count])


def _written(folder: Path, indices: list[int]) -> Path:
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    for index in indices:
        path = folder / str(labels[index]) / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.floor(grey[index].reshape(8, 8) * 255 / 16 + 0.5).astype(np.uint8)).save(path)
    return folder


def sick(name: str, folder: Path, **changes: Any) -> GANRunConfig:
    """Return the config of a run of ``RUNS`` in ``folder``, with further changes."""
    base = merged({key: value for key, value in TINY.items() if key not in HEALTHY}, HEALTHY)
    base = merged(base, {"name": name, "runs_dir": str(folder)})
    base = merged(base, RUNS[name])
    if base["data"]["kind"] == "folder":
        base["data"] = {"kind": "folder", "path": str(few_pictures(folder / "hundred")), "size": 8}
    base["data"]["cache_dir"] = str(folder / "cache")
    return validated(GANRunConfig, merged(base, changes), name)


def main() -> None:
    """Train the runs that the command line names, and store their logs."""
    from gconv_gan.commands.train.gan import fit

    parser = argparse.ArgumentParser(description="Train healthy and sick runs on digits, and store their logs as fixtures.")
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", default=None, help="folder in which the runs are kept; none: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.out or temporary)
        for name in options.names or RUNS:
            fit(sick(name, folder))
            if name in LOGGED:
                shutil.copy(folder / name / "metrics.jsonl", LOGS / f"{name}.jsonl")


if __name__ == "__main__":
    main()
