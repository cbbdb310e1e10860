"""A short classifier run on the bundled digits, with every random option switched on."""

from pathlib import Path
from typing import Any

from gconv_gan.config.load import merged, validated
from gconv_gan.config.sections.classifiers import ClassifierRunConfig

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "data": {"kind": "digits", "split": "train", "flip": True},
    "test_data": {"kind": "digits", "split": "test"},
    "split": {"validation": 0.1, "train": 0.25},
    "labels": {"noise": 0.2, "smoothing": 0.1},
    "augmentation": {"crop_padding": 1, "cutout": 2, "mixup": 0.4, "cutmix": 1.0},
    "standardise": True,
    "network": {"kind": "named", "name": "wrn_10_1", "options": {"dropout": 0.3}},
    "optimizer": {"kind": "sgd", "nesterov": True, "learning_rate": 0.05},
    "schedule": {"kind": "cosine", "warmup_images": 100},
    "average": {"half_life_images": 100, "ramp": 0.5},
    "trainer": {"total_images": 480, "batch_size": 16, "log_every": 32, "checkpoint_every": 160, "keep_checkpoints": 10},
    "evaluation": {"every": 160},
}


def tiny_classifier(folder: Path, **changes: Any) -> ClassifierRunConfig:
    """Return the tiny run's config in ``folder`` with nested changes."""
    cache = {"cache_dir": str(folder / "cache")}
    data = merged(TINY, {"runs_dir": str(folder), "data": cache, "test_data": cache})
    return validated(ClassifierRunConfig, merged(data, changes), "tiny")
