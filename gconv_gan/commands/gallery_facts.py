"""The rows of a gallery page on the training of a run."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from gconv_gan.commands.train.dry_run.step_time import duration
from gconv_gan.config.base import Config
from gconv_gan.config.sections.runs import GANRunConfig

CONVOLUTION = "Generator's convolution"
"""The row on the generator's convolutions."""


def details(config: GANRunConfig, *, classes: int | None, g_steps: int, parameters: tuple[int, int]) -> dict[str, str]:
    """Return the rows on the training settings of a run; ``parameters`` are those of the generator and the discriminator.

    ``classes`` is the number of classes, None for an unconditional run.
    """
    conv, n_dis = getattr(config.generator, "conv", None), config.trainer.n_dis
    widths = (str(getattr(network, "width", "unspecified")) for network in (config.generator, config.discriminator))
    optimizers = config.generator_optimizer, config.discriminator_optimizer
    rates = " and ".join(f"{one.learning_rate:g}" for one in optimizers)
    ramp = "" if config.ema.ramp is None else f", at most {config.ema.ramp:g} times the images seen"
    methods = ", ".join(part_text(method) for method in config.methods)
    return {
        "Image size": f"{config.data.size} × {config.data.size}",
        "Classes": "unconditional" if classes is None else f"{classes:,}",
        "Networks": f"{config.generator.kind}, width {' and '.join(widths)}",
        "Parameters": f"generator {parameters[0]:,}, discriminator {parameters[1]:,}",
        CONVOLUTION: f"gconv, {conv.mode}, gates: {conv.selection}"
        if conv is not None and conv.kind == "gconv"
        else getattr(conv, "kind", "none"),
        "Discriminator's norm": config.discriminator.norm.kind,
        "Loss": config.objective.loss,
        "Gradient penalty": part_text(config.objective.penalty),
        "Augmentation": part_text(config.augment),
        "Optimisers": " and ".join(dict.fromkeys(one.kind for one in optimizers)),
        "Learning rates": f"{rates}, {part_text(config.schedule)}",
        "Batch": f"{config.trainer.batch_size}, {n_dis} discriminator step{'s' if n_dis > 1 else ''} per generator step",
        "Generator steps": f"{g_steps:,}",
        "Average of the weights": f"half-life {config.ema.half_life_images:,} images{ramp}",
        **({"Training methods": methods} if methods else {}),
        "Training seed": str(config.seed),
    }


def part_text(part: Config) -> str:
    """Return the kind of a part with those of its keys that are not at their defaults."""
    kind = str(getattr(part, "kind", "none"))
    keys = (f"{name.replace('_', ' ')} {_shown(value)}" for name, value in _changed(part).items() if name != "kind")
    return ", ".join([kind, *keys])


def _changed(part: Config) -> dict[str, object]:
    return dict(json.loads(part.model_dump_json(exclude_defaults=True)))


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return str(value.get("kind", dict(value)))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def circumstances(folder: Path, records: Sequence[Mapping[str, object]]) -> dict[str, str]:
    """Return the rows on the device, the time and the command of a run, as far as its folder tells them."""
    rows = {}
    file = folder / "versions.json"
    versions = json.loads(file.read_text()) if file.is_file() else {}
    if device := versions.get("device", versions.get("machine")):
        rows["Device"] = str(device)
    if seconds := training_seconds(records):
        rows["Time of training"] = duration(seconds)
    file = folder / "command.txt"
    if file.is_file() and (lines := file.read_text().split("\n")[:-1]):
        rows["Command"] = lines[-1]
    return rows


def training_seconds(records: Sequence[Mapping[str, object]]) -> float:
    """Return the seconds of the iterations that the training log covers, without scores, samples and checkpoints."""
    timed = [(float(str(one["images"])), float(str(one["seconds_per_kimg"]))) for one in records if "seconds_per_kimg" in one]
    return sum(((images - before) / 1000 * speed for (before, _), (images, speed) in pairwise([(0.0, 0.0), *timed])), start=0.0)
