"""Interpolation between two classes: every class embedding of the generator is interpolated with that of another class.

Miyato and Koyama, "cGANs with Projection Discriminator", arXiv 1802.05637 (2018), section 4.1.2 and figure 7, mix the scales and shifts of
conditional BatchNorm; BigGAN mixes the class embedding.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from gconv_gan.gallery.latents import fixed_latents
from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import grid_png
from gconv_gan.gallery.trained_generator import TrainedGenerator, generate


@contextmanager
def blended_classes(generator: nn.Module, partner: Int[Tensor, " c"], t: float) -> Iterator[None]:
    r"""Within the context, return interpolated rows from every class embedding of the generator.

    .. math:: e(y) \leftarrow (1 - t)\, e_y + t\, e_{\text{partner}(y)}

    for every ``nn.Embedding`` with one row per class: scales, shifts and class vectors alike.

    Args:
        generator: its modules are not changed; a hook replaces their results.
        partner: a class for each class.
        t: 0: the class itself, 1: its partner.

    """

    def blend(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        assert isinstance(module, nn.Embedding)
        return output.lerp(nn.functional.embedding(partner.to(inputs[0].device)[inputs[0]], module.weight), t)

    embeddings = [module for module in generator.modules() if isinstance(module, nn.Embedding) and module.num_embeddings == len(partner)]
    handles = [module.register_forward_hook(blend) for module in embeddings]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def draw_class_blend(trained: TrainedGenerator, *, seed: int, rows: int, columns: int) -> list[Drawing]:
    """Return a grid with a row and a latent per pair of classes; no drawing if the class enters the generator other than by embeddings.

    The function tests this: at t = 1 the interpolated image must equal the image of the partner class.
    """
    if trained.num_classes is None or trained.num_classes < 2:
        return []
    rows = min(rows, trained.num_classes)
    z = fixed_latents(seed, "class-blend", count=rows, latent_dim=trained.latent_dim)
    y = torch.arange(rows)
    partner = torch.arange(1, trained.num_classes + 1).remainder(trained.num_classes)
    steps = []
    for t in torch.linspace(0, 1, columns).tolist():
        with blended_classes(trained.generator, partner, t):
            steps.append(generate(trained.generator, z, y))
    if torch.equal(steps[0], steps[-1]):
        return []  # the generator does not depend on the class
    if (steps[-1].int() - generate(trained.generator, z, partner[y]).int()).abs().max() > 1:
        return []
    names = tuple(f"{trained.class_name(int(start))} → {trained.class_name(int(partner[start]))}" for start in y)
    return [
        Drawing(
            file="class-blend.png",
            content=grid_png(torch.stack(steps, 1).flatten(0, 1), columns=columns),
            title="Class interpolation",
            caption=f"Each row keeps its latent and interpolates the embeddings of two classes, in {columns - 1} equal steps. "
            "The first and last images show classes of the training set; intermediate embeddings do not occur in training.",
            alt=f"Grid of generated images whose class changes gradually from left to right: {', '.join(names)}.",
            row_labels=names,
        )
    ]
