"""The exchangeable parts of a network (convolution, norm, activation, attention) and the orders in which they make a unit.

Blocks and networks take one ``Parts`` and do not depend on its content. The two orders are those of the residual literature and of the
whitening unit, which normalises the *input* of every convolution (released code: YooshinCho/pytorch_ConvUnitOptimization).
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from torch import nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Choice
from gconv_gan.layers.norms.batch_norm import BatchNorm2d

ConvConstructor = Callable[..., nn.Module]
"""``conv(in_channels, out_channels, kernel_size, *, stride, padding, dilation, groups, bias)``, as ``nn.Conv2d``."""
NormConstructor = Callable[[int], nn.Module]
"""``norm(channels)``."""
ActivationConstructor = Callable[[], nn.Module]
"""``activation()``."""
AttentionConstructor = Callable[[int], nn.Module]
"""``attention(channels)``, a module that keeps the shape."""

Conv = Annotated[Callable[..., nn.Module], Choice("CONVS")]
"""A convolution of a generator: ``conv(in_channels, out_channels, kernel_size, *, padding, resample)``."""
DiscriminatorConv = Annotated[Callable[..., nn.Module], Choice("DISCRIMINATOR_CONVS")]
"""A convolution of a discriminator: ``conv(in_channels, out_channels, kernel_size, *, stride, padding, resample)``."""
Norm = Annotated[Callable[..., nn.Module], Choice("NORMS")]
"""A norm of a generator: ``norm(channels, *, affine)``."""
BlockNorm = Annotated[Callable[..., nn.Module], Choice("BLOCK_NORMS")]
"""A norm of a discriminator: ``norm(channels)``."""
Activation = Annotated[Callable[[], nn.Module], Choice("ACTIVATIONS", name_only=True)]
"""An activation: ``activation()``."""

Order = Literal["standard", "whitened"]
Fan = Literal["fan_in", "fan_out"]


def he_normal_(conv: nn.Conv2d, fan: Fan) -> None:
    """Draw the kernel from N(0, 2/fan) and set the bias to 0; in a grouped convolution fan is that of one group."""
    connections = {"fan_in": conv.in_channels, "fan_out": conv.out_channels}[fan] // conv.groups
    if conv.weight.is_meta:  # a tensor without storage has no values to draw, and the call is slow
        return
    nn.init.normal_(conv.weight, std=math.sqrt(2 / (connections * math.prod(conv.kernel_size))))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


@dataclass(frozen=True)
class Parts:
    """The exchangeable parts of a network; ``dataclasses.replace`` exchanges a part.

    ===============  =================================  ==================================
    order            unit                               pre-activation (before a conv)
    ===============  =================================  ==================================
    ``"standard"``   conv, norm, activation             norm, activation
    ``"whitened"``   norm, conv, activation             activation, norm
    ===============  =================================  ==================================

    A convolution has a bias where no norm follows it: without norms, and in the whitened order.

    Attributes:
        conv: every convolution but the first.
        stem_conv: the first convolution; None: ``conv``.
        norm: every normalisation; None: there is none.
        activation: every activation of the trunk.
        attention: at the end of each residual branch (before the addition), of each stack of a network without shortcuts,
            or in place of a mobile network's squeeze-and-excitation; None: none.
        order: see above.
        fan: an ``nn.Conv2d`` starts N(0, 2/fan) (He et al. 2015), with fan k²·I or k²·O, divided by the groups; other
            convolutions keep their own initial weights.

    """

    conv: ConvConstructor = nn.Conv2d
    stem_conv: ConvConstructor | None = None
    norm: NormConstructor | None = BatchNorm2d
    activation: ActivationConstructor = nn.ReLU
    attention: AttentionConstructor | None = None
    order: Order = "standard"
    fan: Fan = "fan_out"

    def __post_init__(self) -> None:
        """Raise ``ValueError`` for an unknown order or fan."""
        check_choice("order", self.order, Order)
        check_choice("fan", self.fan, Fan)

    def convolution(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: int | None = None,
        bias: bool | None = None,
        stem: bool = False,
    ) -> nn.Module:
        """Return a convolution that keeps the map's size divided by the stride; the network's first one if ``stem``."""
        surplus = 0
        if padding is None:
            # an even kernel has no symmetric padding that keeps the size: one row more below, one column more at the right
            padding, surplus = dilation * ((kernel_size - 1) // 2), dilation * ((kernel_size - 1) % 2)
        constructor = self.stem_conv if stem and self.stem_conv is not None else self.conv
        conv = constructor(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=(self.norm is None or self.order == "whitened") if bias is None else bias,
        )
        if type(conv) is nn.Conv2d:
            he_normal_(conv, self.fan)
        return conv if surplus == 0 else nn.Sequential(OrderedDict(pad=nn.ZeroPad2d((0, surplus, 0, surplus)), conv=conv))

    def normalisation(self, channels: int) -> nn.Module:
        """Return the norm, or the identity where there is none."""
        return nn.Identity() if self.norm is None else self.norm(channels)

    def unit(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        padding: int | None = None,
        bias: bool | None = None,
        activate: bool = True,
    ) -> nn.Sequential:
        """Return conv, norm, activation in the chosen order; without the activation where ``activate`` is false."""
        conv = self.convolution(
            in_channels, out_channels, kernel_size, stride=stride, dilation=dilation, groups=groups, padding=padding, bias=bias
        )
        steps = OrderedDict(conv=conv)
        if self.norm is not None:
            steps["norm"] = self.norm(in_channels if self.order == "whitened" else out_channels)
            steps.move_to_end("norm", last=self.order == "standard")
        if activate:
            steps["activation"] = self.activation()
        return nn.Sequential(steps)

    def stem(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1) -> nn.Sequential:
        """Return a network's first unit. In the whitened order it has no norm: the next unit normalises its result."""
        steps = OrderedDict(conv=self.convolution(in_channels, out_channels, kernel_size, stride=stride, stem=True))
        if self.norm is not None and self.order == "standard":
            steps["norm"] = self.norm(out_channels)
        steps["activation"] = self.activation()
        return nn.Sequential(steps)

    def preactivation(self, channels: int) -> nn.Sequential:
        """Return norm and activation in the chosen order, for use before a convolution."""
        steps = OrderedDict(activation=self.activation())
        if self.norm is not None:
            steps["norm"] = self.norm(channels)
            steps.move_to_end("norm", last=self.order == "whitened")
        return nn.Sequential(steps)

    def attentions(self, channels: int) -> "OrderedDict[str, nn.Module]":
        """Return a dict with the attention under its name, or an empty one, to be added to the steps of a branch."""
        return OrderedDict() if self.attention is None else OrderedDict(attention=self.attention(channels))


STANDARD = Parts()
