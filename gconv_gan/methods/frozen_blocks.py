"""The first blocks of a discriminator stay as they are: fine-tuning on few pictures."""

from collections.abc import Mapping

import torch
from pydantic import PositiveInt
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.methods.method import Method, Player, PlayerName


class FrozenBlocks(Method):
    """Keep the first blocks of the discriminator as they are (FreezeD, arXiv 2002.10964), for a run with ``start_from``.

    The gradients of their weights are set to 0 before the optimiser's step, which then moves nothing. Norms in them go on counting their
    statistics, and power iterations go on, which converge since the weights are constant.

    Args:
        blocks: How many blocks are kept, counted from the image.

    """

    def __init__(self, *, blocks: PositiveInt = 1) -> None:
        self.blocks = blocks

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Raise ``UserError`` for a run without a discriminator, or one that has no more blocks than are kept."""
        if "discriminator" not in networks:
            raise UserError("frozen_blocks keeps blocks of a discriminator, but this run has none: leave it out")
        discriminator = networks["discriminator"]
        if not hasattr(discriminator, "stages"):
            raise UserError(f"frozen_blocks: {type(discriminator).__name__} does not say what its blocks are: give it a method stages()")
        count = len(discriminator.stages())  # type: ignore[operator]
        if count <= self.blocks:
            raise UserError(f"frozen_blocks: the discriminator has {count} blocks, of which {self.blocks} would be kept: give fewer")

    def check_optimizers(self, optimizers: Mapping[PlayerName, torch.optim.Optimizer]) -> None:
        """Raise ``UserError`` for an optimiser that moves weights without a gradient."""
        if any(group.get("weight_decay") for group in optimizers["discriminator"].param_groups):
            raise UserError("frozen_blocks: weight decay moves weights that have no gradient: set discriminator_optimizer.weight_decay = 0")

    def after_backward(self, player: Player) -> None:
        """Set the gradients of the kept layers to 0."""
        if player.name != "discriminator":
            return
        for stage in player.network.stages()[: self.blocks]:  # type: ignore[operator]
            for parameter in (parameter for layer in stage for parameter in layer.parameters()):
                if parameter.grad is not None:
                    parameter.grad.zero_()
