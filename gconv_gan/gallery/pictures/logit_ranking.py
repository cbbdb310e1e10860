"""Samples with the highest and the lowest logits of the run's discriminator."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import grid_png
from gconv_gan.gallery.trained_generator import TrainedGenerator, run_in_batches


def best_and_worst(logits: Float[Tensor, "r n"], kept: int) -> Int[Tensor, "r k"]:
    """Return the positions of the ``kept`` largest of each row, largest first, and then of the ``kept`` smallest, smallest last."""
    order = logits.sort(dim=1, descending=True, stable=True).indices
    return torch.cat([order[:, :kept], order[:, -kept:]], 1)


def draw_logit_ranking(trained: TrainedGenerator, *, seed: int, classes: int, candidates: int, kept: int) -> list[Drawing]:
    """Return a grid, a row per class (or one row): the ``kept`` candidates with the highest logits, then the ``kept`` with the lowest."""
    if trained.discriminator is None:
        return []
    shown: Sequence[int | None] = [None] if trained.num_classes is None else range(min(classes, trained.num_classes))
    names = tuple(trained.class_name(label) for label in shown if label is not None)
    images = trained.rows([trained.numbered(seed, candidates, label=label) for label in shown])
    y = None if trained.num_classes is None else torch.arange(len(shown)).repeat_interleave(candidates)
    logits = run_in_batches(trained.discriminator, images.flatten(0, 1), y).view(-1, candidates)
    chosen = best_and_worst(logits, kept)
    picked = torch.stack([row[places] for row, places in zip(images, chosen, strict=True)])
    named = [trained.samples(seed, candidates, label=label) for label in shown]
    values = logits.gather(1, chosen)
    rows = names or ("all",)
    return [
        Drawing(
            file="logit-ranking.png",
            content=grid_png(picked.flatten(0, 1), columns=2 * kept, groups=(kept, kept)),
            groups=(("highest logits", kept), ("lowest logits", kept)),
            samples=tuple(tuple(row[place] for place in places) for row, places in zip(named, chosen.tolist(), strict=True)),
            title="Highest and lowest logits of the discriminator",
            caption=f"Of the first {candidates} samples{' of each class' if names else ''} the {kept} with the highest logits, highest "
            f"first, and the {kept} with the lowest, lowest last. The samples at the top of the page are not selected.",
            alt=f"Grid of generated images: left the {kept} with the highest logits of the discriminator, right the {kept} with the lowest"
            + (f", one row for each of the classes {', '.join(names)}." if names else "."),
            row_labels=names,
            facts={
                name: f"{best:+.2f} … {worst:+.2f}"
                for name, best, worst in zip(rows, values[:, 0].tolist(), values[:, -1].tolist(), strict=True)
            },
        )
    ]
