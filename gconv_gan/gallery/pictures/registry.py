"""The table of pictures. A new picture is one function and one row of ``PICTURES``."""

from typing import Literal, TypeVar

import torch
from torch import Tensor

from gconv_gan.gallery.latents import class_sheet, slerp_sheet
from gconv_gan.gallery.pictures.class_blend import draw_class_blend
from gconv_gan.gallery.pictures.curves.curves_svg import curves_svg
from gconv_gan.gallery.pictures.curves.effective_learning_rates import draw_effective_learning_rates
from gconv_gan.gallery.pictures.curves.history import Series, score_series, short_count, training_series
from gconv_gan.gallery.pictures.curves.score_curves import curve_series
from gconv_gan.gallery.pictures.curves.spectrum import draw_spectrum
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.gate_map import gate_map_svg
from gconv_gan.gallery.pictures.gates import gate_of, gate_statistics, kernel_similarity, mean_by_class, meaning, record_gates
from gconv_gan.gallery.pictures.grid import as_bytes, grid_png, read_tiles
from gconv_gan.gallery.pictures.logit_ranking import draw_logit_ranking
from gconv_gan.gallery.pictures.neighbours import draw_feature_neighbours, draw_pixel_neighbours
from gconv_gan.gallery.pictures.truncation import draw_psi_truncation, draw_truncation
from gconv_gan.gallery.pictures.walk import draw_walk
from gconv_gan.gallery.trained_generator import TrainedGenerator

Item = TypeVar("Item")


def draw_unconditional(trained: TrainedGenerator, *, seed: int, rows: int, columns: int) -> list[Drawing]:
    """Return a grid of independent, unselected samples: the first rows x columns latents of the seed."""
    count = rows * columns
    samples = trained.samples(seed, count)
    return [
        Drawing(
            file="unconditional.png",
            content=grid_png(trained.numbered_images(seed, count), columns=columns),
            title="Samples",
            caption=f"The first {count} samples of seed {seed}, in order, without selection.",
            alt=f"Grid of {rows} by {columns} generated {trained.run.dataset} images, {trained.image_size} pixels wide each.",
            samples=tuple(samples[start : start + columns] for start in range(0, count, columns)),
        )
    ]


def draw_reals(trained: TrainedGenerator, *, seed: int, columns: int) -> list[Drawing]:
    """Return a grid of training images, for comparison."""
    if trained.reals is None:
        return []
    images = read_tiles(trained.reals, side=trained.image_size)
    images = images[: max(1, len(images) // columns) * columns]  # whole rows
    return [
        Drawing(
            file="reals.png",
            content=grid_png(images, columns=columns),
            title="Training images",
            caption="Real pictures from the training set, for comparison.",
            alt=f"Grid of {len(images)} real {trained.run.dataset} images.",
        )
    ]


def draw_classes(trained: TrainedGenerator, *, seed: int, columns: int, classes_per_sheet: int) -> list[Drawing]:
    """Return grids with one row of samples per class; all rows use the same latents, those of the first samples."""
    if trained.num_classes is None:
        return []
    drawings = []
    for start in range(0, trained.num_classes, classes_per_sheet):
        classes = range(start, min(start + classes_per_sheet, trained.num_classes))
        images = trained.rows([trained.numbered(seed, columns, label=index) for index in classes])
        names = tuple(trained.class_name(index) for index in classes)
        drawings.append(
            Drawing(
                file=f"classes-{start:03d}.png",
                content=grid_png(images.flatten(0, 1), columns=columns),
                title=f"Classes {names[0]} to {names[-1]}",
                caption="One class per row. All rows use the same latents: within a column only the class changes.",
                alt=f"Grid of generated images with one row for each of the classes {', '.join(names)}.",
                row_labels=names,
                samples=tuple(trained.samples(seed, columns, label=index) for index in classes),
            )
        )
    return drawings


def draw_timeline(trained: TrainedGenerator, *, seed: int, moments: int, columns: int) -> list[Drawing]:
    """Return a grid of samples of the same latents during training, a row per number of images seen."""
    frames = evenly(sorted(trained.timeline), moments)
    if not frames:
        return []
    rows = [torch.stack(evenly(list(read_tiles(path, side=trained.image_size)), columns)) for _, path in frames]
    first, last = short_count(frames[0][0]), short_count(frames[-1][0])
    return [
        Drawing(
            file="timeline.png",
            content=grid_png(torch.cat(rows), columns=len(rows[0])),
            title=f"From {first} to {last} images",
            caption="A row is a time of training, counted in real images seen. A column is one latent.",
            alt=f"Grid of generated images at {len(rows)} moments of training, the first at {first} images seen, the last at {last}.",
            row_labels=tuple(short_count(images) for images, _ in frames),
        )
    ]


def draw_slerp(trained: TrainedGenerator, *, seed: int, rows: int, columns: int) -> list[Drawing]:
    """Return a grid of interpolations along great circles between pairs of latents."""
    sheet = slerp_sheet(seed, "slerp", rows=rows, columns=columns, latent_dim=trained.latent_dim, num_classes=trained.num_classes)
    labels = () if sheet.y is None else tuple(trained.class_name(int(index)) for index in sheet.y[::columns])
    return [
        Drawing(
            file="slerp.png",
            content=grid_png(trained.generate(sheet), columns=columns),
            title="Latent interpolation",
            caption=f"Each row interpolates from one latent (left) to another (right) along the great circle, in {columns - 1} equal steps"
            + ("." if sheet.y is None else "; the class stays."),
            alt=f"Grid of {rows} rows of {columns} generated images that change gradually from left to right.",
            row_labels=labels,
        )
    ]


def draw_latent_gates(trained: TrainedGenerator, *, seed: int, shown: int, measured: int) -> list[Drawing]:
    """Return heat maps of the gates of the first samples, layer by layer, with their images; the statistics are over more latents."""
    sheet = trained.numbered(seed, measured)
    layers = record_gates(trained.generator, sheet.z, sheet.y)
    if not layers:
        return []
    images = as_bytes(trained.numbered_images(seed, shown))
    return [gate_drawing(trained, layer, gates[:shown], gates, rows="latents", images=images) for layer, gates in layers.items()]


def draw_class_gates(trained: TrainedGenerator, *, seed: int, latents_per_class: int) -> list[Drawing]:
    """Return heat maps of the mean gates of each class over the same latents; no drawing for gates that do not depend on the class."""
    if trained.num_classes is None:
        return []
    sheet = class_sheet(seed, "gates", classes=range(trained.num_classes), columns=latents_per_class, latent_dim=trained.latent_dim)
    assert sheet.y is not None
    drawings = []
    for layer, gates in record_gates(trained.generator, sheet.z, sheet.y).items():
        means = mean_by_class(gates, sheet.y, num_classes=trained.num_classes)
        if not torch.allclose(means, means[:1].expand_as(means), rtol=1e-5, atol=1e-6):
            drawings.append(gate_drawing(trained, layer, means, gates, rows="classes"))
    return drawings


def gate_drawing(
    trained: TrainedGenerator,
    layer: str,
    shown: Tensor,
    measured: Tensor,
    *,
    rows: Literal["latents", "classes"],
    images: Tensor | None = None,
) -> Drawing:
    """Return the heat map of ``shown`` with the layer's statistics over ``measured``."""
    statistics, gate = gate_statistics(measured), gate_of(trained.generator, layer)
    names = [trained.class_name(row) if rows == "classes" else f"image {row}" for row in range(len(shown))]
    alt = (
        f"Heat map of the gates of layer {layer}: {len(shown)} {rows} by {statistics.kernels} kernels; "
        f"mean entropy {statistics.entropy:.2f} of 1."
    )
    return Drawing(
        file=f"gates-{rows}-{layer.replace('.', '-')}.svg",
        content=gate_map_svg(shown, names=names, label=alt, images=images, largest=gate.largest),
        title=layer,
        caption=meaning(gate),
        alt=alt,
        facts={
            "kernels": str(statistics.kernels),
            "entropy": f"{statistics.entropy:.3f}",
            "balance": f"{statistics.balance:.3f}",
            "variance": f"{statistics.variance:.2g}",
            "similarity": f"{kernel_similarity(trained.generator.get_submodule(layer)):.2f}",
        },
        shape="panel",
    )


def draw_scores(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return the scores over images seen, a panel per score and protocol: those of training, then those of its checkpoints."""
    during = [series_drawing(series, "Computed during training.") for series in score_series(trained.records, trained.lower_is_better)]
    after = [series_drawing(series, f"Computed from the checkpoints: {words}.") for series, words in curve_series(trained.scores)]
    return during + after


def draw_training(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return the curves of the training log over images seen."""
    return [series_drawing(series, "") for series in training_series(trained.records)]


def draw_methods(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return the pictures of the run's training methods."""
    return list(trained.methods)


def draw_curvature(trained: TrainedGenerator, *, seed: int) -> list[Drawing]:
    """Return the densities of eigenvalues that ``eval/curvature.py`` measured."""
    return list(trained.curvature)


def series_drawing(series: Series, caption: str) -> Drawing:
    """Return a panel of curves."""
    ends = "; ".join(f"{label}: {curve[0][1]:.3g} at first, {curve[-1][1]:.3g} at last" for label, curve in series.curves.items())
    alt = f"{series.title} over images seen. {ends}."
    return Drawing(
        file=f"history-{series.name}.svg",
        content=curves_svg(series, label=alt),
        title=series.title,
        caption=caption,
        alt=alt,
        shape="panel",
    )


def evenly(items: list[Item], count: int) -> list[Item]:
    """Return at most ``count`` items at even distances, first and last included."""
    if len(items) <= count or count == 1:
        return items[:count]
    return [items[index * (len(items) - 1) // (count - 1)] for index in range(count)]


PICTURES: dict[str, PictureKind] = {
    "unconditional": PictureKind("samples", draw_unconditional, {"rows": 8, "columns": 10}),
    "classes": PictureKind("classes", draw_classes, {"columns": 12, "classes_per_sheet": 20}),
    "timeline": PictureKind("timeline", draw_timeline, {"moments": 12, "columns": 12}),
    "reals": PictureKind("timeline", draw_reals, {"columns": 12}),
    "slerp": PictureKind("interpolation", draw_slerp, {"rows": 6, "columns": 12}),
    "class-blend": PictureKind("interpolation", draw_class_blend, {"rows": 6, "columns": 12}),
    "walk": PictureKind("interpolation", draw_walk, {"stops": 4, "frames_per_leg": 12, "tiles": 12}),
    "truncation": PictureKind("truncation", draw_truncation, {"levels": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0), "columns": 12}),
    "truncation-w": PictureKind("truncation", draw_psi_truncation, {"psis": (0.0, 0.2, 0.4, 0.6, 0.8), "columns": 12}),
    "logit-ranking": PictureKind("logit-ranking", draw_logit_ranking, {"classes": 20, "candidates": 32, "kept": 5}),
    "neighbours-pixels": PictureKind("neighbours", draw_pixel_neighbours, {"samples": 8, "nearest": 7}),
    "neighbours-features": PictureKind("neighbours", draw_feature_neighbours, {"samples": 8, "nearest": 7}),
    "spectrum": PictureKind("spectrum", draw_spectrum, {"count": 256}),
    "gates-latents": PictureKind("gates", draw_latent_gates, {"shown": 12, "measured": 64}),
    "gates-classes": PictureKind("gates", draw_class_gates, {"latents_per_class": 8}),
    "scores": PictureKind("scores", draw_scores),
    "training": PictureKind("training", draw_training),
    "effective-learning-rates": PictureKind("effective-learning-rates", draw_effective_learning_rates),
    "methods": PictureKind("methods", draw_methods),
    "curvature": PictureKind("curvature", draw_curvature),
}
