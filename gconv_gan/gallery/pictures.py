"""The table of pictures. A new picture is one function and one line of ``PICTURES``.

A drawing function takes the subject, a seed and its own parameters, and returns finished drawings: an empty list where the run
has nothing to show (no classes, no gates, no history). It depends on nothing else, so that the manifest can repeat the call.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from gconv_gan.gallery.gate_map import draw_gate_map
from gconv_gan.gallery.gates import gate_statistics, kernel_similarity, mean_by_class, record_gates
from gconv_gan.gallery.grid import grid_png, read_tiles
from gconv_gan.gallery.history import Series, draw_series, score_series, short_count, training_series
from gconv_gan.gallery.latents import class_sheet, fixed_labels, fixed_latents, random_sheet, slerp_sheet
from gconv_gan.gallery.subject import Subject, generate
from gconv_gan.gallery.theme import DARK, LIGHT
from gconv_gan.models.mapping import MappedGenerator

Item = TypeVar("Item")

UNCONDITIONAL = "unconditional"  # latents of the hero; the gate maps use the first of them


@dataclass(frozen=True)
class Drawing:
    """A finished picture and what a page says about it.

    Args:
        file: name of the file, unique in the gallery.
        content: the file's bytes.
        title: a few words.
        caption: what to look for, in plain words.
        alt: what the picture shows, for readers who cannot see it.
        dark: the same picture for dark pages, where it has colours of its own (plots).
        row_labels: a name per row of a grid; the page sets them beside the picture.
        facts: numbers that belong to the picture.
        shape: a "sheet" takes the width of the page, a "panel" stands beside others.

    """

    file: str
    content: bytes
    title: str
    caption: str
    alt: str
    dark: bytes | None = None
    row_labels: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    shape: Literal["sheet", "panel"] = "sheet"

    def files(self) -> dict[str, bytes]:
        """Return every file of the drawing by name."""
        return {self.file: self.content} | ({} if self.dark is None else {self.dark_file: self.dark})

    @property
    def dark_file(self) -> str:
        """Name of the dark variant: "x.png" -> "x-dark.png"."""
        stem, _, suffix = self.file.rpartition(".")
        return f"{stem}-dark.{suffix}"


@dataclass(frozen=True)
class PictureKind:
    """A line of the table: which function draws it, with which parameters, in which section of the page."""

    section: str
    draw: Callable[..., list[Drawing]]
    parameters: Mapping[str, Any] = field(default_factory=dict)


def draw_unconditional(subject: Subject, *, seed: int, rows: int, columns: int) -> list[Drawing]:
    """Independent samples, not chosen: the first rows x columns latents of the seed."""
    sheet = random_sheet(seed, UNCONDITIONAL, rows=rows, columns=columns, latent_dim=subject.latent_dim, num_classes=subject.num_classes)
    return [
        Drawing(
            file="unconditional.png",
            content=grid_png(subject.generate(sheet), columns=columns),
            title="Samples",
            caption=f"The first {rows * columns} samples of seed {seed}, in order. None was picked or left out.",
            alt=f"Grid of {rows} by {columns} generated {subject.run.dataset} images, {subject.image_size} pixels wide each.",
        )
    ]


def draw_reals(subject: Subject, *, seed: int, columns: int) -> list[Drawing]:
    """Training images, for comparison."""
    if subject.reals is None:
        return []
    images = read_tiles(subject.reals, side=subject.image_size)
    images = images[: max(1, len(images) // columns) * columns]  # whole rows
    return [
        Drawing(
            file="reals.png",
            content=grid_png(images, columns=columns),
            title="Training images",
            caption="Real pictures from the training set, for comparison.",
            alt=f"Grid of {len(images)} real {subject.run.dataset} images.",
        )
    ]


def draw_classes(subject: Subject, *, seed: int, columns: int, classes_per_sheet: int) -> list[Drawing]:
    """One row per class; a column shares its latent."""
    if subject.num_classes is None:
        return []
    drawings = []
    for start in range(0, subject.num_classes, classes_per_sheet):
        classes = range(start, min(start + classes_per_sheet, subject.num_classes))
        sheet = class_sheet(seed, "classes", classes=classes, columns=columns, latent_dim=subject.latent_dim)
        names = tuple(subject.class_name(index) for index in classes)
        drawings.append(
            Drawing(
                file=f"classes-{start:03d}.png",
                content=grid_png(subject.generate(sheet), columns=columns),
                title=f"Classes {names[0]} to {names[-1]}",
                caption="One class a row. All rows use the same latents: down a column only the class changes.",
                alt=f"Grid of generated images with one row for each of the classes {', '.join(names)}.",
                row_labels=names,
            )
        )
    return drawings


def draw_timeline(subject: Subject, *, seed: int, moments: int, columns: int) -> list[Drawing]:
    """The same latents as training went on, a row per moment."""
    frames = evenly(sorted(subject.timeline), moments)
    if not frames:
        return []
    rows = [torch.stack(evenly(list(read_tiles(path, side=subject.image_size)), columns)) for _, path in frames]
    first, last = short_count(frames[0][0]), short_count(frames[-1][0])
    return [
        Drawing(
            file="timeline.png",
            content=grid_png(torch.cat(rows), columns=len(rows[0])),
            title=f"From {first} to {last} images",
            caption="A row is a moment of training, counted in real images seen. A column is one latent throughout.",
            alt=f"Grid of generated images at {len(rows)} moments of training, the first at {first} images seen, the last at {last}.",
            row_labels=tuple(short_count(images) for images, _ in frames),
        )
    ]


def draw_slerp(subject: Subject, *, seed: int, rows: int, columns: int) -> list[Drawing]:
    """Great-circle walks between pairs of latents."""
    sheet = slerp_sheet(seed, "slerp", rows=rows, columns=columns, latent_dim=subject.latent_dim, num_classes=subject.num_classes)
    labels = () if sheet.y is None else tuple(subject.class_name(int(index)) for index in sheet.y[::columns])
    return [
        Drawing(
            file="slerp.png",
            content=grid_png(subject.generate(sheet), columns=columns),
            title="From one latent to another",
            caption=f"Each row walks from one latent (left) to another (right) along the great circle, in {columns - 1} equal steps"
            + ("." if sheet.y is None else "; the class stays."),
            alt=f"Grid of {rows} rows of {columns} generated images that change gradually from left to right.",
            row_labels=labels,
        )
    ]


def draw_truncation(subject: Subject, *, seed: int, columns: int, thresholds: Sequence[float], psis: Sequence[float]) -> list[Drawing]:
    """The same latents at several truncations: of z, or of w where the generator has a mapping network; the last row is not truncated."""
    y = None if subject.num_classes is None else fixed_labels(seed, "truncation", count=columns, num_classes=subject.num_classes)
    draw = partial(fixed_latents, seed, "truncation", count=columns, latent_dim=subject.latent_dim)
    generator = subject.generator
    if isinstance(generator, MappedGenerator):
        rows = {f"ψ = {psi:g}": generate(generator.truncated(psi), draw(), y) for psi in psis}
        caption = "Down a column one latent leaves the mean image: w is moved towards its mean by 1 - ψ."
    else:
        rows = {f"|z| ≤ {threshold:g}": generate(generator, draw(threshold=threshold), y) for threshold in thresholds}
        caption = "Down a column the same latent, of which entries beyond the threshold are drawn anew."
    rows["whole"] = generate(generator, draw(), y)
    return [
        Drawing(
            file="truncation.png",
            content=grid_png(torch.cat(list(rows.values())), columns=columns),
            title="Truncation",
            caption=f"Fidelity above, variety below. {caption}",
            alt=f"Grid of generated images at the truncations {', '.join(rows)}.",
            row_labels=tuple(rows),
        )
    ]


def draw_latent_gates(subject: Subject, *, seed: int, shown: int, measured: int) -> list[Drawing]:
    """Which kernels the first latents of the hero select, layer by layer, with their images; the numbers are over more latents."""
    sheet = random_sheet(seed, UNCONDITIONAL, rows=measured, columns=1, latent_dim=subject.latent_dim, num_classes=subject.num_classes)
    layers = record_gates(subject.generator, sheet.z, sheet.y)
    if not layers:
        return []
    images = subject.generate(sheet)[:shown]
    return [gate_drawing(subject, layer, gates[:shown], gates, rows="latents", images=images) for layer, gates in layers.items()]


def draw_class_gates(subject: Subject, *, seed: int, latents_per_class: int) -> list[Drawing]:
    """Which kernels each class selects on average over the same latents; nothing for gates that do not look at the class."""
    if subject.num_classes is None:
        return []
    sheet = class_sheet(seed, "gates", classes=range(subject.num_classes), columns=latents_per_class, latent_dim=subject.latent_dim)
    assert sheet.y is not None
    drawings = []
    for layer, gates in record_gates(subject.generator, sheet.z, sheet.y).items():
        means = mean_by_class(gates, sheet.y, num_classes=subject.num_classes)
        if not torch.allclose(means, means[:1].expand_as(means), rtol=1e-5, atol=1e-6):
            drawings.append(gate_drawing(subject, layer, means, gates, rows="classes"))
    return drawings


def gate_drawing(
    subject: Subject, layer: str, shown: Tensor, measured: Tensor, *, rows: Literal["latents", "classes"], images: Tensor | None = None
) -> Drawing:
    """Return the heat map of ``shown``, light and dark, with the layer's statistics over ``measured``."""
    statistics = gate_statistics(measured)
    labels = [subject.class_name(row) if rows == "classes" else str(row + 1) for row in range(len(shown))]
    light, dark = (draw_gate_map(shown, labels=labels, theme=theme, images=images) for theme in (LIGHT, DARK))
    return Drawing(
        file=f"gates-{rows}-{layer.replace('.', '-')}.png",
        content=light,
        dark=dark,
        title=layer,
        caption="",
        alt=f"Heat map of the gates of layer {layer}: {len(shown)} {rows} by {statistics.kernels} kernels; "
        f"mean entropy {statistics.entropy:.2f} of 1.",
        facts={
            "kernels": str(statistics.kernels),
            "entropy": f"{statistics.entropy:.3f}",
            "balance": f"{statistics.balance:.3f}",
            "variance": f"{statistics.variance:.2g}",
            "similarity": f"{kernel_similarity(subject.generator.get_submodule(layer)):.2f}",
        },
        shape="panel",
    )


def draw_scores(subject: Subject, *, seed: int) -> list[Drawing]:
    """Scores over images seen, one panel per score and protocol."""
    return [series_drawing(series, "Measured while training went on.") for series in score_series(subject.records)]


def draw_training(subject: Subject, *, seed: int) -> list[Drawing]:
    """What training logged, over images seen."""
    return [series_drawing(series, "") for series in training_series(subject.records)]


def series_drawing(series: Series, caption: str) -> Drawing:
    """Return a panel of curves, light and dark."""
    ends = "; ".join(f"{label}: {curve[0][1]:.3g} at first, {curve[-1][1]:.3g} at last" for label, curve in series.curves.items())
    return Drawing(
        file=f"history-{series.name}.png",
        content=draw_series(series, theme=LIGHT),
        dark=draw_series(series, theme=DARK),
        title=series.title,
        caption=caption,
        alt=f"{series.title} over images seen. {ends}.",
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
    "truncation": PictureKind(
        "interpolation", draw_truncation, {"columns": 12, "thresholds": [0.25, 0.5, 1.0, 2.0], "psis": [0.0, 0.25, 0.5, 0.75]}
    ),
    "gates-latents": PictureKind("gates", draw_latent_gates, {"shown": 12, "measured": 64}),
    "gates-classes": PictureKind("gates", draw_class_gates, {"latents_per_class": 8}),
    "scores": PictureKind("scores", draw_scores),
    "training": PictureKind("training", draw_training),
}
