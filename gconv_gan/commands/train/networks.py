"""The two networks of a run: built from its config, or read back from its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from gconv_gan.commands.score.checkpoint_choice import choose_checkpoint
from gconv_gan.config.commands import CheckpointChoice
from gconv_gan.config.errors import UserError
from gconv_gan.config.hints import does_not_exist
from gconv_gan.config.load import load_config
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.config.sorts import require_folder_of
from gconv_gan.layers.norms.running_statistics import RunningStatistics
from gconv_gan.models.changes import Record, rebuild
from gconv_gan.models.factory import build_discriminator, build_generator
from gconv_gan.runtime.random import stream_seed
from gconv_gan.training.checkpoint import STATE, load_network

FEW_CHANNELS = 16
"""A feature map with fewer channels than this gives a warning."""


def build_networks(config: GANRunConfig, num_classes: int | None) -> tuple[nn.Module, nn.Module]:
    """Return generator and discriminator, initialised from the run's seed: equal on every process, without a broadcast.

    Raises:
        UserError: the networks do not exist, for example not for images of ``data.size``.

    """
    with torch.random.fork_rng(devices=[]):  # networks are built on the CPU
        torch.manual_seed(stream_seed(config.seed, "networks", 0))
        try:
            generator = build_generator(config.generator, image_size=config.data.size, num_classes=num_classes)
            discriminator = build_discriminator(config.discriminator, image_size=config.data.size, num_classes=num_classes)
        except ValueError as error:
            raise UserError(f"networks for data.size = {config.data.size}: {error}") from error
    for module in (*generator.modules(), *discriminator.modules()):
        if isinstance(module, RunningStatistics):
            module.over_processes = config.trainer.batch_statistics == "global"
    return generator, discriminator


def narrow_maps(config: GANRunConfig, generator: nn.Module, discriminator: nn.Module) -> list[str]:
    """Return a message for each network with a feature map of fewer than 16 channels: its channels, and the width at which it has 16."""
    found = []
    for name, config_of, network in (("generator", config.generator, generator), ("discriminator", config.discriminator, discriminator)):
        width, channels = getattr(config_of, "width", None), getattr(network, "channels", None)
        if width is None or channels is None:  # a network of a plug-in without the key or the attribute
            continue
        least = min(channels)
        if least < FEW_CHANNELS:
            found.append(
                f"{name}.width = {width} leaves {least} channels to the narrowest feature map at {config.data.size} px, too few for good "
                f"pictures: {name}.width = {width * FEW_CHANNELS // least} gives it {FEW_CHANNELS}"
            )
    return found


@dataclass(frozen=True)
class TrainedRun:
    """A run read back from its folder, at one checkpoint."""

    config: GANRunConfig
    checkpoint: Path
    rule: str
    """The rule by which the checkpoint was chosen: last, chosen, or best by a score."""
    state: dict[str, Any]
    """Counters and facts stored beside the weights."""
    class_names: tuple[str, ...]
    """Empty for an unconditional run."""

    @property
    def num_classes(self) -> int | None:
        """Return the networks' number of classes; None for an unconditional run."""
        return len(self.class_names) or None

    @property
    def images_seen(self) -> int:
        """Return the real images the discriminator had seen."""
        return int(self.state["progress"]["images_seen"])

    @property
    def changes(self) -> list[Record]:
        """Return the records of what training methods changed in the structure of the networks."""
        return list(self.state.get("methods", []))

    def generator(self, weights: Literal["ema", "raw"] = "ema") -> nn.Module:
        """Return the averaged (or the raw) generator in eval mode."""
        generator, _ = build_networks(self.config, self.num_classes)
        rebuild("generator", generator, self.changes, source=self.checkpoint / STATE)
        load_network(self.checkpoint / ("ema.safetensors" if weights == "ema" else "generator.safetensors"), generator)
        return generator.eval().requires_grad_(False)

    def discriminator(self) -> nn.Module:
        """Return the discriminator in eval mode."""
        _, discriminator = build_networks(self.config, self.num_classes)
        rebuild("discriminator", discriminator, self.changes, source=self.checkpoint / STATE)
        load_network(self.checkpoint / "discriminator.safetensors", discriminator)
        return discriminator.eval().requires_grad_(False)


def require_gan_run(folder: Path) -> None:
    """Raise ``UserError`` if ``folder`` is not the run folder of a GAN."""
    if not folder.exists():
        raise UserError(does_not_exist(folder))
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a run folder: it has no config.json")
    require_folder_of(GANRunConfig, folder)


def load_run(folder: str | Path, *, checkpoint: CheckpointChoice | None = None) -> TrainedRun:
    """Return a run read from its folder at one checkpoint, see ``choose_checkpoint``.

    Raises:
        UserError: there is no run, no complete checkpoint, or not the requested one.

    """
    folder = Path(folder)
    require_gan_run(folder)
    config = load_config(GANRunConfig, folder / "config.json")
    chosen = choose_checkpoint(folder, checkpoint)
    state = json.loads((chosen.path / STATE).read_text())
    return TrainedRun(config, chosen.path, chosen.rule, state, tuple(state["classes"] or ()))
