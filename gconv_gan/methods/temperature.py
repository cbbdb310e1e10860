"""The temperature of kernel gates as a function of the images seen."""

from collections.abc import Iterator, Mapping

from pydantic import PositiveFloat, PositiveInt
from torch import nn

from gconv_gan.config.errors import UserError
from gconv_gan.layers.dynamic.kernel_gates import KernelGate
from gconv_gan.methods.method import Method, Player, PlayerName, Progress


class GateTemperature(Method):
    r"""Anneal the temperature of every gate of the generator from its initial value to 1.

    .. math:: T(n) = T_0 + (1 - T_0) \min(1, n / N)

    after n images (dynamic convolution, arXiv 1912.03458, and ODConv, arXiv 2209.07947: from 30, in ten epochs). It is stored in the
    gates' buffers, hence in every checkpoint, and changes before an iteration, so that all discriminator steps of an iteration use the
    same generator.

    Args:
        first: Temperature at the start.
        images: Images over which it decreases linearly to 1 (10 epochs of CIFAR-10: 500,000).

    """

    def __init__(self, *, first: PositiveFloat = 30.0, images: PositiveInt = 500_000) -> None:
        self.first, self.images = first, images

    def check(self, networks: Mapping[PlayerName, nn.Module]) -> None:
        """Raise ``UserError`` if the generator has no gates."""
        if "generator" not in networks or not any(_gates(networks["generator"])):
            raise UserError("gate_temperature anneals the kernel gates of a generator, but this run has none: leave it out")

    def temperature(self, images_seen: int) -> float:
        """Return T after so many images."""
        return self.first + (1 - self.first) * min(1.0, images_seen / self.images)

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Set the gates of the generator and of its average."""
        generator = players["generator"]
        for network in {generator.network, generator.tested}:
            for gate in _gates(network):
                gate.temperature.fill_(self.temperature(progress.images_seen))


def _gates(network: nn.Module) -> Iterator[KernelGate]:
    """Yield the gates that have a temperature."""
    return (module for module in network.modules() if isinstance(module, KernelGate) and module.selection != "open")
