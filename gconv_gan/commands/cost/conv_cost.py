"""Cost of a generator's convolutions: parameters, MACs and time of every kind, and of every exact rewrite against its direct form.

All candidates of a table run in alternation in one process, forward and backward, so that other load on the machine affects all of them
equally. A number is the median over rounds of the ratio of two times in one round; its spread is the quartiles of those ratios.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from gconv_gan.config.base import Config
from gconv_gan.config.load import parse_command
from gconv_gan.config.schema import give
from gconv_gan.layers import AdaptiveConv2d, Condition, Conditioned, InvariantConv2d, IterNorm, ResampledConv2d, apply
from gconv_gan.layers.dynamic.kernel_banks import per_channel
from gconv_gan.layers.dynamic.modulated_conv import EPS
from gconv_gan.layers.norms.invariant_conv import locally_normalised
from gconv_gan.layers.resample import Resample
from gconv_gan.layers.tables import CONVS
from gconv_gan.layers.weights import channels_last
from gconv_gan.metrics.cost import counts, inference, rounds, training_step
from gconv_gan.runtime.device import command_device, device_name

Key = TypeVar("Key")

LATENT_DIM, CLASSES = 128, 10
MIN_ROUNDS, MAX_ROUNDS = 5, 100

CONVOLUTIONS: dict[str, Callable[..., nn.Module]] = {
    "plain": CONVS["plain"],
    "gconv dictionary": CONVS["gconv"],
    "gconv dictionary, open gates": partial(CONVS["gconv"], selection="open"),
    "gconv bank of 4": partial(CONVS["gconv"], mode="bank"),
    "ghost": CONVS["ghost"],
    "condconv": CONVS["condconv"],
    "dyconv": CONVS["dyconv"],
    "odconv": CONVS["odconv"],
    "cconv": CONVS["cconv"],
    "stylegan2": CONVS["stylegan2"],
    "gigagan, 2 kernels": CONVS["gigagan"],
    "gigagan, 8 kernels": partial(CONVS["gigagan"], num_kernels=8),
}


class ConvCostCommand(Config):
    """Time the convolutions of a generator at three resolutions, and every exact rewrite of a layer against its direct form."""

    channels: PositiveInt = 128
    """Input and output channels (SNGAN at 32 px: 256)."""
    sides: tuple[PositiveInt, ...] = (8, 16, 32)
    """Resolutions of the results."""
    batch_size: PositiveInt = 8
    """Images in a batch."""
    seconds: PositiveFloat = 60.0
    """Approximate total time; a longer time gives a smaller spread."""
    passes: Literal["training", "inference"] = "training"
    """training: forward and backward; inference: forward without a graph, as for the fakes of a discriminator's step."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: under autocast."""
    threads: PositiveInt = 1
    """Threads on a CPU."""


class UnderCondition(nn.Module):
    """A layer with its condition, as a network of one image argument; ``resample`` is a separate operation before or after it."""

    def __init__(self, layer: nn.Module, condition: Condition, *, resample: Resample = "none") -> None:
        super().__init__()
        self.layer, self.condition, self.resample = layer, condition, resample

    def forward(self, x: Tensor) -> Tensor:
        """Return the resampled result of the layer."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest") if self.resample == "up" else x
        y = apply(self.layer, x, self.condition)
        return F.avg_pool2d(y, 2) if self.resample == "down" else y


class ExplicitKernels(Conditioned):
    """The direct form of ``AdaptiveConv2d``: every sample's kernel is built, normalised and applied as a grouped convolution."""

    def __init__(self, layer: AdaptiveConv2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, condition: Condition) -> Tensor:
        """Return the same as the layer, up to rounding."""
        layer = self.layer
        assert layer.gate is not None
        assert layer.bias is not None
        gates, style = layer.gate(condition), layer.style(condition.require_z("ExplicitKernels"))
        kernels = (gates[:, :, None, None, None, None] * layer.bank).sum(1) * style[:, None, :, None, None]
        kernels = kernels * (kernels.square().sum((2, 3, 4), keepdim=True) + EPS).rsqrt()
        y = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels.flatten(0, 1), padding=layer.geometry.padding, groups=len(x))
        return y.view(len(x), layer.out_channels, *y.shape[2:]) + per_channel(layer.bias, y)


class GroupByGroup(nn.Module):
    """``IterNorm`` by its definition: one group after another, powers of matrices, gradients of both factors of a covariance."""

    def __init__(self, layer: IterNorm) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the same as the layer in training, up to rounding."""
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
        """Return the same as the layer, up to rounding."""
        layer = self.layer
        assert layer.whitening is not None
        assert layer.bias is not None
        x = locally_normalised(x, layer.local_norm, layer.eps)
        mean, whitening = layer.whitening(layer._patches(x))
        patches = F.unfold(x, 3, padding=1)
        rows = patches.view(len(x), mean.shape[0], -1, patches.shape[2]) - mean[:, None, None]
        white = torch.einsum("nfjl,fe->nejl", rows, whitening[0]).reshape(patches.shape)
        return (layer.weight.flatten(1) @ white + layer.bias[:, None]).view(len(x), -1, *x.shape[2:])


@dataclass(frozen=True)
class Ratio:
    """Ratios of two candidates' times, round by round: median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:6.2f}  [{self.low:.2f}, {self.high:.2f}]"


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """Return median and quartiles of the ratios of two candidates' seconds in the same rounds."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)


def main(arguments: Sequence[str]) -> None:
    """Print one table of convolutions per resolution, then the rewrites."""
    command = parse_command(ConvCostCommand, arguments)
    torch.set_num_threads(command.threads)
    where = f"{device_name()}, {command.threads} CPU thread(s)"
    torch.manual_seed(0)
    bench = Bench(command)
    print(f"{command.passes}, batch {command.batch_size}, {command.channels} channels, {command.precision}, {where}")
    for side in command.sides:
        print(f"\n3×3 at {side}×{side}; times relative to plain in the same round: median [quartiles]")
        print(bench.convolutions(side))
    middle = sorted(command.sides)[len(command.sides) // 2]
    print(f"\nexact rewrites at {middle}×{middle}; time of the direct form over the rewritten one: median [quartiles]")
    print(bench.rewrites(middle))


class Bench:
    """Builds and times the candidates of each table, within its share of the total time."""

    def __init__(self, command: ConvCostCommand) -> None:
        self.command, self.device = command, command_device()
        self.share = command.seconds / (len(command.sides) + 1)
        z, y = torch.randn(command.batch_size, LATENT_DIM), torch.randint(CLASSES, (command.batch_size,))
        self.condition = Condition(z.to(self.device), y.to(self.device))

    def convolutions(self, side: int) -> str:
        """Return the table of all kinds of convolution at one resolution."""
        networks = {name: self.placed(self.layer(name)) for name in CONVOLUTIONS}
        x = self.images(side)
        times = self.time({name: self.passes(network, x) for name, network in networks.items()})
        lines = [f"{'':28} {'parameters':>12} {'MACs/image':>14} {'ms':>9} {'over plain':>22}"]
        for name, network in networks.items():
            size, over = counts(network, x), ratio(times[name], times["plain"])
            lines.append(f"{name:28} {size.parameters:12,} {size.macs:14,} {1e3 * statistics.median(times[name]):9.2f} {over!s:>22}")
        return "\n".join(lines)

    def rewrites(self, side: int) -> str:
        """Return the table of direct forms against their rewritten forms."""
        pairs = self.pairs(side)
        candidates = {(label, form): self.passes(network, x) for label, (*forms, x) in pairs.items() for form, network in enumerate(forms)}
        times = self.time(candidates)
        return "\n".join(f"{label:44} {ratio(times[label, 0], times[label, 1])!s:>22}" for label in pairs)

    def pairs(self, side: int) -> dict[str, tuple[nn.Module, nn.Module, Tensor]]:
        """Return (direct form, rewritten form, input) of every rewrite, of the same parameters; results are side × side."""
        low, high = self.images(side // 2), self.images(2 * side)
        pairs: dict[str, tuple[nn.Module, nn.Module, Tensor]] = {}
        for name in ("plain", "gconv dictionary", "gconv bank of 4"):
            pairs[f"{name}: upsampling fused"] = *self.resampled(self.layer(name), self.layer(name, resample="up"), "up"), low
            pairs[f"{name}: pooling fused"] = *self.resampled(self.layer(name), self.layer(name, resample="down"), "down"), high
        channels = self.command.channels
        shortcuts = ResampledConv2d(channels, channels, 1), ResampledConv2d(channels, channels, 1, resample="up")
        pairs["1×1: before upsampling, not after"] = *self.resampled(*shortcuts, "up"), low
        adaptive = self.layer("gigagan, 2 kernels")
        assert isinstance(adaptive, AdaptiveConv2d)
        pairs["gigagan, 2 kernels: no kernel per sample"] = self.placed(ExplicitKernels(adaptive)), self.placed(adaptive), self.images(side)
        if self.command.passes == "training":  # in evaluation both layers are affine maps
            norm = IterNorm(channels)
            invariant = InvariantConv2d(channels, channels, 3, padding=1, block_size=min(16, channels // 2))
            pairs["IterNorm: all groups at once"] = self.placed(GroupByGroup(norm)), self.placed(norm), self.images(side)
            pairs["InvariantConv2d: folded into the weights"] = (
                self.placed(WhitenedPatches(invariant)),
                self.placed(invariant),
                self.images(side),
            )
        return pairs

    def resampled(self, plain: nn.Module, fused: nn.Module, resample: Resample) -> tuple[nn.Module, nn.Module]:
        """Return ``plain`` with separate resampling, and ``fused`` with the same parameters."""
        fused.load_state_dict(plain.state_dict())
        return self.placed(plain, resample=resample), self.placed(fused)

    def layer(self, name: str, *, resample: Resample = "none") -> nn.Module:
        """Return a 3×3 convolution as a generator's block builds it."""
        conv = give(CONVOLUTIONS[name], latent_dim=LATENT_DIM, num_classes=CLASSES)
        found: nn.Module = conv(self.command.channels, self.command.channels, 3, padding=1, resample=resample)
        return found

    def placed(self, layer: nn.Module, *, resample: Resample = "none") -> nn.Module:
        """Return the layer with its condition, in the memory layout of training."""
        network = UnderCondition(layer, self.condition, resample=resample).to(self.device)
        channels_last(network)
        return network

    def images(self, side: int) -> Tensor:
        """Return a batch of feature maps."""
        x = torch.randn(self.command.batch_size, self.command.channels, side, side, device=self.device)
        return x.contiguous(memory_format=torch.channels_last)

    def passes(self, network: nn.Module, x: Tensor) -> Callable[[], None]:
        """Return the function that is timed."""
        run = training_step(network, x) if self.command.passes == "training" else inference(network, x)
        if self.command.precision == "float32":
            return run

        def under_autocast() -> None:
            with torch.autocast(self.device.type, torch.bfloat16):
                run()

        return under_autocast

    def time(self, candidates: Mapping[Key, Callable[[], None]]) -> dict[Key, list[float]]:
        """Return seconds of each candidate, over as many rounds as fit into its share of the time."""
        first = sum(times[0] for times in rounds(candidates, repeats=1, device=self.device).values())
        repeats = max(MIN_ROUNDS, min(MAX_ROUNDS, int(self.share / first) - 3))
        return rounds(candidates, repeats=repeats, device=self.device)
