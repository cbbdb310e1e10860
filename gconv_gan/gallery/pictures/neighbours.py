"""Nearest training images of samples, which show whether a generator copies training images.

The whole training set is searched, tile by tile; memory does not grow with it.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, UInt8
from torch import Tensor

from gconv_gan.gallery.pictures.drawing import Drawing
from gconv_gan.gallery.pictures.grid import as_bytes, grid_png
from gconv_gan.gallery.trained_generator import TrainedGenerator, TrainingImages

TILE_BYTES = 2**22  # of images held at once, as bytes; as float64 eight times that

Bytes = UInt8[Tensor, "b 3 h w"]
Embed = Callable[[Bytes], Float[Tensor, "b d"]]


def nearest(
    queries: Float[Tensor, "m d"], tiles: Iterable[tuple[int, Float[Tensor, "v b d"]]], *, count: int
) -> tuple[Float64[Tensor, "m k"], Int[Tensor, "m k"]]:
    r"""Return the ``count`` smallest distances of each query, ascending, and the numbers of their rows.

    .. math:: d(q, x) = \min_v \lVert q - x_v \rVert_2

    over the variants v of a row (an image and its mirror image). Distances are sums of squared differences in float64, not differences of
    products: they are exact near zero, the distance of a copy. k is ``count``, or the number of rows if there are fewer.

    Args:
        queries: rows whose neighbours are searched.
        tiles: (number of the first row, variants of rows) of every part to search.
        count: number of neighbours.

    """
    distances, numbers = torch.empty(len(queries), 0, dtype=torch.float64), torch.empty(len(queries), 0, dtype=torch.long)
    for first, variants in tiles:
        exact = [torch.cdist(queries.double(), rows.double(), compute_mode="donot_use_mm_for_euclid_dist") for rows in variants]
        index = torch.arange(first, first + variants.shape[1]).expand(len(queries), -1)
        distances, order = torch.cat([distances, torch.stack(exact).amin(0)], 1).sort(dim=1, stable=True)
        numbers = torch.cat([numbers, index], 1).gather(1, order)[:, :count]
        distances = distances[:, :count]
    return distances, numbers


def training_tiles(training: TrainingImages, embed: Embed) -> Iterator[tuple[int, Float[Tensor, "v b d"]]]:
    """Yield the embedded training set, tile by tile, with the mirror images if training used them."""
    size = max(1, TILE_BYTES // int(np.prod(training.images.shape[1:])))
    for start in range(0, len(training.images), size):
        images = torch.from_numpy(np.array(training.images[start : start + size]))
        yield start, torch.stack([embed(images), embed(images.flip(3))] if training.mirrored else [embed(images)])


def in_pixels(images: Bytes) -> Float[Tensor, "b d"]:
    """Return images as vectors whose Euclidean distance is the root mean square difference in grey levels, 0 to 255."""
    flat = images.flatten(1).double()
    scaled: Tensor = flat / flat.shape[1] ** 0.5
    return scaled


def draw_pixel_neighbours(trained: TrainedGenerator, *, seed: int, samples: int, nearest: int) -> list[Drawing]:
    """Return the first samples with their nearest training images by the distance of pixels."""
    return neighbour_drawings(
        trained,
        in_pixels,
        seed=seed,
        samples=samples,
        count=nearest,
        file="neighbours-pixels.png",
        space="pixels",
        unit="the root mean square difference of the pixels, in grey levels of 255",
    )


def draw_feature_neighbours(trained: TrainedGenerator, *, seed: int, samples: int, nearest: int) -> list[Drawing]:
    """Return the first samples with their nearest training images by an extractor's features; no drawing without an extractor."""
    if trained.extractor is None:
        return []
    return neighbour_drawings(
        trained,
        trained.extractor.features,
        seed=seed,
        samples=samples,
        count=nearest,
        file="neighbours-features.png",
        space="features",
        unit=f"the Euclidean distance of the features of {trained.extractor.name}",
    )


def neighbour_drawings(
    trained: TrainedGenerator, embed: Embed, *, seed: int, samples: int, count: int, file: str, space: str, unit: str
) -> list[Drawing]:
    """Return one grid: a sample and its ``count`` nearest training images to a row, with all distances as facts."""
    training = trained.training
    if training is None:
        return []
    images = as_bytes(trained.numbered_images(seed, samples))
    probes = np.linspace(0, len(training.images) - 1, samples).astype(int)
    reals = torch.from_numpy(np.array(training.images[probes]))
    distances, numbers = nearest(embed(torch.cat([images, reals])), training_tiles(training, embed), count=count)
    found = torch.from_numpy(np.stack([training.images[row] for row in numbers[:samples].numpy()]))
    grid = torch.cat([images[:, None], found], 1)
    facts = {f"row {row + 1}": ", ".join(f"{value:.3g}" for value in line) for row, line in enumerate(distances[:samples].tolist())}
    facts["nearest, median of samples"] = f"{distances[:samples, 0].median():.3g}"
    if distances.shape[1] > 1:
        facts["nearest other, median of training images"] = f"{distances[samples:, 1].median():.3g}"
    facts["training images searched"] = f"{len(training.images):,}" + (", and their mirror images" if training.mirrored else "")
    facts["training data SHA-256"] = training.content_hash[:16]
    return [
        Drawing(
            file=file,
            content=grid_png(grid.flatten(0, 1), columns=grid.shape[1], groups=(1, found.shape[1])),
            groups=(("sample", 1), ("nearest training images", found.shape[1])),
            samples=tuple((sample, *[None] * found.shape[1]) for sample in trained.samples(seed, samples)),
            title=f"Nearest training images in {space}",
            caption="The first samples of this page, each with the training images nearest to it, nearest first. Beside a row stands "
            f"the distance of the nearest: {unit}. A copied image has the distance 0; compare with the distances between training images.",
            alt=f"Grid of {samples} rows: a generated image and its {found.shape[1]} nearest training images in {space}; "
            "the nearest are at " + ", ".join(f"{value:.3g}" for value in distances[:samples, 0].tolist()) + ".",
            row_labels=tuple(f"{value:.3g}" for value in distances[:samples, 0].tolist()),
            facts=facts,
        )
    ]
