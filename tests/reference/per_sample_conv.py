"""Convolution with one kernel per sample: a slow float64 reference by a loop over samples and plain resampling."""

import torch
import torch.nn.functional as F
from torch import Tensor


def plain_conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    padding: tuple[int, int] = (0, 0),
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    padding_mode: str = "zeros",
    resample: str = "none",
) -> Tensor:
    """Upsample or not, pad, convolve, pool or not: one operation after the other."""
    if resample == "transposed":
        return F.conv_transpose2d(x, transposed(weight, groups), bias, 2, padding, groups=groups)
    if resample == "up":
        x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    rows, columns = padding
    x = F.pad(x, (columns, columns, rows, rows), mode="constant" if padding_mode == "zeros" else padding_mode)
    y = F.conv2d(x, weight, bias, stride, 0, dilation, groups)
    return F.avg_pool2d(y, 2) if resample == "down" else y


def transposed(weight: Tensor, groups: int) -> Tensor:
    """Return a kernel [O, C/groups, k, k] as ``conv_transpose2d`` wants it, group by group: [C, O/groups, k, k]."""
    return torch.cat([part.transpose(0, 1) for part in weight.chunk(groups)])


def mixed_kernel(bank: Tensor, gates: Tensor, granularity: str, groups: int) -> Tensor:
    """Return the kernel of one sample from gates [K], [K, O], [K, C] or [K, k k]."""
    kernels, outputs, inputs = bank.shape[:3]

    def gate(k: int, o: int) -> Tensor:
        if granularity == "kernel":
            return gates[k]
        if granularity == "filter":
            return gates[k, o]
        if granularity == "tap":
            return gates[k].view(1, *bank.shape[3:])
        first = (o // (outputs // groups)) * inputs  # filter o sees the input channels of its group
        return gates[k, first : first + inputs, None, None]

    return torch.stack([torch.stack([gate(k, o) * bank[k, o] for k in range(kernels)]).sum(0) for o in range(outputs)])


def bank_conv(
    x: Tensor, bank: Tensor, gates: Tensor, bias: Tensor | None, *, granularity: str = "kernel", groups: int = 1, **conv: object
) -> Tensor:
    """Return the bank's convolution; bias [O] or [B, O]."""
    results = []
    for b in range(x.shape[0]):
        weight = mixed_kernel(bank, gates[b], granularity, groups)
        beta = bias if bias is None or bias.ndim == 1 else bias[b]
        results.append(plain_conv(x[b : b + 1], weight, beta, groups=groups, **conv))  # type: ignore[arg-type]
    return torch.cat(results)


def dictionary_conv(
    x: Tensor, dictionary: Tensor, mix: Tensor, gates: Tensor, bias: Tensor | None, filter_bias: Tensor | None, **conv: object
) -> Tensor:
    """Return Mix (g * (D * x + filter_bias)) + bias, sample by sample, filter by filter."""
    filtered = plain_conv(x, dictionary, filter_bias, **conv)  # type: ignore[arg-type]
    results = []
    for b in range(x.shape[0]):
        gated = torch.stack([gates[b, n] * filtered[b, n] for n in range(dictionary.shape[0])])
        results.append(torch.stack([sum(mix[o, n] * gated[n] for n in range(mix.shape[1])) for o in range(mix.shape[0])]))  # type: ignore[arg-type]
    y = torch.stack(results)
    return y if bias is None else y + bias[:, None, None]
