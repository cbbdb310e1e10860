"""The Lipschitz table of a run's discriminator."""

from collections.abc import Sequence

import torch

from gconv_gan.config.errors import UserError
from gconv_gan.config.scores import CheckpointChoice
from gconv_gan.layers.lipschitz import LayerRow, discriminator_table
from gconv_gan.recipes.networks import load_run

USAGE = "usage: python eval/lipschitz.py RUN [CHECKPOINT_IMAGES | best]"


def main(arguments: Sequence[str]) -> None:
    """Print the table of ``RUN``'s newest checkpoint, of the one at ``CHECKPOINT_IMAGES`` images, or of its best."""
    if not 1 <= len(arguments) <= 2 or arguments[0] in ("-h", "--help") or not all(a == "best" or a.isdigit() for a in arguments[1:]):
        if arguments[:1] in (["-h"], ["--help"]):
            print(USAGE)
            return
        raise UserError(USAGE)
    choices: list[CheckpointChoice] = ["best" if word == "best" else int(word) for word in arguments[1:]]
    run = load_run(arguments[0], checkpoint=choices[0] if choices else None)
    size = run.config.data.size
    y = None if run.num_classes is None else torch.zeros(1, dtype=torch.long)
    rows = discriminator_table(run.discriminator(), torch.zeros(1, 3, size, size), *([] if y is None else [y]))
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
