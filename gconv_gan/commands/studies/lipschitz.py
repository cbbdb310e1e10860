"""Bounds of the operator norm of every layer of a run's discriminator."""

from collections.abc import Sequence

import torch

from gconv_gan.commands.train.networks import load_run
from gconv_gan.config.base import Config
from gconv_gan.config.commands import Checkpoint, RunFolder
from gconv_gan.config.load import parse_command
from gconv_gan.layers.lipschitz.operator_norms import LayerRow, discriminator_table
from gconv_gan.runtime.device import command_device


class LipschitzCommand(Config):
    """Print bounds of the operator norm of every layer of a run's discriminator."""

    run: RunFolder
    checkpoint: Checkpoint = None


def main(arguments: Sequence[str]) -> None:
    """Print the table of norms at the checkpoint that the command line names."""
    command = parse_command(LipschitzCommand, arguments)
    run = load_run(command.run, checkpoint=command.checkpoint)
    device, size = command_device(), run.config.data.size
    y = None if run.num_classes is None else torch.zeros(1, dtype=torch.long, device=device)
    rows = discriminator_table(run.discriminator().to(device), torch.zeros(1, 3, size, size, device=device), *([] if y is None else [y]))
    print(f"{run.checkpoint}: discriminator, {run.config.discriminator.norm.kind} normalisation, bias ignored")
    print(table(rows))


def table(rows: Sequence[LayerRow]) -> str:
    """Return the rows as text: lower and upper bound of each layer's norm, and the norm of its reshaped matrix."""
    lines = [f"{'layer':24} {'kind':32} {'weight':>18} {'input':>12} {'lower':>9} {'upper':>9} {'reshaped':>9}"]
    for row in rows:
        weight, shape = ("×".join(map(str, s)) for s in (row.weight_shape, row.input_shape))
        lines.append(
            f"{row.name:24} {row.kind:32} {weight:>18} {shape:>12} {row.norms.lower:9.4f} {row.norms.upper:9.4f} {row.reshape_sigma:9.4f}"
        )
    return "\n".join(lines)
