"""Costs and scores of the arms of an ablation of GANs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gconv_gan.commands.ablation.side_by_side import Name
from gconv_gan.commands.cost.speed_record import measured
from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.training_score import CARDS
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.experiments.claims import ArmResult
from gconv_gan.runtime.run_folder import RunFolder


def arm_costs(config: GANRunConfig, dataset: ImageDataset) -> dict[str, Any]:
    """Return parameters and MACs per image of an arm's generator, and seconds and memory of an iteration of it alone."""
    accelerator = build_accelerator(config)
    found = measured("", config, config.trainer.engine, "tf32", dataset, accelerator, seconds=0.0)
    memory = round(found.peak_gib * 2**30)
    return {"parameters": found.parameters, "macs": found.generator_macs, "step_seconds": found.milliseconds / 1000, "memory": memory}


def arm_result(runs: Mapping[Name, GANRunConfig], arm: str, seeds: Sequence[int], images: int, costs: Mapping[str, Any]) -> ArmResult:
    """Return the scores of an arm's runs at ``images`` images and before; a run without these ended by non-finite numbers."""
    curves = {seed: _curve(runs[arm, seed]) for seed in seeds}
    scores = {seed: curve[images] for seed, curve in curves.items() if images in curve}
    return ArmResult(**costs, scores=scores, diverged=tuple(seed for seed in seeds if seed not in scores), curves=curves)


def _curve(config: GANRunConfig) -> dict[int, dict[str, float]]:
    """Return the scores of a run during training: images -> name -> score."""
    folder = RunFolder(Path(config.runs_dir) / config.name).scores / CARDS
    cards = {int(file.stem): json.loads(file.read_text())["scores"] for file in folder.glob("*.json")}
    return {images: {name: float(value) for name, value in cards[images].items()} for images in sorted(cards) if images}
