"""Generative convolution: a convolution whose kernels are selected and linearly combined by the latent vector.

Paper: Park and Shin, "Generative Convolution Layer for Image Generation", arXiv 2111.15171 (2021). Only the abstract of the
paper was available (select by the latent vector, then combine linearly); gate, sizes and initialisation are our own.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.config.schema import Fixed
from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.dynamic.dictionary_conv import dictionary_conv2d
from gconv_gan.layers.dynamic.kernel_banks import (
    Bias,
    bank_slices,
    check_channels,
    check_strategy,
    describe,
    init_bank,
    mixed_bias,
    new_bias,
    reset_bias,
)
from gconv_gan.layers.dynamic.kernel_gates import LatentGate, Selection
from gconv_gan.layers.dynamic.mixed_kernels import Granularity
from gconv_gan.layers.dynamic.per_sample_conv import Geometry, Strategy, forms_of_bank, per_sample_conv2d
from gconv_gan.layers.forms import HasForms
from gconv_gan.layers.initialisers import Init
from gconv_gan.layers.low_rank import Factorable, Filters, UnfactorableError, checked, fill_first, fill_second, second_conv
from gconv_gan.layers.resample import PaddingMode, Pair, Resample, ResampledConv2d, pair
from gconv_gan.layers.slicing import Axis, Slice, Sliceable, UnsliceableError
from gconv_gan.layers.weights import stored

Mode = Literal["dictionary", "bank"]


class GConv2d(HasForms, Sliceable, Factorable, Conditioned):
    r"""A replacement of ``Conv2d`` whose kernel is a function of the latent vector z, in one of two forms.

    .. math::
        \text{dictionary:}\quad y_b &= \mathrm{Mix}\,\big(g(z_b) \odot (D * x_b)\big) + \beta,
            \qquad W_b = \mathrm{Mix}\,\mathrm{diag}(g(z_b))\,D \\
        \text{bank:}\quad y_b &= \Big(\sum_k a_k(z_b)\, W_k\Big) * x_b + \beta

    A *dictionary* of N filters costs little memory and, for N = O, about O/(I k^2) more multiplications than ``Conv2d``; a *bank*
    of K whole kernels costs K times the parameters. A bank equals a dictionary of K O filters with Mix = [I_O ... I_O].
    With ``gate_init_std=0`` both equal the convolution they replace at initialisation: every gate of the dictionary
    starts at 1 and Mix as the identity, and a bank's kernels are scaled so that their first mixture has a single kernel's
    variance. Otherwise the initial gates vary around those values with z.

    Parameters: ``dictionary`` [N, I/groups, k, k] and ``mix`` [O, N], or ``bank`` [K, O, I/groups, k, k]; ``bias`` [O] if static,
    if dynamic [N] (gated with the filters) or [K, O] (mixed like the kernels); ``gate`` holds the rest. The state dict does not
    depend on strategy or resampling. Input [B, I, H, W] and a condition whose z is [B, d], or [1, d] for one latent vector shared
    by the batch, give [B, O, H', W'] as :class:`gconv_gan.layers.resample.ResampledConv2d` does.

    Args:
        latent_dim: d.
        mode: dictionary: gate filters, then combine them by a 1×1; bank: mix whole kernels.
        num_kernels: Filters of a dictionary (N; None: output channels) or kernels of a bank (K; None: 4).
        selection: Non-linearity of the gate (:class:`LatentGate`); open: g = 1 for every latent, the control of an ablation.
        granularity: What one gate of a bank scales: a kernel, a filter (output channel), an input channel or a tap; a dictionary is gated
            per filter by definition.
        bias: Bias of the layer; dynamic: selected by the same gates.
        temperature: Divides the gate's logits, at the start.
        anneal_images: Images over which the temperature goes to 1 in a straight line; None: never. The training loop does it.
        top_m: How many gates stay open under selection = top_m.
        gate_hidden: Width of the gate's hidden layer; None: one linear map.
        gate_init_std: Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel.
        class_gates: Make the gates functions of the class and the latent vector (conditional runs).
        class_dim: Length of a class's embedding under class_gates.
        num_classes: number of classes, used by ``class_gates`` alone; None: no classes.
        resample: "up" for nearest x2 before, "down" for 2x2 average pooling after the convolution, fused; padding (k-1)/2;
            "transposed" for a transposed convolution of stride 2, k even and padding (k-2)/2.
        strategy: how a bank is executed (all ways are exact), see :mod:`gconv_gan.layers.dynamic.per_sample_conv`; None: by shape.

    Raises:
        ValueError: for an unknown mode, selection, granularity, bias or strategy, a fused resampling as in ``ResampledConv2d``, a
            granularity or strategy with a dictionary, a dynamic bias with gates per input channel or tap, a strategy that does not support
            the granularity, channels that do not divide by the groups, ``class_gates`` without classes, and at run time a condition
            without z or of another size.

    """

    needs_classes: ClassVar[str] = "class_gates"
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        latent_dim: int,
        mode: Mode = "dictionary",
        num_kernels: PositiveInt | None = None,
        selection: Selection = "sigmoid",
        granularity: Granularity = "kernel",
        bias: Bias = "static",
        temperature: PositiveFloat = 1.0,
        anneal_images: PositiveInt | None = None,
        top_m: PositiveInt | None = None,
        gate_hidden: PositiveInt | None = None,
        gate_init_std: NonNegativeFloat = 0.1,
        class_gates: bool = False,
        class_dim: PositiveInt = 128,
        num_classes: int | None = None,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        resample: Resample = "none",
        strategy: Annotated[Strategy | None, Fixed] = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, pair(kernel_size)
        self.mode, self.granularity, self.strategy, self.bias_kind = mode, granularity, strategy, bias
        self.geometry = Geometry(pair(padding), pair(stride), pair(dilation), groups, padding_mode, resample)
        self.num_kernels = num_kernels if num_kernels is not None else (out_channels if mode == "dictionary" else 4)
        self.anneal_images = anneal_images
        if class_gates and num_classes is None:
            raise ValueError("class_gates = true needs classes: set conditional = true, or leave it out")
        self._check()
        inputs = in_channels // groups
        if mode == "dictionary":
            self.dictionary = nn.Parameter(torch.empty(self.num_kernels, inputs, *self.kernel_size))
            self.mix = nn.Parameter(torch.empty(out_channels, self.num_kernels))
        else:
            self.bank = nn.Parameter(torch.empty(self.num_kernels, out_channels, inputs, *self.kernel_size))
        dynamic = (self.num_kernels,) if mode == "dictionary" else (self.num_kernels, out_channels)
        self.register_parameter("bias", new_bias(bias, out_channels, dynamic))
        per_kernel = {"kernel": None, "filter": out_channels, "channel": in_channels, "tap": math.prod(self.kernel_size)}
        self.gate = LatentGate(
            latent_dim,
            self.num_kernels,
            channels=per_kernel[granularity],
            selection=selection,
            unit=mode == "dictionary",
            temperature=temperature,
            top_m=top_m,
            gate_hidden=gate_hidden,
            gate_init_std=gate_init_std,
            num_classes=num_classes if class_gates else None,
            class_dim=class_dim,
        )
        self.reset_parameters()

    def _check(self) -> None:
        check_choice("mode", self.mode, Mode)
        check_strategy(self.strategy, self.granularity)
        self.geometry.check(self.kernel_size)
        check_channels(self.geometry.groups, in_channels=self.in_channels, out_channels=self.out_channels)
        if self.mode == "dictionary":
            check_channels(self.geometry.groups, num_kernels=self.num_kernels)
            if self.granularity != "kernel" or self.strategy is not None:
                raise ValueError("granularity and strategy belong to mode='bank': a dictionary has one gate per filter and one strategy")
        if self.num_kernels < 1:
            raise ValueError(f"num_kernels must be positive, not {self.num_kernels}")
        if self.bias_kind == "dynamic" and self.granularity in ("channel", "tap"):
            raise ValueError(f"a dynamic bias cannot be gated per {self.granularity}: use bias='static'")

    # ---- initialisation ------------------------------------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Initialise kernels and bias as ``Conv2d`` does and Mix by :meth:`reset_mix`; the gate initialises itself."""
        self.reset_kernels(lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)))
        reset_bias(self.bias, self.in_channels // self.geometry.groups * math.prod(self.kernel_size))
        if self.mode == "dictionary":
            self.reset_mix()

    @torch.no_grad()
    def reset_kernels(self, init: Init) -> None:
        r"""Initialise each kernel as that of the convolution this layer replaces.

        ``init`` fills a kernel [O, I/groups, k, k] in place. It is not applied to the bank, whose first axis would be taken for the
        fan. A bank's kernels are then multiplied by :math:`\rho = 1/\sqrt{\sum_k a_k^2}` at the initial gates, so that the first
        mixture of independent kernels has the variance of one. A dictionary is filled O filters at a time, for the same fan.
        """
        if self.mode == "bank":
            init_bank(self.bank, init, gain=float(self.gate.initial_gates().norm()))
            return
        for filters in torch.split(self.dictionary, self.out_channels):
            kernel = filters.new_empty(self.out_channels, *filters.shape[1:])
            init(kernel)
            filters.copy_(kernel[: filters.shape[0]])

    @torch.no_grad()
    def reset_mix(self) -> None:
        """Set Mix so that the layer equals a plain convolution at initialisation, or approximates one if N < O.

        N = O: the identity. N > O: each output averages the filters n = o mod O of its group, divided by the root of their number,
        so its variance is a single filter's. N < O: outputs are linearly dependent; orthonormal columns times sqrt(O/N) give the N filters
        equal shares and the outputs a filter's variance on average.
        """
        groups = self.geometry.groups
        outputs, filters = self.out_channels // groups, self.num_kernels // groups
        if filters < outputs:
            blocks = [nn.init.orthogonal_(self.mix.new_empty(outputs, filters), gain=math.sqrt(outputs / filters)) for _ in range(groups)]
        else:
            tiled = (torch.arange(filters) % outputs == torch.arange(outputs)[:, None]).to(self.mix)
            blocks = [tiled / tiled.sum(1, keepdim=True).sqrt()] * groups
        self.mix.copy_(torch.block_diag(*blocks))  # type: ignore[no-untyped-call]

    def weights(self) -> Iterator[tuple[nn.Module, str]]:
        """Yield (layer, name) of the weights for spectral normalisation and orthogonal regularisation, without those of the gates."""
        for name in ("dictionary", "mix") if self.mode == "dictionary" else ("bank",):
            yield self, name

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-accumulates per image that make ``y`` of ``x``, a bank mixed into one kernel per image first.

        Args:
            x: input [B, I, H, W].
            y: result [B, O, H', W'].

        """
        filters = self.num_kernels if self.mode == "dictionary" else self.out_channels
        macs = self.geometry.macs(filters, self.in_channels, self.kernel_size, y)
        if self.mode == "dictionary":
            commutes = self.kernel_size == (1, 1) and self.geometry.resample == "up"
            return macs + self.num_kernels * self.out_channels * y.shape[2] * y.shape[3] // (4 if commutes else 1)
        return macs + (self.bank.numel() if self.num_kernels > 1 else 0)

    # ---- channels, filters and kernels ---------------------------------------------------------------------------------

    def sizes(self) -> Mapping[Axis, int]:
        """See ``Sliceable``; ``kernels`` are the filters of a dictionary or the kernels of a bank."""
        channels: dict[Axis, int] = {"inputs": self.in_channels, "outputs": self.out_channels}
        removable = self.mode == "dictionary" or self.gate.can_close
        return {**channels, "kernels": self.num_kernels} if removable else channels

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from self._dictionary_slices(axis) if self.mode == "dictionary" else self._bank_slices(axis)
        if axis == "kernels":
            yield from self.gate.kernel_slices()

    def _dictionary_slices(self, axis: Axis) -> Iterator[Slice]:
        dims = {"inputs": ("dictionary", 1), "outputs": ("mix", 0), "kernels": ("dictionary", 0)}
        yield Slice(self, *dims[axis], reads=axis == "inputs")
        if axis == "kernels":
            yield Slice(self, "mix", 1, reads=True)
        if self.bias is not None and axis == ("kernels" if self.bias_kind == "dynamic" else "outputs"):
            yield Slice(self, "bias")

    def _bank_slices(self, axis: Axis) -> Iterator[Slice]:
        yield from bank_slices(self, self.bias, axis)
        if axis == {"filter": "outputs", "channel": "inputs"}.get(self.granularity):
            yield from self.gate.channel_slices()

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        setattr(self, {"inputs": "in_channels", "outputs": "out_channels", "kernels": "num_kernels"}[axis], count)
        if axis == "kernels":
            self.gate.resized(num_gates=count)
        elif axis == {"filter": "outputs", "channel": "inputs"}.get(self.granularity):
            self.gate.resized(channels=count)

    def floor(self, axis: Axis) -> int:
        """See ``Sliceable``."""
        return self.gate.top_m or 1 if axis == "kernels" else 1

    def stand_in(self) -> nn.Module:
        """See ``Sliceable``."""
        if self.geometry.groups > 1:
            raise UnsliceableError("GConv2d with groups has blocks of filters and channels that cannot be removed one by one")
        return self.geometry.stand_in(self.in_channels, self.out_channels, self.kernel_size)

    # ---- low rank ------------------------------------------------------------------------------------------------------

    def filters(self) -> Filters:
        r"""Return the filters of the dictionary, or those of all kernels of the bank with one row per output, see ``Factorable``.

        Of a dictionary of rank r, and of a bank whose kernels W_k side by side, [O, K I k²], have rank r, every W(z) has at most rank r:
        it is Mix diag(g) D, or :math:`U_r \sum_k a_k V_k` with the basis U_r of all kernels.
        """
        groups = self.geometry.groups
        if self.mode == "dictionary":
            return checked(Filters(self, "dictionary", groups=groups, mix=stored(self, "mix")))
        if groups > 1 or self.granularity == "filter" or self.bias_kind == "dynamic":
            what = "groups" if groups > 1 else "gates per filter" if self.granularity == "filter" else "a dynamic bias"
            raise UnfactorableError(f"a GConv2d bank with {what} has no common basis of its outputs")
        return checked(Filters(self, "bank", dim=1, kernels=self.num_kernels))

    def in_two(self, outer: Float[Tensor, "g c r"], inner: Float[Tensor, "g r c"]) -> tuple[nn.Module, nn.Module]:
        """See ``Factorable``: a convolution to r channels and a dictionary of 1×1 filters, or a bank of r outputs and a 1×1 convolution."""
        geometry, (groups, rank, _) = self.geometry, inner.shape
        late = self.kernel_size == (1, 1) and geometry.resample == "up"  # a 1×1 convolution commutes with it
        early = geometry.without_resampling() if late else geometry
        if self.mode == "bank":
            bank = copy.deepcopy(self)
            bank.out_channels, bank.geometry, bank.bias_kind, bank.bias = rank, early, "none", None
            fill_first(bank, "bank", self.filters(), inner)
            return bank, second_conv(self, "bank", outer, self.bias, upsample=late)
        first = ResampledConv2d(
            self.in_channels,
            groups * rank,
            self.kernel_size,
            geometry.stride,
            geometry.padding,
            geometry.dilation,
            groups,
            bias=False,
            padding_mode=geometry.padding_mode,
            resample=early.resample,
            device="meta",  # draws nothing; its weight is set below
        )
        fill_first(first, "weight", self.filters(), inner)
        second = copy.deepcopy(self)
        second.in_channels, second.kernel_size = groups * rank, (1, 1)
        second.geometry = Geometry(groups=groups, resample="up" if late else "none")
        fill_second(second, "dictionary", self.filters(), outer.reshape(self.num_kernels, rank, 1, 1))
        return first, second

    def forms(self) -> Sequence[str]:
        """See ``HasForms``: the strategies of a bank."""
        return () if self.mode == "dictionary" else forms_of_bank(self.granularity, self.geometry, strategy=self.strategy)

    # ---- running -------------------------------------------------------------------------------------------------------

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        gates = self.gate(condition)
        if gates.shape[0] not in (1, x.shape[0]):
            raise ValueError(f"GConv2d got {x.shape[0]} images, but its condition has {gates.shape[0]} latent vectors")
        if self.mode == "dictionary":
            static, dynamic = (None, self.bias) if self.bias_kind == "dynamic" else (self.bias, None)
            return dictionary_conv2d(x, self.dictionary, self.mix, gates, static, filter_bias=dynamic, geometry=self.geometry)
        return per_sample_conv2d(
            x,
            self.bank,
            gates,
            mixed_bias(self.bias, gates) if self.bias_kind == "dynamic" else self.bias,
            geometry=self.geometry,
            granularity=self.granularity,
            strategy=self.strategy or cast(Strategy | None, self.chosen_form),
            one_hot=self.gate.top_m == 1
            and not self.training,  # its operations depend on the values of the gates, which a training step must not
        )

    def extra_repr(self) -> str:
        more = {"mode": self.mode, "num_kernels": self.num_kernels}
        return describe(self.in_channels, self.out_channels, self.kernel_size, self.geometry, self.bias_kind, **more)
