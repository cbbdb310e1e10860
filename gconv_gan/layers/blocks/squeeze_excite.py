"""Squeeze-and-excitation: channels reweighted by gates of their means.

Hu, Shen, Sun, "Squeeze-and-Excitation Networks", CVPR 2018 (arXiv 1709.01507), equations 2 to 4.
"""

from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.blocks.block_parts import ActivationConstructor


class SqueezeExcite(nn.Module):
    r"""Squeeze-and-excitation at the end of each residual branch: channels reweighted by their means.

    .. math:: y_c = x_c \, \gamma\big(W_2\, \varphi(W_1\, \bar x + b_1) + b_2\big)_c

    with the mean over positions :math:`\bar x`. Input and result [B, C, H, W].

    Args:
        channels: C.
        reduced_channels: rows of W_1; None: C/16, as in SENet.
        activation: constructor of phi.
        gate: constructor of gamma; a sigmoid, or ``nn.Hardsigmoid`` in GhostNet and MobileNetV3.

    """

    def __init__(
        self,
        channels: int,
        reduced_channels: int | None = None,
        *,
        activation: ActivationConstructor = nn.ReLU,
        gate: ActivationConstructor = nn.Sigmoid,
    ) -> None:
        super().__init__()
        if reduced_channels is None:
            reduced_channels = max(channels // 16, 1)
        self.reduce = nn.Conv2d(channels, reduced_channels, 1)
        self.activation = activation()
        self.expand = nn.Conv2d(reduced_channels, channels, 1)
        self.gate = gate()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        weights = self.expand(self.activation(self.reduce(x.mean((2, 3), keepdim=True))))
        y: Tensor = x * self.gate(weights)
        return y
