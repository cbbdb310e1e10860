r"""Convolution of every sample with its own mixture of kernels, which exist for a few samples at a time and are never stored.

The mixed kernels :math:`W_b = \sum_k a_{bk} W_k` of a batch are B / K times as large as the bank. The forward pass mixes those of a few
samples, convolves these samples and discards the kernels; the backward pass mixes them again. Both read the bank in the order of
axes that the convolution takes, so that the K kernels are rearranged, and widened for resampling, instead of the B mixtures.
"""

import math
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from gconv_gan.layers.resample import Resample, box_matrix
from gconv_gan.runtime.precision import float32_arithmetic

Granularity = Literal["kernel", "filter", "channel", "tap"]

GATES: dict[Granularity, str] = {"kernel": "bk", "filter": "bkgo", "channel": "bkgi", "tap": "bkpq"}
"""The axes of gates: sample, kernel, and what one gate scales, of a kernel's group, output, input, row and column."""
CPU_BYTES, GPU_BYTES = 1 << 24, 1 << 26
"""Bytes of mixed kernels at a time; from 2^25 bytes on, glibc returns memory to the system that the next use fills with zeros again."""


def mix_kernels(bank: Tensor, gates: Tensor, granularity: Granularity = "kernel", groups: int = 1) -> Tensor:
    """Return the mixed kernels [B, O, C/groups, k, k] in at least float32, without storing B K M elements."""
    mixed = mixture(arranged(bank, "goipq", groups), spread(gates, granularity, bank, groups), GATES[granularity], "goipq")
    return mixed.flatten(1, 2)


def arranged(bank: Tensor, order: str, groups: int, resample: Resample = "none") -> Tensor:
    """Return a bank [K, O, C/groups, k, k] in at least float32 as [K, ...], the axes of a kernel in ``order``, widened for resampling."""
    wide = bank.to(torch.promote_types(bank.dtype, torch.float32))
    side = bank.shape[3]
    narrow = rearrange(wide, f"k (g o) i p q -> k {' '.join(order)}", g=groups).contiguous()
    if resample not in ("up", "down"):
        return narrow
    box, taps = box_matrix(side, resample, wide.dtype, wide.device), order.index("p") + 1
    narrow = narrow.flatten(taps, taps + 1)
    with torch.autocast(bank.device.type, enabled=False), float32_arithmetic(bank.device):
        widened = narrow @ box if order.endswith("pq") else box.mT @ narrow
    return widened.view(*widened.shape[:taps], side + 1, side + 1, *widened.shape[taps + 1 :])


def spread(gates: Tensor, granularity: Granularity, bank: Tensor, groups: int) -> Tensor:
    """Return gates in at least float32 with the axes of GATES."""
    wide = gates.to(torch.promote_types(bank.dtype, torch.float32))
    if granularity == "kernel":
        return wide
    return wide.reshape(*wide.shape[:2], *(bank.shape[3:] if granularity == "tap" else (groups, -1)))


def mixture(bank: Tensor, gates: Tensor, axes: str, order: str) -> Tensor:
    """Return the mixtures [B, ...] of an arranged bank, for gates of the given axes."""
    with torch.autocast(bank.device.type, enabled=False):
        if axes == "bk":
            return (gates @ bank.flatten(1)).view(-1, *bank.shape[1:])
        return torch.einsum(f"{axes},k{order}->b{order}", gates, bank).contiguous()


class Form(NamedTuple):
    """A convolution of samples with kernels of their own."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool
    granularity: Granularity
    apart: bool
    """One convolution per sample in channels_last; otherwise samples side by side are groups of one convolution."""
    dtype: torch.dtype
    """Of maps and kernels in the convolution."""

    @property
    def order(self) -> str:
        """Return the axes of an arranged kernel: as the convolution takes them, so that the mixtures are not copied."""
        first, second = ("i", "o") if self.transposed else ("o", "i")
        return f"g{first}pq{second}" if self.apart else f"g{first}{second}pq"

    def mixed(self, bank: Tensor, gates: Tensor) -> Tensor:
        """Return the kernels of some samples, rounded once."""
        return mixture(bank, gates, GATES[self.granularity], self.order).to(self.dtype)

    def arguments(self, samples: int, groups: int) -> tuple[Any, ...]:
        """Return the arguments of ATen's convolution after image, kernel and bias."""
        return self.stride, self.padding, self.dilation, self.transposed, (0, 0), samples * groups

    def kernel(self, mixed: Tensor) -> Tensor:
        """Return mixed kernels [n, ...] as one kernel of n times as many groups."""
        return (mixed.permute(0, 1, 2, 5, 3, 4) if self.apart else mixed).flatten(0, 2)

    def as_mixed(self, kernel: Tensor, like: Tensor) -> Tensor:
        """Return the gradient of ``kernel(mixed)`` as that of ``mixed``."""
        samples, groups, first = like.shape[:3]
        apart = kernel.view(samples, groups, first, *kernel.shape[1:])
        return apart.permute(0, 1, 2, 4, 5, 3) if self.apart else apart

    def convolved(self, x: Tensor, mixed: Tensor, bias: Tensor | None) -> Tensor:
        """Return samples x [n, C, H, W] convolved with as many kernels by one convolution."""
        samples, groups = mixed.shape[:2]
        flat = None if bias is None else bias.reshape(-1)
        y: Tensor = torch.ops.aten.convolution(side_by_side(x), self.kernel(mixed), flat, *self.arguments(samples, groups))
        return y.reshape(samples, -1, *y.shape[2:])

    def parts(self, bank: Tensor, samples: int) -> Iterator[slice]:
        """Yield slices of equal numbers of samples, as many as there are bytes for."""
        room = CPU_BYTES if bank.device.type == "cpu" else GPU_BYTES
        count = max(1, math.ceil(samples * bank[0].numel() * self.dtype.itemsize / room))
        return _slices(0, samples, math.ceil(samples / count))

    def calls(self, part: slice) -> Iterator[slice]:
        """Yield slices of the samples of one convolution each."""
        return _slices(part.start, part.stop, 1 if self.apart else part.stop - part.start)


def side_by_side(x: Tensor) -> Tensor:
    """Return images [B, C, H, W] side by side on the channel axis, [1, B C, H, W]."""
    return x if len(x) == 1 else x.reshape(1, -1, *x.shape[2:])


def convolve(x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, form: Form) -> Tensor:
    """Return every sample convolved with its own mixture: [B, O, H', W'].

    Args:
        x: images [B, C, H, W] in the form's type.
        bank: kernels [K, ...], see ``arranged`` and ``Form.order``.
        gates: see ``spread``.
        bias: [B, O], or none.
        form: of the convolution.

    """
    y: Tensor = _Convolution.apply(x, bank, gates, bias, form)
    return y


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, form: Form) -> Tensor:
        ctx.save_for_backward(x, bank, gates, bias)
        ctx.form = form
        y = _Rows(x)
        for part in form.parts(bank, len(x)):
            mixed = form.mixed(bank, gates[part])
            for call in form.calls(part):
                own = mixed[call.start - part.start : call.stop - part.start]
                y.put(call, form.convolved(x[call], own, None if bias is None else bias[call]))
            del mixed, own  # before those of the next samples are made
        return y.whole()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, bank, gates, bias = ctx.saved_tensors
        form, wanted = ctx.form, ctx.needs_input_grad
        if torch.is_grad_enabled():  # a gradient that is differentiated again: as autograd has it
            inputs = [tensor for tensor, needed in zip((x, bank, gates, bias), wanted, strict=False) if needed]
            y = form.convolved(x, form.mixed(bank, gates), bias)
            found = iter(torch.autograd.grad(y, inputs, gradient, create_graph=True))
            return (*(next(found) if needed else None for needed in wanted[:4]), None)
        of_x, of_gates = _Rows(x), torch.empty_like(gates)
        of_bank: Tensor | None = None
        mixing = wanted[1] or wanted[2]
        for part in form.parts(bank, len(x)):
            mixed = form.mixed(bank, gates[part])
            of_mixed = torch.empty_like(mixed)
            for call in form.calls(part):
                here = slice(call.start - part.start, call.stop - part.start)
                own = mixed[here]
                arguments = form.arguments(*own.shape[:2])
                of_images, of_kernel, _ = torch.ops.aten.convolution_backward(
                    side_by_side(gradient[call]), side_by_side(x[call]), form.kernel(own), None, *arguments, [wanted[0], mixing, False]
                )
                if wanted[0]:
                    of_x.put(call, of_images.reshape(x[call].shape))
                if mixing:
                    of_mixed[here] = form.as_mixed(of_kernel, own)
            if mixing:
                of_mixed = of_mixed.to(bank.dtype)
            if wanted[1]:
                of_bank = _of_bank(of_mixed, gates[part], form, of_bank)
            if wanted[2]:
                of_gates[part] = _of_gates(of_mixed, bank, form)
            del mixed, own, of_mixed, of_kernel, of_images  # before those of the next samples are made
        of_bias = gradient.sum((2, 3)) if wanted[3] else None
        return of_x.whole() if wanted[0] else None, of_bank, of_gates if wanted[2] else None, of_bias, None


def _of_bank(of_mixed: Tensor, gates: Tensor, form: Form, total: Tensor | None) -> Tensor:
    """Return the gradient of the bank by the mixtures of some samples, added in place to that of others."""
    if form.granularity == "kernel":
        if total is None:
            return (gates.mT @ of_mixed.flatten(1)).view(-1, *of_mixed.shape[1:])
        total.flatten(1).addmm_(gates.mT, of_mixed.flatten(1))
        return total
    term = torch.einsum(f"{GATES[form.granularity]},b{form.order}->k{form.order}", gates, of_mixed)
    return term if total is None else total.add_(term)


def _of_gates(of_mixed: Tensor, bank: Tensor, form: Form) -> Tensor:
    if form.granularity == "kernel":
        return of_mixed.flatten(1) @ bank.flatten(1).mT
    return torch.einsum(f"b{form.order},k{form.order}->{GATES[form.granularity]}", of_mixed, bank)


class _Rows:
    """A batch of maps that is computed by parts, in the memory format of ``like`` if there are several."""

    def __init__(self, like: Tensor) -> None:
        self.count = len(like)
        last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
        self.memory_format = torch.channels_last if last else torch.contiguous_format
        self.rows: Tensor | None = None

    def put(self, where: slice, maps: Tensor) -> None:
        """Add the maps of some samples."""
        if len(maps) == self.count:
            self.rows = maps
            return
        if self.rows is None:
            self.rows = torch.empty((self.count, *maps.shape[1:]), dtype=maps.dtype, device=maps.device, memory_format=self.memory_format)
        self.rows[where] = maps

    def whole(self) -> Tensor:
        """Return the maps of all samples."""
        assert self.rows is not None
        return self.rows


def _slices(start: int, stop: int, step: int) -> Iterator[slice]:
    return (slice(first, min(first + step, stop)) for first in range(start, stop, step))
