"""Where a method may touch training: before it, before each iteration, after each backward pass, after each optimiser step."""

from collections.abc import Mapping
from typing import Literal

from torch import nn

Player = Literal["generator", "discriminator", "classifier"]


class Hook:
    """Do nothing; a method overrides what it needs."""

    def before_fit(self, networks: Mapping[Player, nn.Module]) -> None:
        """See the bare fp32 networks before the optimisers exist and before Accelerate wraps anything."""

    def before_iteration(self, images_seen: int) -> None:
        """Set whatever the iteration that ends at ``images_seen`` reads: the steps themselves must not read numbers of the host."""

    def after_backward(self, player: Player, network: nn.Module) -> None:
        """See a network whose gradient is complete, before clipping and the optimiser's step."""

    def after_step(self, player: Player, network: nn.Module, images_seen: int) -> None:
        """See a network whose optimiser has just stepped."""
