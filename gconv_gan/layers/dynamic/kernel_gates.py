"""Gates over the kernels of a convolution: from a vector to one weight per kernel.

The vector is the latent one (``LatentGate``) or is computed from the feature map (``FeatureGate``).
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.config.hints import check_choice
from gconv_gan.layers.conditioning import Condition, as_condition
from gconv_gan.layers.slicing import Slice, repeated

Selection = Literal["sigmoid", "softmax", "relu", "softplus", "top_m", "open"]


CLOSED = -1e4
"""Bias of a gate that is held at 0, under any selection: at temperatures below 90 not even its exponential differs from 0."""


class KernelGate(nn.Module):
    r"""Base of all gates: one gate per kernel, or one per kernel and channel, from a vector f.

    .. math:: g = s\,\varphi(\ell(f) / T)

    with :math:`\ell` one linear layer (or two with a ReLU between) and :math:`\varphi` the selection:

    - "sigmoid", "softplus", "relu": each gate independently; "softmax": the gates of a sample sum to s;
    - "top_m": sigmoid, and all but the m largest gates of a sample are zero; the gradient is that of the sigmoid
      (straight-through), so that unselected kernels can be selected later;
    - "open": all gates are s; there are no parameters, and the vector has no effect.

    A softmax over a single kernel is always 1 and has no parameters either.

    The scale s is 1, or with ``unit=True`` the value for which gates of zero logits are 1 (2 for a sigmoid). Logits and gates are
    computed in at least float32. Linear layers start as torch's do; "relu" starts with bias T, since at 0 its value
    and gradient are 0.

    Args:
        features: length of f.
        num_gates: n, the number of kernels or filters.
        channels: gates per kernel; None for a single one and no third axis.
        selection: see above.
        unit: scale the gates to 1 at the start.
        temperature: T, a buffer; a schedule may change it in place.
        top_m: m, for "top_m" alone.
        hidden: width of a hidden layer; None for a single linear layer.
        bias: whether the linear layers have one.

    Raises:
        ValueError: for an unknown selection, a temperature that is not positive, or ``top_m`` that is missing, out of
            1..num_gates, or given with another selection.

    """

    ones: Tensor
    temperature: Tensor

    def __init__(
        self,
        features: int,
        num_gates: int,
        *,
        channels: int | None = None,
        selection: Selection = "sigmoid",
        unit: bool = False,
        temperature: float = 1.0,
        top_m: int | None = None,
        hidden: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_choice("selection", selection, Selection)
        if temperature <= 0:
            raise ValueError(f"the gate's temperature must be positive, not {temperature}")
        if (selection == "top_m") != (top_m is not None):
            raise ValueError("top_m goes with selection='top_m': give both or neither")
        if top_m is not None and not 1 <= top_m <= num_gates:
            raise ValueError(f"top_m must lie in 1..{num_gates}, the number of gates, not {top_m}")
        self.features, self.num_gates, self.channels = features, num_gates, channels
        self.selection, self.top_m = selection, top_m
        self.shape = (num_gates,) if channels is None else (num_gates, channels)
        self.scale = 1.0
        if unit:
            self.scale = 1.0 / float(self.initial_gates().max())
        self.constant = selection == "open" or (selection == "softmax" and num_gates == 1)
        if selection != "open":
            self.register_buffer("temperature", torch.tensor(float(temperature)))
        if self.constant:
            self.register_buffer("ones", torch.ones(1, *self.shape), persistent=False)
            return
        last = nn.Linear(features if hidden is None else hidden, math.prod(self.shape), bias=bias)
        self.logits = last if hidden is None else nn.Sequential(nn.Linear(features, hidden, bias=bias), nn.ReLU(), last)
        if selection == "relu" and bias:
            nn.init.constant_(last.bias, self._initial_logit() * temperature)

    @property
    def largest(self) -> float | None:
        """Return the upper bound of a gate; None if there is none."""
        return None if self.selection in ("relu", "softplus") else self.scale

    def linears(self) -> list[nn.Linear]:
        """Return the linear layers in order."""
        return [module for module in self.modules() if isinstance(module, nn.Linear)]

    @property
    def can_close(self) -> bool:
        """Return whether the gate of a kernel can be held at 0, by its bias."""
        return not self.constant and self.linears()[-1].bias is not None

    def kernel_slices(self) -> Iterator[Slice]:
        """Yield the tensors with an axis of the kernels."""
        yield from self._last_slices(repeated(self.num_gates, self.channels or 1), dim=1, held=CLOSED)

    def channel_slices(self) -> Iterator[Slice]:
        """Yield the tensors with an axis of the channels, of a gate that has one."""
        yield from self._last_slices([*range(self.channels or 1)] * self.num_gates, dim=2)

    def _last_slices(self, owners: list[int], *, dim: int, held: float = 0.0) -> Iterator[Slice]:
        if self.constant:
            yield Slice(self, "ones", dim)
            return
        last = self.linears()[-1]
        yield Slice(last, "weight", 0, owners)
        if last.bias is not None:
            yield Slice(last, "bias", 0, owners, held=held)

    def resized(self, *, num_gates: int | None = None, channels: int | None = None) -> None:
        """Change the stored numbers of kernels and channels, after the tensors were cut."""
        self.num_gates = self.num_gates if num_gates is None else num_gates
        self.channels = self.channels if channels is None else channels
        self.shape = (self.num_gates,) if self.channels is None else (self.num_gates, self.channels)
        if not self.constant:
            self.linears()[-1].out_features = math.prod(self.shape)

    def initial_gates(self) -> Float[Tensor, " n"]:
        """Return the gates of the kernels at the nominal first logits (their value does not depend on the channel)."""
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
                # A mask instead of a gather keeps shapes fixed and every kernel in the graph.
                mask = torch.zeros_like(soft).scatter(1, soft.detach().topk(self.top_m, dim=1).indices, 1.0)
                gates = soft + (soft * mask - soft).detach()
            case "open":
                gates = torch.ones_like(logits)
        return gates if self.scale == 1 else gates * self.scale

    def select(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "b n"] | Float[Tensor, "b n c"]:
        """Return the gates [B, n(, channels)] of vectors [B, features]; constant gates are [1, n(, channels)]."""
        with torch.autocast(features.device.type, enabled=False):
            logits = self.logits(features.to(next(self.logits.parameters()).dtype))
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return self._select(wide.view(-1, *self.shape) / self.temperature)

    def extra_repr(self) -> str:
        return f"{self.features} -> {'x'.join(map(str, self.shape))}, {self.selection}, scale={self.scale:g}"


class LatentGate(KernelGate):
    r"""``KernelGate`` of the latent vector z, or of z and an embedding of the class, side by side.

    The last linear layer starts with weight N(0, gate_init_std²) and bias 0 (T for "relu"): gates differ between samples from the
    first step on, so that a selection is learned early. Embeddings start from N(0, 1), like z.

    Shapes: condition.z [B, d] (or z itself in the condition's place), and condition.y [B] with ``num_classes``, give [B, n], or
    [B, n, channels]; constant gates ("open", or a softmax over one kernel) are [1, n(, channels)] and accept an empty condition.

    Args:
        latent_dim: d.
        num_gates, channels, selection, unit, temperature, top_m: see ``KernelGate``.
        gate_hidden: width of a hidden layer; None for a single linear layer.
        gate_init_std: standard deviation of the last layer's weight; with 0 all samples start with the same gates.
        num_classes: number of classes, if the gates depend on the class; None: z alone.
        class_dim: length of a class's embedding.

    Raises:
        ValueError: as ``KernelGate``; at run time for a condition without z, without a y that is needed, or with another length of z.

    """

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
        gate_init_std: float = 0.1,
        num_classes: int | None = None,
        class_dim: int = 128,
    ) -> None:
        super().__init__(
            latent_dim if num_classes is None else latent_dim + class_dim,
            num_gates,
            channels=channels,
            selection=selection,
            unit=unit,
            temperature=temperature,
            top_m=top_m,
            hidden=gate_hidden,
        )
        self.latent_dim = latent_dim
        self.embedding = None
        if not self.constant:
            last = self.linears()[-1]
            nn.init.normal_(last.weight, std=gate_init_std)
            nn.init.constant_(last.bias, self._initial_logit() * temperature)
            if num_classes is not None:
                self.embedding = nn.Embedding(num_classes, class_dim)

    def forward(self, condition: Condition | Tensor) -> Float[Tensor, "b n"] | Float[Tensor, "b n c"]:
        if self.constant:
            return self.ones
        condition = as_condition(condition)
        z = condition.require_z("the gate of this layer", self.latent_dim)
        if self.embedding is None:
            return self.select(z)
        classes = self.embedding(condition.require_y("the gate of this layer"))
        return self.select(torch.cat([z, classes.to(z.dtype)], 1))


class FeatureGate(KernelGate):
    """``KernelGate`` of a vector computed from the feature map: [B, features] gives [B, n(, channels)], or [1, …] if constant."""

    def forward(self, features: Float[Tensor, "b f"]) -> Float[Tensor, "m n"] | Float[Tensor, "m n c"]:
        return self.ones if self.constant else self.select(features)
