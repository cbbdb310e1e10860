"""Modulated convolution (StyleGAN2) and its bank with selection (GigaGAN).

Karras et al., "Analyzing and Improving the Image Quality of StyleGAN", arXiv 1912.04958 (2020), section 2.2, checked against
NVlabs/stylegan3's ``networks_stylegan2.py`` and rosinality/stylegan2-pytorch; Kang et al., "Scaling up GANs for Text-to-Image
Synthesis", arXiv 2303.05511 (CVPR 2023), section 3.1, checked against lucidrains/gigagan-pytorch and JiauZhang/GigaGAN.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Unpack

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.schema import Fixed, value_of
from gconv_gan.layers.conditioning import Condition, Conditioned
from gconv_gan.layers.dynamic.kernel_banks import ConvOptions, KernelBank2d
from gconv_gan.layers.dynamic.kernel_gates import LatentGate
from gconv_gan.layers.dynamic.per_sample_conv import compute_dtype
from gconv_gan.layers.resample import Pair
from gconv_gan.layers.slicing import Axis, Slice

EPS = 1e-8


def demodulation(
    bank: Float[Tensor, "k o i kh kw"], gates: Float[Tensor, "m k"], style: Float[Tensor, "n c"], *, groups: int = 1, eps: float = EPS
) -> Float[Tensor, "r o"]:
    r"""Return 1 over the norm of each filter of the mixed, modulated kernels, without building them.

    .. math::
        u_{bo} = \Big(\sum_i v_{bi}^2 \sum_{k,l} a_{bk} a_{bl}\, Q_{oi,kl} + \varepsilon\Big)^{-1/2}, \qquad
        Q_{oi,kl} = \sum_p W_k[o, i, p]\, W_l[o, i, p]

    (arXiv 1912.04958, equation 3, with a mixture for the kernel). Q does not depend on the sample; of its K² entries the symmetric
    half is computed. Everything is in at least float32.

    Args:
        bank: kernels W [K, O, C/groups, k, k].
        gates: a [B, K], or [1, K] shared by the batch.
        style: v [B, C] or [1, C].
        groups: of the convolution.
        eps: ε.

    """
    dtype = torch.promote_types(bank.dtype, torch.float32)
    kernels, outputs, inputs = bank.shape[:3]
    with torch.autocast(bank.device.type, enabled=False):
        taps = bank.to(dtype).flatten(3).permute(3, 0, 1, 2).contiguous()  # taps first, so that the sum over them runs over whole planes
        # the upper triangle of Q, row by row; off-diagonal entries count twice
        gram = torch.cat([(taps[:, k : k + 1] * taps[:, k:]).sum(0) for k in range(kernels)]).view(-1, groups, outputs // groups, inputs)
        first, second = torch.triu_indices(kernels, kernels, device=bank.device)
        a = gates.to(dtype)
        weights = a[:, first] * a[:, second] * (2 - (first == second).to(dtype))
        squares = style.to(dtype).square().view(-1, 1, groups, inputs) * weights[:, :, None, None]
        norms = torch.einsum("bpgi,pgoi->bgo", squares, gram).flatten(1)
        return (norms.clamp_min(0) + eps).rsqrt()  # rounding may make the sum of a nearly cancelled mixture negative


class StyleAffine(nn.Linear):
    r"""The style of each input channel, :math:`v = c\,A z + b`, with b = 1 at first and A z of unit variance for normal z.

    Args:
        equalized_lr: store A with unit variance and apply c = 1/√d, as StyleGAN2 does; otherwise A has variance 1/d and c = 1.

    """

    def __init__(self, latent_dim: int, channels: int, *, equalized_lr: bool) -> None:
        super().__init__(latent_dim, channels)
        self.scale = 1 / math.sqrt(latent_dim) if equalized_lr else 1.0
        nn.init.normal_(self.weight, std=1 / math.sqrt(latent_dim) / self.scale)
        nn.init.ones_(self.bias)

    def forward(self, z: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        """Return the styles [B, C] of latent vectors [B, d]."""
        with torch.autocast(z.device.type, enabled=False):
            return F.linear(z.to(self.weight.dtype), self.weight * self.scale, self.bias)


class ModulatedConv2d(KernelBank2d, Conditioned):
    r"""StyleGAN2's convolution: input channels scaled by a style of z, filters normalised to unit length.

    .. math::
        y_b = u_b \odot \big(W * (v_b \odot x_b)\big) + \beta, \qquad v_b = A z_b + 1, \qquad
        u_{bo} = \Big(\sum_{i,p} (v_{bi} W[o, i, p])^2 + \varepsilon\Big)^{-1/2}

    (arXiv 1912.04958, equations 1 and 3, applied to the feature maps). With several kernels W is W_b = Σ_k a_bk W_k, the gates a
    softmax of z (``AdaptiveConv2d``). In float16 style and kernels are first divided by their largest values, as StyleGAN2 does;
    demodulation undoes that.

    Input [B, I, H, W] and a condition whose z is [B, d] or [1, d] give [B, O, H', W'].

    Args:
        latent_dim: d.
        num_kernels: K.
        demodulate: whether u is applied; without it u = 1 (to-RGB layers).
        equalized_lr: Store kernels of unit variance and scale them at run time, by 1/√(fan-in), so that an optimiser with normalised
            steps changes every layer at the same relative rate (Karras et al., arXiv 1710.10196, section 4.1); also the style.
        gate_init_std: Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel.
        conv: see ``KernelBank2d``.

    Raises:
        ValueError: as ``KernelBank2d``, for a dynamic bias, and at run time for a condition without z or with one of another length.

    """

    ones: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        latent_dim: int,
        num_kernels: Annotated[int, Fixed] = 1,
        demodulate: Annotated[bool, Fixed] = True,
        equalized_lr: bool = True,
        gate_init_std: Annotated[float, Fixed] = 0.1,
        **conv: Unpack[ConvOptions],
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, num_kernels=num_kernels, **conv)
        if self.bias_kind == "dynamic":
            raise ValueError(f"{type(self).__name__} has a static bias or none")
        self.latent_dim, self.demodulate = latent_dim, demodulate
        self.weight_scale = 1 / math.sqrt(self.fan_in) if equalized_lr else 1.0
        self.style = StyleAffine(latent_dim, in_channels, equalized_lr=equalized_lr)
        self.gate = LatentGate(latent_dim, num_kernels, selection="softmax", gate_init_std=gate_init_std) if num_kernels > 1 else None
        self.register_buffer("ones", torch.ones(1, 1), persistent=False)
        self.reset_parameters()

    @classmethod
    def to_rgb(cls, conv: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        """Return the constructor of the convolution that makes an image: one kernel, no demodulation, as StyleGAN2 has it."""
        return partial(ModulatedConv2d, demodulate=False, equalized_lr=value_of(conv, "equalized_lr"))

    def macs(self, x: Tensor, y: Tensor) -> int:
        """Return the multiply-accumulates per image; of a demodulated layer with the symmetric half of its kernels' products."""
        # the kernels' scalar products are computed once per batch; each image combines them
        products = self.num_kernels * (self.num_kernels + 1) // 2 * self.bank.shape[1] * self.bank.shape[2] if self.demodulate else 0
        return super().macs(x, y) + products

    @property
    def initial_gain(self) -> float:
        """Return the run-time scale times the norm of equal gates; style and demodulation cancel and are left out."""
        return self.weight_scale * (1.0 if self.gate is None else float(self.gate.initial_gates().norm()))

    def reset_parameters(self) -> None:
        """Draw kernels from N(0, 1/fan-in), as applied; the bias is 0."""
        self.reset_kernels(lambda weight: nn.init.normal_(weight, std=1 / math.sqrt(self.fan_in)))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def slices(self, axis: Axis) -> Iterator[Slice]:
        """See ``Sliceable``."""
        yield from super().slices(axis)
        if axis == "inputs":
            yield Slice(self.style, "weight", 0)
            yield Slice(self.style, "bias")

    def resized(self, axis: Axis, count: int) -> None:
        """See ``Sliceable``."""
        super().resized(axis, count)
        if axis == "inputs":
            self.style.out_features = count

    def forward(self, x: Float[Tensor, "b i h w"], condition: Condition) -> Float[Tensor, "b o h2 w2"]:
        style = self.style(condition.require_z(type(self).__name__, self.latent_dim))
        gates = self.weight_scale * (self.ones if self.gate is None else self.gate(condition))
        if not self.demodulate:
            return self.convolve(x, gates, input_scale=style)
        bank: Tensor = self.bank
        if compute_dtype(x) == torch.float16:
            style = style / style.abs().amax(1, keepdim=True)
            bank = bank / (bank.abs().amax() * self.weight_scale * math.sqrt(self.fan_in))
        norms = demodulation(bank, gates, style, groups=self.geometry.groups)
        return self.convolve(x, gates, bank=bank, input_scale=style, output_scale=norms)


class AdaptiveConv2d(ModulatedConv2d):
    r"""GigaGAN's sample-adaptive kernel selection: ``ModulatedConv2d`` of a mixture of kernels.

    .. math::
        y_b = u_b \odot \big(W_b * (v_b \odot x_b)\big) + \beta, \qquad W_b = \sum_k a_{bk} W_k, \qquad
        a_b = \mathrm{softmax}(F z_b + f)

    (arXiv 2303.05511, section 3.1). Gates are computed once per layer, so that their cost does not grow with the resolution, and
    demodulation uses the kernels' scalar products (:func:`demodulation`) without building W_b.

    Args:
        latent_dim, demodulate, conv: as in ``ModulatedConv2d``.
        num_kernels: Kernels of the bank (K; lucidrains: 2; the paper states none).
        equalized_lr: Store kernels of unit variance and scale them at run time; off in lucidrains' code, on in JiauZhang's.
        gate_init_std: Standard deviation of the gate's initial weights; 0 starts every latent with the same kernel.

    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        latent_dim: int,
        num_kernels: PositiveInt = 2,
        demodulate: Annotated[bool, Fixed] = True,
        equalized_lr: bool = False,
        gate_init_std: NonNegativeFloat = 0.1,
        **conv: Unpack[ConvOptions],
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            latent_dim=latent_dim,
            num_kernels=num_kernels,
            demodulate=demodulate,
            equalized_lr=equalized_lr,
            gate_init_std=gate_init_std,
            **conv,
        )
