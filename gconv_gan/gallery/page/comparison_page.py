"""Two runs side by side: the same pictures of the same latents, the first run left, the second right.

``manifest.json`` is that of a gallery: each entry names the weights it was drawn from, and files of the two sides begin with "a-"
and "b-".
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from typing import Any

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import entries_of, write_gallery
from gconv_gan.gallery.page.document import breakable, document_html, facts_html
from gconv_gan.gallery.page.manifest import Entry, Manifest, library_versions
from gconv_gan.gallery.page.run_page import panel_html, sheet_html
from gconv_gan.gallery.page.score_pairs import scores_section
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.grid import TILE_SIDE
from gconv_gan.gallery.pictures.registry import PICTURES, draw_unconditional
from gconv_gan.gallery.trained_generator import TrainedGenerator

SIDES = ("a", "b")
COLUMNS = {"columns": 6}  # two grids stand side by side on the page
COMPARED: dict[str, PictureKind] = {
    "unconditional": PictureKind("samples", draw_unconditional, {"rows": 6, **COLUMNS}),
    **{
        kind: replace(PICTURES[kind], parameters={**PICTURES[kind].parameters, **COLUMNS})
        for kind in ("classes", "slerp", "class-blend", "truncation", "truncation-w")
    },
    "logit-ranking": replace(PICTURES["logit-ranking"], parameters={**PICTURES["logit-ranking"].parameters, "kept": 3}),
    "spectrum": PICTURES["spectrum"],
}


def require_same_latents(first: TrainedGenerator, second: TrainedGenerator) -> None:
    """Raise ``UserError`` if two generators do not take the same latents and classes."""
    for words, one, other in (
        ("latent dimension", first.latent_dim, second.latent_dim),
        ("number of classes", first.num_classes, second.num_classes),
    ):
        if one != other:
            raise UserError(f"{first.run.name} and {second.run.name} cannot share latents: their {words} is {one} and {other}")


def build_comparison(
    out_dir: Path, generators: tuple[TrainedGenerator, TrainedGenerator], *, seed: int = 0, pictures: Mapping[str, PictureKind] = COMPARED
) -> Path:
    """Draw ``pictures`` of both runs and write them with a manifest and a page; return the path of the page.

    A kind of picture that one of the runs cannot show is left out.

    Raises:
        UserError: if the runs differ in latent dimension or classes, or a score has no protocol.

    """
    require_same_latents(*generators)
    drawn: dict[str, list[list[Drawing]]] = {}
    for kind, row in pictures.items():
        sides = [draw_side(row, trained, side, seed=seed, **row.parameters) for side, trained in zip(SIDES, generators, strict=True)]
        if all(sides):
            drawn[kind] = sides
    entries: list[Entry] = []
    files: dict[str, bytes] = {}
    for kind, sides in drawn.items():
        for drawings, trained in zip(sides, generators, strict=True):
            entries += entries_of(kind, drawings, pictures[kind], trained, seed=seed)
            files |= {name: content for drawing in drawings for name, content in drawing.files().items()}
    page = comparison_html(generators, list(drawn.values()), seed=seed)
    first, second = (trained.run for trained in generators)
    run = {
        "name": f"{first.name} and {second.name}",
        "dataset": first.dataset if first.dataset == second.dataset else f"{first.dataset} and {second.dataset}",
        "images_seen": max(first.images_seen, second.images_seen),
        **{side: asdict(trained.run) for side, trained in zip(SIDES, generators, strict=True)},
    }
    return write_gallery(out_dir, files, Manifest(run, library_versions(), tuple(entries)), page)


def draw_side(row: PictureKind, trained: TrainedGenerator, side: str, *, seed: int, **parameters: Any) -> list[Drawing]:
    """Return the drawings of one kind and one run, under the file names of its side."""
    return [prefixed(drawing, side, trained.run.name) for drawing in row.draw(trained, seed=seed, **parameters)]


def prefixed(drawing: Drawing, side: str, run: str) -> Drawing:
    """Return a drawing under the file name of its side, its alternative text naming the run."""
    return replace(drawing, file=f"{side}-{drawing.file}", alt=f"{run}: {drawing.alt}")


def pair_html(sides: Sequence[Sequence[Drawing]], generators: tuple[TrainedGenerator, TrainedGenerator]) -> str:
    """Return the drawings of a kind: those of the first run beside those of the second."""
    pairs = []
    for drawings in zip(*sides, strict=True):
        figures = [
            sheet_html(replace(drawing, title=trained.run.name), pixels=trained.image_size < TILE_SIDE)
            if drawing.shape == "sheet"
            else panel_html(replace(drawing, title=trained.run.name))
            for drawing, trained in zip(drawings, generators, strict=True)
        ]
        pairs.append(f'<div class="pair">{"".join(figures)}</div>')
    return "".join(pairs)


def unequal_training(first: TrainedGenerator, second: TrainedGenerator) -> str:
    """Return a sentence as HTML if the two checkpoints have seen different numbers of images; else the empty string."""
    if first.run.images_seen == second.run.images_seen:
        return ""
    seen = " and ".join(f"{breakable(run.name)} has seen <strong>{run.images_seen:,}</strong> images" for run in (first.run, second.run))
    return f" {seen}: differences between them may be due to the length of training."


def run_html(trained: TrainedGenerator) -> str:
    """Return the name and the facts of one run."""
    run = trained.run
    facts = {"Data": run.dataset, "Images seen": f"{run.images_seen:,}", "Checkpoint": run.checkpoint, **run.details}
    facts["Weights SHA-256"] = f"{run.checkpoint_sha256[:16]}…"
    return f"<div><h2>{breakable(run.name)}</h2>{facts_html(facts)}</div>"


def comparison_html(
    generators: tuple[TrainedGenerator, TrainedGenerator], kinds: Sequence[Sequence[Sequence[Drawing]]], *, seed: int
) -> str:
    """Return the page: facts of both runs, their scores, then a section for each kind of picture."""
    names = [trained.run.name for trained in generators]
    scores = scores_section(*generators)
    sections, links = [scores], {"#scores": "Scores"} if scores else {}
    for sides in kinds:
        title, name = sides[0][0].title, sides[0][0].file.partition("-")[2].partition(".")[0]
        links[f"#{name}"] = title
        sections.append(
            f'<section id="{escape(name)}" class="wrap stacked" aria-labelledby="{escape(name)}-title">'
            f'<div class="intro"><h2 id="{escape(name)}-title">{escape(title)}</h2></div>'
            f'<div class="plates">{pair_html(sides, generators)}</div></section>'
        )
    return document_html(
        title=f"{names[0]} and {names[1]}",
        links=links,
        main=f'<header class="wrap stacked hero"><div><h1>{breakable(names[0])} and {breakable(names[1])}</h1><p class="lead">Two runs, '
        f"the same latents of seed {seed}: pictures at the same place come from the same latent.{unequal_training(*generators)}</p></div>"
        f'<div class="pair">{"".join(run_html(trained) for trained in generators)}</div>'
        f"</header>{''.join(sections)}",
        footer='<p>Every picture can be drawn again from <a href="manifest.json">manifest.json</a>.</p>'
        "<p><kbd>j</kbd> and <kbd>k</kbd> move to the next and the previous picture.</p>",
    )
