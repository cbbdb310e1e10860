"""Several runs side by side: the same pictures of the same latents in the order of the runs, their scores, curves and facts.

``manifest.json`` is that of a gallery: each entry names the weights it was drawn from, and files of the first run begin with "a-", those
of the second with "b-", and so on. The curves belong to all runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from html import escape
from pathlib import Path
from string import ascii_lowercase
from typing import Any

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import curve_entries, entries_of, write_gallery
from gconv_gan.gallery.page.compared_scores import scores_html_of
from gconv_gan.gallery.page.document import breakable, document_html, section_html
from gconv_gan.gallery.page.manifest import Entry, Manifest, library_versions
from gconv_gan.gallery.page.run_page import SECTIONS, panel_html, sheet_html
from gconv_gan.gallery.page.settings_table import settings_html
from gconv_gan.gallery.pictures.curves.overlaid_curves import overlaid_curves
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.grid import TILE_SIDE
from gconv_gan.gallery.pictures.registry import PICTURES, draw_unconditional
from gconv_gan.gallery.trained_generator import TrainedGenerator

SIDES = ascii_lowercase
ROWS = 6  # of the samples


def compared(runs: int) -> dict[str, PictureKind]:
    """Return the pictures of a comparison of so many runs, whose grids stand side by side on the page: two have wider ones."""
    columns = 8 if runs == 2 else 6
    return {
        "unconditional": PictureKind("samples", draw_unconditional, {"rows": ROWS, "columns": columns}),
        **{
            kind: replace(PICTURES[kind], parameters={**PICTURES[kind].parameters, "columns": columns})
            for kind in ("classes", "slerp", "class-blend", "truncation", "truncation-w")
        },
        "logit-ranking": replace(PICTURES["logit-ranking"], parameters={**PICTURES["logit-ranking"].parameters, "kept": 3}),
        "spectrum": PICTURES["spectrum"],
    }


HEADINGS = {"samples": ("Samples", "Samples"), **{section.name: (section.link, section.title) for section in SECTIONS}}
"""Section -> its link in the navigation, and its heading."""


def require_same_latents(generators: Sequence[TrainedGenerator]) -> None:
    """Raise ``UserError`` if there are no two generators, or more than ``SIDES`` has letters, or they take other latents or classes."""
    if not 2 <= len(generators) <= len(SIDES):
        raise UserError(f"a comparison is of 2 to {len(SIDES)} runs, not of {len(generators)}")
    first = generators[0]
    for second in generators[1:]:
        for words, one, other in (
            ("latent dimension", first.latent_dim, second.latent_dim),
            ("number of classes", first.num_classes, second.num_classes),
        ):
            if one != other:
                raise UserError(f"{first.run.name} and {second.run.name} cannot share latents: their {words} is {one} and {other}")


def build_comparison(
    out_dir: Path, generators: Sequence[TrainedGenerator], *, seed: int = 0, pictures: Mapping[str, PictureKind] | None = None
) -> Path:
    """Draw ``pictures`` (None: ``compared``) of all runs and write them with a manifest and a page; return the path of the page.

    A kind of picture that one of the runs cannot show is left out.

    Raises:
        UserError: if there are fewer than two runs, or they differ in latent dimension or classes, or a score has no protocol.

    """
    require_same_latents(generators)
    pictures = compared(len(generators)) if pictures is None else pictures
    runs = named(generators)
    drawn: dict[str, list[list[Drawing]]] = {}
    for kind, row in pictures.items():
        sides = [
            draw_side(row, trained, side, name, seed=seed, **row.parameters)
            for side, (name, trained) in zip(SIDES, runs.items(), strict=False)
        ]
        if all(sides):
            drawn[kind] = sides
    entries: list[Entry] = []
    files: dict[str, bytes] = {}
    for kind, sides in drawn.items():
        for drawings, trained in zip(sides, generators, strict=True):
            entries += entries_of(kind, drawings, pictures[kind], trained, seed=seed)
            files |= {name: content for drawing in drawings for name, content in drawing.files().items()}
    curves = overlaid_curves(runs)
    entries += curve_entries(curves, {"runs": list(runs)}, seed=seed)
    files |= {name: content for drawing in curves for name, content in drawing.files().items()}
    facts = [trained.run for trained in generators]
    run = {
        "name": listed(list(runs)),
        "dataset": listed(list(dict.fromkeys(one.dataset for one in facts))),
        "images_seen": max(one.images_seen for one in facts),
        **{side: asdict(one) for side, one in zip(SIDES, facts, strict=False)},
    }
    page = comparison_html(runs, sections_of(drawn, pictures), curves, seed=seed)
    return write_gallery(out_dir, files, Manifest(run, library_versions(), tuple(entries)), page)


def named(generators: Sequence[TrainedGenerator]) -> dict[str, TrainedGenerator]:
    """Return name -> run, with the letter of its side behind a name that several runs have."""
    names = [trained.run.name for trained in generators]
    labels = (name if names.count(name) == 1 else f"{name} ({side})" for side, name in zip(SIDES, names, strict=False))
    return dict(zip(labels, generators, strict=True))


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b", "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def draw_side(row: PictureKind, trained: TrainedGenerator, side: str, name: str, *, seed: int, **parameters: Any) -> list[Drawing]:
    """Return the drawings of one kind and one run, under the file names of its side."""
    return [prefixed(drawing, side, name) for drawing in row.draw(trained, seed=seed, **parameters)]


def prefixed(drawing: Drawing, side: str, run: str) -> Drawing:
    """Return a drawing under the file name of its side, its alternative text naming the run."""
    return replace(drawing, file=f"{side}-{drawing.file}", alt=f"{run}: {drawing.alt}")


def sections_of(drawn: Mapping[str, list[list[Drawing]]], pictures: Mapping[str, PictureKind]) -> dict[str, list[list[list[Drawing]]]]:
    """Return section -> its kinds of pictures, each as the drawings of every run."""
    sections: dict[str, list[list[list[Drawing]]]] = {}
    for kind, sides in drawn.items():
        sections.setdefault(pictures[kind].section, []).append(sides)
    return sections


def row_html(sides: Sequence[Sequence[Drawing]], runs: Mapping[str, TrainedGenerator]) -> str:
    """Return the drawings of a kind, those of all runs side by side."""
    rows = []
    for drawings in zip(*sides, strict=True):
        figures = [
            sheet_html(replace(drawing, title=name), pixels=trained.image_size < TILE_SIDE)
            if drawing.shape == "sheet"
            else panel_html(replace(drawing, title=name))
            for drawing, (name, trained) in zip(drawings, runs.items(), strict=True)
        ]
        rows.append(f'<div class="pair">{"".join(figures)}</div>')
    return "".join(rows)


def kinds_html(kinds: Sequence[Sequence[Sequence[Drawing]]], runs: Mapping[str, TrainedGenerator]) -> str:
    """Return the pictures of a section, each kind under its title if there are several."""
    rows = [row_html(sides, runs) for sides in kinds]
    if len(rows) == 1:
        return rows[0]
    return "".join(f"<div><h3>{escape(sides[0][0].title)}</h3>{row}</div>" for sides, row in zip(kinds, rows, strict=True))


def unequal_training(runs: Mapping[str, TrainedGenerator]) -> str:
    """Return a sentence as HTML if the checkpoints have seen different numbers of images; else the empty string."""
    seen = {name: trained.run.images_seen for name, trained in runs.items()}
    if len(set(seen.values())) == 1:
        return ""
    words = listed([f"{breakable(name)} has seen <strong>{images:,}</strong> images" for name, images in seen.items()])
    return f" {words}: differences between them may be due to the length of training."


def facts_of(trained: TrainedGenerator) -> dict[str, str]:
    """Return the facts of one run."""
    run = trained.run
    facts = {"Data": run.dataset, "Images seen": f"{run.images_seen:,}", "Checkpoint": run.checkpoint, **run.details}
    return facts | {"Weights SHA-256": f"{run.checkpoint_sha256[:16]}…"}


def comparison_html(
    runs: Mapping[str, TrainedGenerator],
    sections: Mapping[str, Sequence[Sequence[Sequence[Drawing]]]],
    curves: Sequence[Drawing],
    *,
    seed: int,
) -> str:
    """Return the page: the samples, the scores and curves, the other pictures, and the facts of all runs."""
    pictures = {name: (*HEADINGS[name], "", kinds_html(kinds, runs)) for name, kinds in sections.items()}
    panels = "".join(panel_html(drawing) for drawing in curves)
    parts = {
        **{name: part for name, part in pictures.items() if name == "samples"},
        "scores": (
            "Scores",
            "Scores",
            "Only scores with equal protocol, features, reference images and mode of the generator share a table. ★ marks the best number "
            "of a row. Runs of other seeds may differ as much: one run each does not decide.",
            scores_html_of(runs),
        ),
        "curves": (
            "Curves",
            "Curves",
            "Over real images seen by the discriminator.",
            f'<div class="panels">{panels}</div>' if panels else "",
        ),
        **{name: part for name, part in pictures.items() if name != "samples"},
        "facts": ("Facts", "Facts of the runs", "", settings_html({name: facts_of(trained) for name, trained in runs.items()})),
    }
    shown = {name: part for name, part in parts.items() if part[3]}
    lead = f"{len(runs)} runs, the same latents of seed {seed}: pictures at the same place come from the same latent."
    return document_html(
        title=listed(list(runs)),
        links={f"#{name}": link for name, (link, *_) in shown.items()},
        main=f'<header class="wrap stacked hero"><div><h1>{listed([breakable(name) for name in runs])}</h1>'
        f'<p class="lead">{lead}{unequal_training(runs)}</p></div></header>'
        + "".join(section_html(name, title, intro, body) for name, (_, title, intro, body) in shown.items()),
        footer='<p>Every picture can be drawn again from <a href="manifest.json">manifest.json</a>.</p>'
        "<p><kbd>j</kbd> and <kbd>k</kbd> move to the next and the previous picture. On a plot, <kbd>←</kbd> and <kbd>→</kbd> move to the "
        "values of the next point.</p>",
    )
