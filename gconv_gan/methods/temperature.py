"""The temperature of kernel gates as a function of the images seen."""

from collections.abc import Mapping

from gconv_gan.layers.kernel_gates import KernelGate
from gconv_gan.methods.method import Method, Player, PlayerName, Progress


class GateTemperature(Method):
    r"""Lead the temperature of every gate of the generator from its first value to 1.

    .. math:: T(n) = T_0 + (1 - T_0) \min(1, n / N)

    after n images (dynamic convolution, arXiv 1912.03458, and ODConv, arXiv 2209.07947: from 30, in ten epochs). It is stored in the
    gates' buffers, hence in every checkpoint, and changes before an iteration, so that the discriminator steps within it see one
    generator.

    Args:
        first: :math:`T_0`.
        images: N.

    """

    def __init__(self, first: float, *, images: int) -> None:
        self.first, self.images = first, images

    def temperature(self, images_seen: int) -> float:
        """Return T after so many images."""
        return self.first + (1 - self.first) * min(1.0, images_seen / self.images)

    def begin(self, players: Mapping[PlayerName, Player], progress: Progress) -> None:
        """Set the gates of the generator and of its average."""
        generator = players["generator"]
        for network in {generator.network, generator.tested}:
            for module in network.modules():
                if isinstance(module, KernelGate) and module.selection != "open":
                    module.temperature.fill_(self.temperature(progress.images_seen))
