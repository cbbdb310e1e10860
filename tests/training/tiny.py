"""A short GAN run on the bundled digits, for tests that need a whole run."""

from pathlib import Path
from typing import Any

from gconv_gan.config.load import merged, validated
from gconv_gan.config.sections.runs import GANRunConfig

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "conditional": True,
    "data": {"kind": "digits", "split": "test", "flip": True},
    "generator": {"width": 8, "latent_dim": 6, "conv": {"kind": "gconv"}},
    "discriminator": {"width": 8},
    "schedule": {"kind": "linear"},
    "ema": {"half_life_images": 100, "ramp": 0.5},
    "trainer": {
        "total_images": 480,
        "batch_size": 16,
        "n_dis": 2,
        "log_every": 32,
        "sample_every": 10_000,
        "checkpoint_every": 160,
        "keep_checkpoints": 10,
    },
}


def tiny(folder: Path, **changes: Any) -> GANRunConfig:
    """Return the tiny run's config in ``folder`` with nested changes."""
    data = merged(TINY, {"runs_dir": str(folder), "data": {"cache_dir": str(folder / "cache")}})
    return validated(GANRunConfig, merged(data, changes), "tiny")


def toml(folder: Path, **changes: Any) -> Path:
    """Write the tiny run as a TOML file and return its path."""
    config = tiny(folder, **changes).model_dump(mode="json")
    lines: list[str] = []

    def table(values: dict[str, Any], path: str) -> None:
        if path:
            lines.append(f"[{path}]")
        for key, value in values.items():
            if not isinstance(value, dict) and value is not None:
                lines.append(f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}")
        for key, value in values.items():
            if isinstance(value, dict):
                table(value, f"{path}.{key}" if path else key)

    table(config, "")
    path = folder / "tiny.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def final_files(folder: Path, images: int = 480) -> dict[str, bytes]:
    """Return the contents of every file of the last checkpoint."""
    return {file.name: file.read_bytes() for file in sorted((folder / "tiny" / f"checkpoint-{images}").iterdir())}
