"""Costs and scores of the arms of an ablation of GANs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from gconv_gan.commands.ablation.side_by_side import Name
from gconv_gan.commands.cost.speed_record import measured
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.networks import load_run
from gconv_gan.commands.train.training_score import CARDS
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.claims import ArmResult
from gconv_gan.metrics.cost import counts
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import checkpoints


def arm_costs(config: GANRunConfig, dataset: ImageDataset) -> dict[str, Any]:
    """Return parameters and MACs per image of an arm's generator, and seconds and memory of an iteration of it alone."""
    accelerator = build_accelerator(config)
    found = measured("", config, config.trainer.engine, "tf32", dataset, accelerator, seconds=0.0)
    memory = round(found.peak_gib * 2**30)
    return {"parameters": found.parameters, "macs": found.generator_macs, "step_seconds": found.milliseconds / 1000, "memory": memory}


def arm_result(runs: Mapping[Name, GANRunConfig], arm: str, seeds: Sequence[int], images: int, costs: Mapping[str, Any]) -> ArmResult:
    """Return sizes and scores of an arm's runs at ``images`` images and before; a run without scores ended by non-finite numbers.

    Where training methods changed the structure of generators, the sizes are means over the changed ones.
    """
    curves = {seed: _curve(runs[arm, seed]) for seed in seeds}
    scores = {seed: curve[images] for seed, curve in curves.items() if images in curve}
    costs = {**costs, **_changed_sizes([runs[arm, seed] for seed in seeds])}
    return ArmResult(**costs, scores=scores, diverged=tuple(seed for seed in seeds if seed not in scores), curves=curves)


def _changed_sizes(configs: Sequence[GANRunConfig]) -> dict[str, int]:
    """Return mean "parameters" and "macs" of the newest generators whose structure was changed; nothing if there is none."""
    found = []
    for config in configs:
        folder = Path(config.runs_dir) / config.name
        if checkpoints(folder) and (run := load_run(folder)).changes:
            y = None if run.num_classes is None else torch.zeros(2, dtype=torch.long)
            found.append(counts(run.generator().requires_grad_(), torch.zeros(2, config.generator.latent_dim), y))
    if not found:
        return {}
    return {"parameters": round(fmean(size.parameters for size in found)), "macs": round(fmean(size.macs for size in found))}


def _curve(config: GANRunConfig) -> dict[int, dict[str, float]]:
    """Return the scores of a run during training: images -> name -> score."""
    folder = RunFolder(Path(config.runs_dir) / config.name).scores / CARDS
    cards = {int(file.stem): json.loads(file.read_text())["scores"] for file in folder.glob("*.json")}
    return {images: {name: float(value) for name, value in cards[images].items()} for images in sorted(cards) if images}
