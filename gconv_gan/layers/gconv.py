"""Generative convolution: a convolution whose kernels are selected and linearly combined by the latent vector.

Paper: Park and Shin, "Generative Convolution Layer for Image Generation", arXiv 2111.15171 (2021). Only its abstract's idea is
certain (select by the latent vector, then combine linearly, at a little extra cost); gate, sizes and initialisation are ours.
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.dictionary_conv import dictionary_conv2d
from gconv_gan.layers.per_sample_conv import ADMISSIBLE, Geometry, Granularity, Strategy, per_sample_conv2d
from gconv_gan.layers.resample import PaddingMode, Pair, Resample, pair

Mode = Literal["dictionary", "bank"]
Selection = Literal["sigmoid", "softmax", "top_m", "relu", "softplus", "open"]
Bias = Literal["static", "dynamic", "none"]


class LatentGate(nn.Module):
    r"""Gates from the latent vector, one per kernel, or one per kernel and channel.

    .. math:: g = s\,\varphi(\ell(z) / T)

    with :math:`\ell` one linear layer (or two with a ReLU between) and :math:`\varphi` the selection:

    - "sigmoid", "softplus", "relu": each gate for itself; "softmax": the kernels of a sample compete, and sum to s;
    - "top_m": sigmoid, and all but the m largest gates of a sample are zero; the gradient is that of the sigmoid
      (straight-through), so that unselected kernels can come back;
    - "open": all gates are s; there are no parameters, and the condition may be empty.

    The last linear layer starts with weight 0 (or N(0, gate_init_std)) and bias 0: every sample starts with the same gates.
    Only "relu" starts with bias T, since at 0 it would pass neither value nor gradient. The scale s is 1, or with
    ``unit=True`` whatever makes those first gates 1 (2 for a sigmoid). Logits and gates are computed in at least float32.

    Shapes: condition.z [B, d] gives [B, n], or [B, n, channels] where ``channels`` is given; "open" gives [1, n(, channels)].

    Args:
        latent_dim: d.
        num_gates: n, the number of kernels or filters.
        channels: gates per kernel; None for a single one and no third axis.
        selection: see above.
        unit: scale the gates to 1 at the start.
        temperature: T, a buffer; a schedule may change it in place.
        top_m: m, for "top_m" alone.
        gate_hidden: width of a hidden layer; None for a single linear layer.
        gate_init_std: standard deviation of the last layer's weight.

    Raises:
        ValueError: for an unknown selection, a temperature that is not positive, or ``top_m`` that is missing, out of
            1..num_gates, or given with another selection.

    """

    ones: Tensor
    temperature: Tensor

    def __init__(
        self,
        latent_dim: int,
        num_gates: int,
        *,
        channels: int | None = None,
        selection: Selection = "sigmoid",
        unit: bool = False,
        temperature: float = 1.0,
        top_m: int | None = None,
        gate_hidden: int | None = None,
        gate_init_std: float = 0.0,
    ) -> None:
        super().__init__()
        if selection not in get_args(Selection):
            raise ValueError(f"unknown selection {selection!r}: use one of {', '.join(get_args(Selection))}")
        if temperature <= 0:
            raise ValueError(f"the gate's temperature must be positive, not {temperature}")
        if (selection == "top_m") != (top_m is not None):
            raise ValueError("top_m goes with selection='top_m': give both or neither")
        if top_m is not None and not 1 <= top_m <= num_gates:
            raise ValueError(f"top_m must lie in 1..{num_gates}, the number of gates, not {top_m}")
        self.latent_dim, self.num_gates, self.channels = latent_dim, num_gates, channels
        self.selection, self.top_m, self.gate_init_std = selection, top_m, gate_init_std
        self.shape = (num_gates,) if channels is None else (num_gates, channels)
        self.scale = 1.0
        if unit:
            self.scale = 1.0 / float(self.initial_gates().max())
        if selection == "open":
            self.register_buffer("ones", torch.ones(1, *self.shape), persistent=False)
            return
        self.register_buffer("temperature", torch.tensor(float(temperature)))
        last = nn.Linear(latent_dim if gate_hidden is None else gate_hidden, math.prod(self.shape))
        self.logits = last if gate_hidden is None else nn.Sequential(nn.Linear(latent_dim, gate_hidden), nn.ReLU(), last)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the last layer so that gates do not (or hardly) depend on the latent vector; others as torch does."""
        if self.selection == "open":
            return
        linears = [m for m in self.logits.modules() if isinstance(m, nn.Linear)]
        for hidden in linears[:-1]:
            hidden.reset_parameters()
        nn.init.normal_(linears[-1].weight, std=self.gate_init_std)
        nn.init.constant_(linears[-1].bias, self._initial_logit() * float(self.temperature))

    def initial_gates(self) -> Float[Tensor, " n"]:
        """Return the gates of the kernels before training (their value does not depend on the channel)."""
        return self._select(torch.full((1, self.num_gates), self._initial_logit(), dtype=torch.float64))[0]

    def _initial_logit(self) -> float:
        return 1.0 if self.selection == "relu" else 0.0

    def _select(self, logits: Tensor) -> Tensor:
        match self.selection:
            case "sigmoid":
                gates = logits.sigmoid()
            case "softmax":
                gates = logits.softmax(1)
            case "relu":
                gates = logits.relu()
            case "softplus":
                gates = nn.functional.softplus(logits)
            case "top_m":
                assert self.top_m is not None
                soft = logits.sigmoid()
                # A mask, not a gather: shapes stay fixed and every kernel stays in the graph.
                mask = torch.zeros_like(soft).scatter(1, soft.detach().topk(self.top_m, dim=1).indices, 1.0)
                gates = soft + (soft * mask - soft).detach()
            case "open":
                gates = torch.ones_like(logits)
        return gates * self.scale

    def forward(self, condition: Condition) -> Float[Tensor, "b n"] | Float[Tensor, "b n c"]:
        if self.selection == "open":
            return self.ones
        z = condition.require_z("GConv2d")
        if z.shape[1] != self.latent_dim:
            raise ValueError(f"GConv2d was built for latent_dim={self.latent_dim}, but its condition has {z.shape[1]}")
        with torch.autocast(z.device.type, enabled=False):
            logits = self.logits(z.to(next(self.logits.parameters()).dtype))
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return self._select(wide.view(-1, *self.shape) / self.temperature)

    def extra_repr(self) -> str:
        return f"{self.latent_dim} -> {'x'.join(map(str, self.shape))}, {self.selection}, scale={self.scale:g}"


class GConv2d(Conditioned):
    r"""A drop-in for ``Conv2d`` whose kernel is a function of the latent vector z, in one of two forms.

    .. math::
        \text{dictionary:}\quad y_b &= \mathrm{Mix}\,\big(g(z_b) \odot (D * x_b)\big) + \beta,
            \qquad W_b = \mathrm{Mix}\,\mathrm{diag}(g(z_b))\,D \\
        \text{bank:}\quad y_b &= \Big(\sum_k a_k(z_b)\, W_k\Big) * x_b + \beta

    A *dictionary* of N filters costs little memory and, for N = O, about O/(I k^2) more multiplications than ``Conv2d``; a *bank*
    of K whole kernels costs K times the parameters and hardly any multiplications. A bank equals a dictionary of K O filters
    with Mix = [I_O ... I_O]. Both start as the convolution they replace: every gate of the dictionary starts at 1 and Mix as
    the identity, and a bank's kernels are scaled so that their first mixture has a single kernel's variance.

    Parameters: ``dictionary`` [N, I/groups, k, k] and ``mix`` [O, N], or ``bank`` [K, O, I/groups, k, k]; ``bias`` [O] if static,
    if dynamic [N] (gated with the filters) or [K, O] (mixed like the kernels); ``gate`` holds the rest. The state dict does not
    depend on strategy or resampling. Input [B, I, H, W] and a condition whose z is [B, d], or [1, d] for one latent vector shared
    by the batch, give [B, O, H', W'] as :class:`gconv_gan.layers.resample.ResampledConv2d` does.

    Args:
        num_kernels: N (default: ``out_channels``) or K (default: 4).
        selection: how gates follow from logits, see :class:`LatentGate`; "open" is the control without selection.
        granularity: for a bank, what one gate scales: a "kernel", a "filter" (output channel) or an input "channel".
        bias: "static", "dynamic" or "none".
        temperature, top_m, gate_hidden, gate_init_std: see :class:`LatentGate`.
        resample: "up" for nearest x2 before, "down" for 2x2 average pooling after the convolution, fused; padding (k-1)/2;
            "transposed" for a transposed convolution of stride 2, k even and padding (k-2)/2.
        strategy: how a bank is executed (all ways are exact), see :mod:`gconv_gan.layers.per_sample_conv`; None: by shape.

    Raises:
        ValueError: for a fused resampling as in ``ResampledConv2d``, a granularity or strategy with a dictionary, a dynamic bias
            with gates per input channel, a strategy that cannot serve the granularity, channels that do not divide by the groups,
            and at run time a condition without z or of another size.

    """

    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        latent_dim: int,
        mode: Mode = "dictionary",
        num_kernels: int | None = None,
        selection: Selection = "sigmoid",
        granularity: Granularity = "kernel",
        bias: Bias = "static",
        temperature: float = 1.0,
        top_m: int | None = None,
        gate_hidden: int | None = None,
        gate_init_std: float = 0.0,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        padding_mode: PaddingMode = "zeros",
        resample: Resample = "none",
        strategy: Strategy | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, pair(kernel_size)
        self.mode, self.granularity, self.strategy, self.bias_kind = mode, granularity, strategy, bias
        self.geometry = Geometry(pair(padding), pair(stride), pair(dilation), groups, padding_mode, resample)
        self.num_kernels = num_kernels if num_kernels is not None else (out_channels if mode == "dictionary" else 4)
        self._check()
        inputs = in_channels // groups
        if mode == "dictionary":
            self.dictionary = nn.Parameter(torch.empty(self.num_kernels, inputs, *self.kernel_size))
            self.mix = nn.Parameter(torch.empty(out_channels, self.num_kernels))
        else:
            self.bank = nn.Parameter(torch.empty(self.num_kernels, out_channels, inputs, *self.kernel_size))
        dynamic = (self.num_kernels,) if mode == "dictionary" else (self.num_kernels, out_channels)
        shapes: dict[Bias, tuple[int, ...]] = {"static": (out_channels,), "dynamic": dynamic}
        self.register_parameter("bias", nn.Parameter(torch.empty(shapes[bias])) if bias in shapes else None)
        self.gate = LatentGate(
            latent_dim,
            self.num_kernels,
            channels={"kernel": None, "filter": out_channels, "channel": in_channels}[granularity],
            selection=selection,
            unit=mode == "dictionary",
            temperature=temperature,
            top_m=top_m,
            gate_hidden=gate_hidden,
            gate_init_std=gate_init_std,
        )
        self.reset_parameters()

    def _check(self) -> None:
        self.geometry.check(self.kernel_size)
        groups = self.geometry.groups
        divided = {"in_channels": self.in_channels, "out_channels": self.out_channels}
        if self.mode == "dictionary":
            divided["num_kernels"] = self.num_kernels
            if self.granularity != "kernel" or self.strategy is not None:
                raise ValueError("granularity and strategy belong to mode='bank': a dictionary has one gate per filter and one way to run")
        for name, number in divided.items():
            if number < 1 or number % groups:
                raise ValueError(f"{name}={number} must be a positive multiple of groups={groups}")
        if self.num_kernels < 1:
            raise ValueError(f"num_kernels must be positive, not {self.num_kernels}")
        if self.bias_kind == "dynamic" and self.granularity == "channel":
            raise ValueError("a dynamic bias has no input channels to be gated by: use bias='static' with granularity='channel'")
        if self.strategy is not None and self.strategy not in ADMISSIBLE[self.granularity]:
            allowed = ", ".join(ADMISSIBLE[self.granularity])
            raise ValueError(f"strategy {self.strategy!r} cannot serve gates per {self.granularity}: use one of {allowed}")

    # ---- initialisation ------------------------------------------------------------------------------------------------

    def reset_parameters(self) -> None:
        """Initialise kernels and bias as ``Conv2d`` does and Mix by :meth:`reset_mix`; the gate initialises itself."""
        self.reset_kernels(lambda weight: nn.init.kaiming_uniform_(weight, a=math.sqrt(5)))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_channels // self.geometry.groups * math.prod(self.kernel_size))
            nn.init.uniform_(self.bias, -bound, bound)
        if self.mode == "dictionary":
            self.reset_mix()

    @torch.no_grad()
    def reset_kernels(self, init: Callable[[Tensor], object]) -> None:
        r"""Initialise each kernel as that of the convolution this layer replaces.

        ``init`` fills a kernel [O, I/groups, k, k] in place; it never sees the bank, whose first axis would be mistaken for the
        fan. A bank's kernels are then multiplied by :math:`\rho = 1/\sqrt{\sum_k a_k^2}` at the initial gates, so that the first
        mixture of independent kernels has the variance of one. A dictionary is filled O filters at a time, for the same fan.
        """
        if self.mode == "bank":
            for kernel in self.bank:
                init(kernel)
            self.bank.mul_(self.gate.initial_gates().square().sum().rsqrt().to(self.bank))
            return
        for filters in torch.split(self.dictionary, self.out_channels):
            kernel = filters.new_empty(self.out_channels, *filters.shape[1:])
            init(kernel)
            filters.copy_(kernel[: filters.shape[0]])

    @torch.no_grad()
    def reset_mix(self) -> None:
        """Set Mix so that the layer starts as a plain convolution, or as near as N filters allow.

        N = O: the identity. N > O: each output averages the filters n = o mod O of its group, divided by the root of their number,
        so its variance is a single filter's. N < O: outputs must be dependent; orthonormal columns times sqrt(O/N) give the N filters
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
            self._mixed_bias(gates),
            geometry=self.geometry,
            granularity=self.granularity,
            strategy=self.strategy,
            one_hot=self.gate.top_m == 1,
        )

    def _mixed_bias(self, gates: Tensor) -> Tensor | None:
        if self.bias is None or self.bias_kind == "static":
            return self.bias
        gates = gates if gates.ndim == 3 else gates[:, :, None]
        return (gates * self.bias.to(gates.dtype)).sum(1).to(self.bias.dtype)

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, mode={self.mode!r}, num_kernels={self.num_kernels}"
        )
        geometry = self.geometry
        text += f", padding={geometry.padding}, stride={geometry.stride}, groups={geometry.groups}, bias={self.bias_kind!r}"
        return text if geometry.resample == "none" else f"{text}, resample={geometry.resample!r}"
