"""Cost of every layer relative to the 3×3 convolution of the same width, at three shapes."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import nn

from gconv_gan import layers
from gconv_gan.commands.cost.conv_cost import UnderCondition
from gconv_gan.config.base import Config
from gconv_gan.config.commands import JsonFile
from gconv_gan.config.load import parse_command
from gconv_gan.layers.conditioning import Condition
from gconv_gan.metrics.cost import counts, inference, peak_bytes, seconds, training_step
from gconv_gan.runtime.device import command_device, device_name
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.runtime.run_folder import versions

LATENT_DIM, CLASSES = 64, 10
BASELINE = "conv 3x3"

# name -> layer of C channels to C channels that keeps the size
LAYERS: dict[str, Callable[[int], nn.Module]] = {
    BASELINE: lambda c: nn.Conv2d(c, c, 3, padding=1),
    "conv 1x1": lambda c: nn.Conv2d(c, c, 1),
    "conv 3x3, 4 groups": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=4),
    "spectral norm": lambda c: layers.spectral_norm(nn.Conv2d(c, c, 3, padding=1)),
    "ConvNorm2d": lambda c: layers.ConvNorm2d(c, c, 3, padding=1),
    "ConvNorm2d affine, bn": lambda c: layers.ConvNorm2d(c, c, 3, padding=1, affine=True, bn=True),
    "InvariantConv2d, block 16": lambda c: layers.InvariantConv2d(c, c, 3, padding=1, block_size=16),
    "ResampledConv2d up": lambda c: layers.ResampledConv2d(c, c, 3, padding=1, resample="up"),
    "GConv2d dictionary": lambda c: layers.GConv2d(c, c, 3, latent_dim=LATENT_DIM, padding=1),
    "GConv2d bank": lambda c: layers.GConv2d(c, c, 3, latent_dim=LATENT_DIM, padding=1, mode="bank"),
    "CondConv2d": lambda c: layers.CondConv2d(c, c, 3, padding=1),
    "DyConv2d": lambda c: layers.DyConv2d(c, c, 3, padding=1),
    "ODConv2d": lambda c: layers.ODConv2d(c, c, 3, padding=1),
    "CConv2d": lambda c: layers.CConv2d(c, c, 3, num_classes=CLASSES, padding=1),
    "ModulatedConv2d": lambda c: layers.ModulatedConv2d(c, c, 3, latent_dim=LATENT_DIM, padding=1),
    "AdaptiveConv2d": lambda c: layers.AdaptiveConv2d(c, c, 3, latent_dim=LATENT_DIM, padding=1),
    "GhostModule": lambda c: layers.GhostModule(c, c, 3, padding=1),
    "GhostBottleneck": lambda c: layers.GhostBottleneck(c, 2 * c, c),
    "GGhostStage of 3": lambda c: layers.GGhostStage(c, c, 3, stride=1, group_width=8),
    "MultigridChannels2d, groups of 8": lambda c: layers.MultigridChannels2d(c, c, group_size=8, dense_below=8),
    "MultigridInvertedBottleneck, groups of 8": lambda c: layers.MultigridInvertedBottleneck(c, 2 * c, c, group_size=8, dense_below=8),
    "SelectiveKernel2d, 8 groups": lambda c: layers.SelectiveKernel2d(c, c, groups=8),
    "WhitenedUnit": lambda c: layers.WhitenedUnit(c, c, 3),
    "ResidualAttention": lambda c: layers.ResidualAttention(c),
    "SoftMask": lambda c: layers.SoftMask(c, depth=1),
    "SqueezeExcite": layers.SqueezeExcite,
    "NonLocal2d softmax": lambda c: layers.NonLocal2d(c, norm="softmax"),
    "NonLocal2d scale": lambda c: layers.NonLocal2d(c, norm="scale"),
    "BatchNorm2d": layers.BatchNorm2d,
    "ConditionalBatchNorm2d": lambda c: layers.ConditionalBatchNorm2d(c, CLASSES),
    "ClassConditionalNorm2d of IterNorm": lambda c: layers.ClassConditionalNorm2d(layers.IterNorm(c, affine=False), c, CLASSES),
    "InputBatchNorm2d": layers.InputBatchNorm2d,
    "LatentBatchNorm2d": lambda c: layers.LatentBatchNorm2d(c, LATENT_DIM),
    "LatentNorm2d of IterNorm": lambda c: layers.LatentNorm2d(layers.IterNorm(c, affine=False), c, LATENT_DIM),
    "SelfModulatedBatchNorm2d": lambda c: layers.SelfModulatedBatchNorm2d(c, LATENT_DIM),
    "GroupNorm": layers.GroupNorm,
    "GroupNormPlus": layers.GroupNormPlus,
    "IterNorm": layers.IterNorm,
}


class Shape(Config):
    """A batch of feature maps."""

    batch: PositiveInt
    channels: PositiveInt
    size: PositiveInt


SHAPES = (Shape(batch=16, channels=32, size=32), Shape(batch=16, channels=64, size=16), Shape(batch=16, channels=128, size=8))


class LayerCostCommand(Config):
    """Measure the cost of every layer relative to the 3×3 convolution of the same width."""

    repeats: PositiveInt = 15
    """Number of rounds for the median time; every layer runs once per round."""
    json_out: JsonFile = None
    """File to which the numbers are also written."""
    seed: NonNegativeInt = 0
    """Seed of the layers' initial weights and of the input."""


class LayerCost(Config):
    """One layer at one shape."""

    layer: str
    parameters: int
    macs: int
    """Per image."""
    step_seconds: float
    """Median time of forward and backward pass."""
    step_ratio: float
    """The same against the 3×3 convolution's."""
    forward_seconds: float
    """Median time of the forward pass in evaluation mode."""
    forward_ratio: float
    """The same against the 3×3 convolution's."""
    memory_ratio: float
    """Peak memory of forward and backward pass against the 3×3 convolution's."""


def main(arguments: Sequence[str]) -> None:
    """Print a table of every layer's costs for each shape."""
    command = parse_command(LayerCostCommand, arguments)
    found = {shape: layer_costs(shape, repeats=command.repeats, seed=command.seed) for shape in SHAPES}
    print("\n\n".join(table(shape, costs) for shape, costs in found.items()))
    if command.json_out:
        rows = [{**shape.model_dump(), "layers": [cost.model_dump() for cost in costs]} for shape, costs in found.items()]
        about = {
            "baseline": BASELINE,
            "device": device_name(),
            "threads": torch.get_num_threads(),
            "repeats": command.repeats,
            "versions": versions(),
        }
        write_text(Path(command.json_out), json.dumps({**about, "shapes": rows}, indent=2) + "\n")


def layer_costs(shape: Shape, *, repeats: int, seed: int = 0, names: Sequence[str] = tuple(LAYERS)) -> list[LayerCost]:
    """Return the costs of the named layers at ``shape``; all are timed in alternation in one process."""
    device = command_device()
    with torch.random.fork_rng(devices=[]):  # weights are drawn on the CPU
        torch.manual_seed(seed)
        x = torch.randn(shape.batch, shape.channels, shape.size, shape.size).to(device)
        condition = Condition(torch.randn(shape.batch, LATENT_DIM).to(device), torch.arange(shape.batch, device=device) % CLASSES)
        built = {name: UnderCondition(LAYERS[name](shape.channels).to(device), condition) for name in dict.fromkeys([BASELINE, *names])}
    steps = {name: training_step(layer, x) for name, layer in built.items()}
    memory = {
        name: peak_bytes(step, device=device) for name, step in steps.items()
    }  # first, since the profiler warns of gradients from before its start
    step_seconds = seconds(steps, repeats=repeats, device=device)
    forward_seconds = seconds({name: inference(layer, x) for name, layer in built.items()}, repeats=repeats, device=device)
    costs = []
    for name in names:
        counted = counts(built[name], x)
        costs.append(
            LayerCost(
                layer=name,
                parameters=counted.parameters,
                macs=counted.macs,
                step_seconds=step_seconds[name],
                step_ratio=step_seconds[name] / step_seconds[BASELINE],
                forward_seconds=forward_seconds[name],
                forward_ratio=forward_seconds[name] / forward_seconds[BASELINE],
                memory_ratio=memory[name] / memory[BASELINE],
            )
        )
    return costs


def table(shape: Shape, costs: Sequence[LayerCost]) -> str:
    """Return the costs at one shape as Markdown."""
    lines = [
        f"{shape.batch} × {shape.channels} × {shape.size} × {shape.size}, against {BASELINE}",
        "",
        "| layer | parameters | MACs per image | step time | forward time | step memory |",
        "|---|---|---|---|---|---|",
    ]
    for cost in costs:
        step, forward = (
            f"{1000 * taken:.3g} ms, ×{ratio:.2f}"
            for taken, ratio in ((cost.step_seconds, cost.step_ratio), (cost.forward_seconds, cost.forward_ratio))
        )
        lines.append(f"| {cost.layer} | {cost.parameters:,} | {cost.macs:,} | {step} | {forward} | ×{cost.memory_ratio:.2f} |")
    return "\n".join(lines)
