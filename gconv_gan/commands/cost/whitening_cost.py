"""Time of the whitening layers relative to direct implementations of their definitions.

As in ``conv_cost``, both forms run in alternation in one process, forward and backward; numbers are medians over rounds of ratios of
times, with their quartiles.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.commands.cost.conv_cost import ratio
from gconv_gan.config.base import Config
from gconv_gan.config.load import parse_command
from gconv_gan.layers import InvariantConv2d, IterNorm
from gconv_gan.layers.norms.invariant_conv import locally_normalised
from gconv_gan.layers.weights import channels_last
from gconv_gan.metrics.cost import rounds, training_step
from gconv_gan.runtime.device import command_device, device_name

MIN_ROUNDS, MAX_ROUNDS = 5, 100


class WhiteningCostCommand(Config):
    """Time the whitening layers and their direct forms."""

    channels: PositiveInt = 128
    """Channels of the feature maps."""
    side: PositiveInt = 16
    """Their resolution."""
    batch_size: PositiveInt = 16
    """Images in a batch."""
    seconds: PositiveFloat = 60.0
    """Approximate total time; a longer time gives a smaller spread."""
    threads: PositiveInt = 1
    """Threads on the CPU."""


class GroupByGroup(nn.Module):
    """``IterNorm`` by its definition: one group after another, powers of matrices, gradients of both factors of a covariance."""

    def __init__(self, layer: IterNorm) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer, statistics = self.layer, self.layer.statistics
        assert layer.weight is not None
        assert layer.bias is not None
        identity = torch.eye(statistics.running_matrix.shape[1], device=x.device)
        white = []
        for maps in x.chunk(statistics.groups, dim=1):
            rows = maps.transpose(0, 1).flatten(1)
            centred = rows - rows.mean(1, keepdim=True)
            sigma = centred @ centred.T / rows.shape[1] + statistics.eps * identity
            p = identity
            for _ in range(statistics.iterations):
                p = 1.5 * p - 0.5 * torch.linalg.matrix_power(p, 3) @ (sigma / sigma.trace())
            white.append((p @ centred / sigma.trace().sqrt()).view(-1, x.shape[0], *x.shape[2:]).transpose(0, 1))
        return torch.cat(white, 1) * layer.weight[:, None, None] + layer.bias[:, None, None]


class WhitenedPatches(nn.Module):
    """``InvariantConv2d`` by its definition: every patch is whitened, then multiplied by the kernels."""

    def __init__(self, layer: InvariantConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        layer = self.layer
        assert layer.whitening is not None
        assert layer.bias is not None
        x = locally_normalised(x, layer.local_norm, layer.eps)
        mean, whitening = layer.whitening(layer._patches(x))
        patches = F.unfold(x, 3, padding=1)
        rows = patches.view(len(x), mean.shape[0], -1, patches.shape[2]) - mean[:, None, None]
        white = torch.einsum("nfjl,fe->nejl", rows, whitening[0]).reshape(patches.shape)
        return (layer.weight.flatten(1) @ white + layer.bias[:, None]).view(len(x), -1, *x.shape[2:])


def main(arguments: Sequence[str]) -> None:
    """Print the time of each direct form over that of the layer."""
    command = parse_command(WhiteningCostCommand, arguments)
    torch.set_num_threads(command.threads)
    where = f"{device_name()}, {command.threads} CPU thread(s)"
    torch.manual_seed(0)
    channels, side, device = command.channels, command.side, command_device()
    x = torch.randn(command.batch_size, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
    print(f"training, batch {command.batch_size}, {channels} channels at {side}×{side}, float32, {where}")
    print("time of the direct form over the layer's: median [quartiles]")
    for label, (direct, layer) in pairs(channels).items():
        for form in (direct, layer):
            channels_last(form.to(device))
        steps = {"direct": training_step(direct, x), "layer": training_step(layer, x)}
        first = sum(times[0] for times in rounds(steps, repeats=1, device=device).values())
        times = rounds(steps, repeats=max(MIN_ROUNDS, min(MAX_ROUNDS, int(command.seconds / 2 / first) - 3)), device=device)
        print(f"{label:44} {ratio(times['direct'], times['layer'])!s:>22}")


def pairs(channels: int) -> dict[str, tuple[nn.Module, nn.Module]]:
    """Return (direct form, layer) with shared parameters, by the name of the rewrite."""
    iter_norm = IterNorm(channels)
    invariant = InvariantConv2d(channels, channels, 3, padding=1, block_size=min(16, channels // 2))
    return {
        "IterNorm: all groups at once": (GroupByGroup(iter_norm), iter_norm),
        "InvariantConv2d: folded into the weights": (WhitenedPatches(invariant), invariant),
    }
