"""Samples with the highest and the lowest logits of the run's discriminator."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gconv_gan.gallery.latents import class_sheet
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import as_bytes, grid_png
from gconv_gan.gallery.trained_generator import TrainedGenerator, run_in_batches


def best_and_worst(logits: Float[Tensor, "r n"], kept: int) -> Int[Tensor, "r k"]:
    """Return the positions of the ``kept`` largest of each row, largest first, and then of the ``kept`` smallest, smallest last."""
    order = logits.sort(dim=1, descending=True, stable=True).indices
    return torch.cat([order[:, :kept], order[:, -kept:]], 1)


def draw_logit_ranking(trained: TrainedGenerator, *, seed: int, classes: int, candidates: int, kept: int) -> list[Drawing]:
    """Return a grid, a row per class (or one row): the ``kept`` candidates with the highest logits, then the ``kept`` with the lowest."""
    if trained.discriminator is None:
        return []
    if trained.num_classes is None:
        sheet = trained.samples(seed, "logit-ranking", candidates)
        names: tuple[str, ...] = ()
    else:
        shown = range(min(classes, trained.num_classes))
        sheet = class_sheet(seed, "logit-ranking", classes=shown, columns=candidates, latent_dim=trained.latent_dim)
        names = tuple(trained.class_name(index) for index in shown)
    images = run_in_batches(trained.generator, sheet.z, sheet.y)
    logits = run_in_batches(trained.discriminator, images, sheet.y).view(-1, candidates)
    chosen = best_and_worst(logits, kept)
    grid = as_bytes(images).view(len(logits), candidates, *images.shape[1:])
    picked = torch.stack([row[places] for row, places in zip(grid, chosen, strict=True)])
    values = logits.gather(1, chosen)
    rows = names or ("all",)
    return [
        Drawing(
            file="logit-ranking.png",
            content=grid_png(picked.flatten(0, 1), columns=2 * kept),
            title="Highest and lowest logits of the discriminator",
            caption=f"Of {candidates} samples{' of each class' if names else ''} the {kept} with the highest logits (left, highest first) "
            f"and the {kept} with the lowest (right, lowest last). The samples at the top of the page are not selected.",
            alt=f"Grid of generated images: left the {kept} with the highest logits of the discriminator, right the {kept} with the lowest"
            + (f", one row for each of the classes {', '.join(names)}." if names else "."),
            row_labels=names,
            facts={
                name: f"{best:+.2f} … {worst:+.2f}"
                for name, best, worst in zip(rows, values[:, 0].tolist(), values[:, -1].tolist(), strict=True)
            },
        )
    ]
