"""The temperature of kernel gates as a function of the images seen."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from gconv_gan.layers.kernel_gates import KernelGate
from gconv_gan.training.hooks import Hook, Player


class GateTemperature(Hook):
    r"""Lead the temperature of every gate of the generator from its first value to 1.

    .. math:: T(n) = T_0 + (1 - T_0) \min(1, n / N)

    after n images (dynamic convolution, arXiv 1912.03458, and ODConv, arXiv 2209.07947: from 30, in ten epochs). It is stored in the
    gates' buffers, hence in every checkpoint, and changes after the generator's steps only, so that the discriminator steps in
    between see one generator.

    Args:
        first: :math:`T_0`.
        images: N.

    """

    def __init__(self, first: float, *, images: int) -> None:
        self.first, self.images = first, images
        self._gates: list[KernelGate] = []
        self._next: Tensor | None = None

    def temperature(self, images_seen: int) -> float:
        """Return T after so many images."""
        return self.first + (1 - self.first) * min(1.0, images_seen / self.images)

    def before_fit(self, networks: Mapping[Player, nn.Module]) -> None:
        """Find the generator's gates."""
        gates = (module for module in networks["generator"].modules() if isinstance(module, KernelGate))
        self._gates = [gate for gate in gates if gate.selection != "open"]

    def before_iteration(self, images_seen: int) -> None:
        """Fill the tensor that the gates are set from at the end of the iteration."""
        if self._gates and self._next is None:
            self._next = torch.empty_like(self._gates[0].temperature)
        if self._next is not None:
            self._next.fill_(self.temperature(images_seen))

    def after_step(self, player: Player, network: nn.Module, images_seen: int) -> None:
        """Set the generator's gates."""
        if player == "generator" and self._next is not None:
            torch._foreach_copy_([gate.temperature for gate in self._gates], [self._next] * len(self._gates))
