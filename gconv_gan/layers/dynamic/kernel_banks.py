r"""Banks of kernels: the base of all convolutions whose kernel is a mixture, modulation or shift of stored kernels.

.. math::
    y_b = W_b * x_b + \beta_b, \qquad
    W_b = \mathrm{diag}(u_b) \Big(\sum_k a_{bk}\, \tau_b \odot W_k\Big) \mathrm{diag}(v_b) + 1_O\, t_b^\top / k^2

with gates a over the K kernels, output scale u, input scale v, spatial gate τ and channel shift t. W_b is built only if
necessary: u and v are applied to the feature maps, t by a box filter, and the mixture by ``per_sample_conv2d``. The layers
differ in the input from which the five are computed:

    ==================  ====================  ==========================================================================
    layer               computed from         what varies
    ==================  ====================  ==========================================================================
    ``GConv2d``         z                     a (bank mode)
    ``CondConv2d``      pooled feature map    a, by sigmoid
    ``DyConv2d``        pooled feature map    a, by softmax with a temperature
    ``ODConv2d``        pooled feature map    a, by softmax; u, v and τ, by sigmoid
    ``CConv2d``         class                 u and t
    ``ModulatedConv2d`` z                     v; u makes every filter a unit vector (demodulation)
    ``AdaptiveConv2d``  z                     a, by softmax; v and u as ``ModulatedConv2d``
    ==================  ====================  ==========================================================================
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal, TypedDict, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.dynamic.kernel_gates import KernelGate
from gconv_gan.layers.dynamic.mixed_kernels import Granularity
from gconv_gan.layers.dynamic.per_sample_conv import ADMISSIBLE, Geometry, Strategy, forms_of_bank, per_sample_conv2d
from gconv_gan.layers.forms import HasForms
from gconv_gan.layers.initialisers import Init
from gconv_gan.layers.resample import PaddingMode, Pair, Resample, pair
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, Tie, grouped_ties

Bias = Literal["static", "dynamic", "none"]


class GeometryOptions(TypedDict, total=False):
    """Keywords that every layer here passes on: those of ``Conv2d``, fused resampling, and the strategy."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int
    padding_mode: PaddingMode
    resample: Resample
    strategy: Strategy | None


class ConvOptions(GeometryOptions, total=False):
    """The same with the kind of bias, for layers whose bias is not a key of their config."""

    bias: Bias


class KernelBank2d(HasForms, Sliceable, nn.Module):
    """K kernels of one convolution and the application of their mixtures; the ``forward`` of a subclass computes the gates.

    Parameters: ``bank`` [K, O, I/groups, k, k] and ``bias``, [O] if static, [K, O] if dynamic (mixed by the kernels' gates).
    The state dict does not depend on strategy or resampling. Shapes of ``ResampledConv2d``: [B, I, H, W] gives [B, O, H', W'].

    Args:
        num_kernels: K.
        bias: "static", "dynamic" or "none".
        resample: "up", "down" or "transposed", see ``ResampledConv2d``.
        strategy: how mixtures are executed (all strategies are exact), see :mod:`gconv_gan.layers.dynamic.per_sample_conv`; None: by shape.

    Raises:
        ValueError: for channels that do not divide by the groups, a fused resampling that ``ResampledConv2d`` refuses, an unknown
            kind of bias or strategy, and at run time for an input or a condition of another shape.

    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        num_kernels: Annotated[int, Fixed],
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        bias: Annotated[Bias, Fixed] = "static",
        resample: Resample = "none",
        strategy: Annotated[Strategy | None, Fixed] = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, pair(kernel_size)
        self.num_kernels, self.bias_kind, self.strategy = num_kernels, bias, strategy
        self.geometry = Geometry(pair(padding), pair(stride), pair(dilation), groups, padding_mode, resample)
        self.geometry.check(self.kernel_size)
        check_strategy(strategy, "kernel")
        check_channels(groups, in_channels=in_channels, out_channels=out_channels)
        if num_kernels < 1:
            raise ValueError(f"num_kernels must be positive, not {num_kernels}")
        self.bank = nn.Parameter(torch.empty(num_kernels, out_channels, in_channels // groups, *self.kernel_size))
        self.register_parameter("bias", new_bias(bias, out_channels, (num_kernels, out_channels)))

    @property
    def fan_in(self) -> int:
        """Return the number of weights of one filter."""
        return self.in_channels // self.geometry.groups * math.prod(self.kernel_size)

    @property
    def initial_gain(self) -> float:
        """Return how much larger in root mean square an untrained layer's kernel is than the bank's, for independent kernels."""
        return 1.0

    def reset_parameters(self) -> None:
        """Initialise kernels and bias as ``Conv2d`` does."""
        self.reset_kernels(lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)))
        reset_bias(self.bias, self.fan_in)

    @torch.no_grad()
    def reset_kernels(self, init: Init) -> None:
        """Initialise each kernel as that of the convolution this layer replaces, divided by ``initial_gain``.

        ``init`` is not applied to the bank, whose first axis would be taken for the fan. With the division the mixed kernel of an
        untrained layer has the variance of ``init``; the published layers omit it.
        """
        init_bank(self.bank, init, gain=self.initial_gain)

    def weights(self) -> Iterator[tuple[nn.Module, str]]:
        """Yield (layer, name) of the weights for spectral normalisation and orthogonal regularisation, without gates and styles."""
        yield self, "bank"

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-accumulates per image that make ``y`` of ``x``, the kernels mixed into one per image first.

        Args:
            x: input [B, I, H, W].
            y: result [B, O, H', W'].

        """
        mixing = self.bank.numel() if self.num_kernels > 1 else 0
        return self.geometry.macs(self.out_channels, self.in_channels, self.kernel_size, y) + mixing

    # ---- channels and kernels ------------------------------------------------------------------------------------------

    @property
    def kernel_gate(self) -> KernelGate | None:
        """Return the gate over the kernels, if there is one that can leave a kernel out."""
        gate: KernelGate | None = getattr(self, "gate", None)
        return gate if gate is not None and gate.can_close else None

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``."""
        channels: dict[Axis, int] = {"inputs": self.in_channels, "outputs": self.out_channels}
        return channels if self.kernel_gate is None else {**channels, "kernels": self.num_kernels}

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        if axis != "inputs" or self.geometry.groups == 1:
            yield from bank_slices(self, self.bias, axis)
        if axis == "kernels" and self.kernel_gate is not None:
            yield from self.kernel_gate.kernel_slices()

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        if axis == "outputs" and self.geometry.groups > 1:
            self.geometry = replace(self.geometry, groups=self.geometry.groups * count // self.out_channels)
        setattr(self, {"inputs": "in_channels", "outputs": "out_channels", "kernels": "num_kernels"}[axis], count)
        if axis == "kernels" and self.kernel_gate is not None:
            self.kernel_gate.resized(num_gates=count)

    def ties(self) -> Iterable[Tie]:
        """See ``Sliceable``."""
        return grouped_ties(self.geometry.groups, self.in_channels, self.out_channels)

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        return self.geometry.stand_in(self.in_channels, self.out_channels, self.kernel_size)

    def forms(self) -> Sequence[str]:
        """See ``HasForms``: the strategies that every granularity of gates admits."""
        return forms_of_bank("tap", self.geometry, strategy=self.strategy)

    # ---- running -------------------------------------------------------------------------------------------------------

    def convolve(
        self,
        x: Float[Tensor, "b i h w"],
        gates: Float[Tensor, "m k"] | Float[Tensor, "m k g"],
        *,
        granularity: Granularity = "kernel",
        input_scale: Float[Tensor, "v i"] | None = None,
        output_scale: Float[Tensor, "u o"] | None = None,
        shift: Float[Tensor, "t i"] | None = None,
        bank: Float[Tensor, "k o j kh kw"] | None = None,
    ) -> Float[Tensor, "b o h2 w2"]:
        """Return W_b * x_b + bias for gates a (times τ for granularity "tap"), scales v and u, and shift t; rows B or 1 each.

        ``bank`` replaces the stored one.
        """
        for name, rows in {"input_scale": input_scale, "output_scale": output_scale, "shift": shift}.items():
            if rows is not None and rows.shape[0] not in (1, x.shape[0]):
                raise ValueError(f"{name} of {rows.shape[0]} samples does not fit {x.shape[0]} images")
        bias = self.bias if self.bias_kind != "dynamic" else mixed_bias(self.bias, gates)
        scaled = x if input_scale is None else x * per_channel(input_scale, x)
        y = per_sample_conv2d(
            scaled,
            self.bank if bank is None else bank,
            gates,
            bias if output_scale is None else None,
            geometry=self.geometry,
            granularity=granularity,
            strategy=self.strategy or cast(Strategy | None, self.chosen_form),
        )
        if output_scale is not None:
            scale = per_channel(output_scale, y)
            y = y * scale if bias is None else torch.addcmul(per_channel(bias, y), y, scale)
        return y if shift is None else self._add_shift(y, x, shift)

    def _add_shift(self, y: Tensor, x: Tensor, shift: Tensor) -> Tensor:
        """Add t 1^T / k^2 * x: the shifted sum of the input channels, averaged over the taps, is the same for every filter."""
        groups, taps = self.geometry.groups, math.prod(self.kernel_size)
        scale = shift.to(x.dtype).view(-1, groups, self.in_channels // groups, 1, 1)
        total = (x.view(x.shape[0], groups, -1, *x.shape[2:]) * scale).sum(2)
        mean = self.geometry.conv(total, x.new_full((groups, 1, *self.kernel_size), 1 / taps))
        return (y.view(y.shape[0], groups, -1, *y.shape[2:]) + mean[:, :, None]).flatten(1, 2)

    def extra_repr(self) -> str:
        return describe(self.in_channels, self.out_channels, self.kernel_size, self.geometry, self.bias_kind, num_kernels=self.num_kernels)


# ---- shared with GConv2d -------------------------------------------------------------------------------------------


def check_channels(groups: int, **numbers: int) -> None:
    """Raise ``ValueError`` for a number of channels that is not a positive multiple of the groups."""
    for name, number in numbers.items():
        if number < 1 or number % groups:
            raise ValueError(f"{name}={number} must be a positive multiple of groups={groups}")


def check_strategy(strategy: Strategy | None, granularity: Granularity) -> None:
    """Raise ``ValueError`` for an unknown granularity, and a strategy that is unknown or does not support it."""
    check_choice("granularity", granularity, Granularity)
    if strategy is None:
        return
    check_choice("strategy", strategy, Strategy)
    if strategy not in ADMISSIBLE[granularity]:
        allowed = ", ".join(ADMISSIBLE[granularity])
        raise ValueError(f"strategy {strategy!r} does not support gates per {granularity}: use one of {allowed}")


def bank_slices(layer: nn.Module, bias: nn.Parameter | None, axis: Axis) -> Iterator[Slice]:
    """Yield what a bank and its bias have of the channels of ``axis``, without the gate.

    Kernels that are spectrally normalised one by one read nothing: they do not depend on a factor.
    """
    kernels = axis == "kernels"
    reads = axis == "inputs" or (kernels and not parametrize.is_parametrized(layer, "bank"))
    held = None if kernels else 0.0
    yield Slice(layer, "bank", {"kernels": 0, "outputs": 1, "inputs": 2}[axis], reads=reads, held=held)
    if bias is not None and (axis == "outputs" or (kernels and bias.ndim == 2)):
        yield Slice(layer, "bias", 0 if kernels else bias.ndim - 1, reads=kernels and reads, held=held)


def new_bias(kind: Bias, out_channels: int, dynamic: tuple[int, ...]) -> nn.Parameter | None:
    """Return an uninitialised bias: [O] if static, of shape ``dynamic`` if dynamic."""
    check_choice("bias", kind, Bias)
    return None if kind == "none" else nn.Parameter(torch.empty((out_channels,) if kind == "static" else dynamic))


def reset_bias(bias: nn.Parameter | None, fan_in: int) -> None:
    """Draw a bias as ``Conv2d`` does."""
    if bias is not None:
        nn.init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


@torch.no_grad()
def init_bank(bank: Tensor, init: Init, *, gain: float) -> None:
    """Fill every kernel of a bank by ``init`` and divide it by ``gain``."""
    for kernel in bank:
        init(kernel)
    bank.div_(gain)


def mixed_bias(bias: Tensor | None, gates: Tensor) -> Tensor | None:
    """Return the bias [B, O] of each sample from [K, O] and gates [B, K] or [B, K, O]."""
    if bias is None:
        return None
    gates = gates if gates.ndim == 3 else gates[:, :, None]
    return (gates * bias.to(gates.dtype)).sum(1).to(bias.dtype)


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return values [B, C] or [C] in a shape that broadcasts against the channels of x."""
    return values.to(x.dtype)[..., None, None]


def pooled(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c"]:
    """Return the mean over all pixels, in at least float32."""
    return x.mean((2, 3), dtype=torch.promote_types(x.dtype, torch.float32))


def describe(in_channels: int, out_channels: int, kernel_size: tuple[int, int], geometry: Geometry, bias: Bias, **more: object) -> str:
    """Return the text between the parentheses of a layer's ``repr``."""
    parts = [f"{in_channels}, {out_channels}, kernel_size={kernel_size}"] + [f"{name}={value!r}" for name, value in more.items()]
    parts.append(f"padding={geometry.padding}, stride={geometry.stride}, groups={geometry.groups}, bias={bias!r}")
    return ", ".join(parts if geometry.resample == "none" else [*parts, f"resample={geometry.resample!r}"])
