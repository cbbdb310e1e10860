"""Build a gallery: walk the table of pictures, write the manifest, the files and the page."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.manifest import MANIFEST, Entry, Manifest, library_versions, manifest_json, read_manifest, sha256
from gconv_gan.gallery.page.own_files import INDEX, require_own_page
from gconv_gan.gallery.page.run_page import page_html
from gconv_gan.gallery.pictures.drawing import Drawing, PictureKind
from gconv_gan.gallery.pictures.grid import TILE_SIDE
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.slider.slider import Slider, slider_files, slider_html
from gconv_gan.gallery.trained_generator import TrainedGenerator
from gconv_gan.runtime.files.atomic import write_bytes

HERO = "unconditional"  # the kind of picture whose first drawing stands at the top of the page


def build_gallery(
    out_dir: Path,
    trained: TrainedGenerator,
    *,
    seed: int = 0,
    pictures: Mapping[str, PictureKind] = PICTURES,
    slider: Slider | None = None,
) -> Path:
    """Draw every picture of the table and write it with the manifest and the page; return the path of the page.

    Each file is written under a temporary name and renamed, the page last: no incomplete file and no page with missing pictures is
    ever visible. Files of an earlier gallery that are no longer drawn are removed; other files are not touched.

    Args:
        out_dir: folder of the gallery; made if needed.
        trained: the generator, its run and its records.
        seed: of all latents and labels.
        pictures: the table; it needs the kind ``HERO``.
        slider: model and runtime of the latent slider between the samples of the first picture; None: a page without one.

    Raises:
        UserError: if the log has a score without a protocol, or a training grid holds images of another size.
        ValueError: if two drawings share a file name.

    """
    drawn = {kind: row.draw(trained, seed=seed, **row.parameters) for kind, row in pictures.items()}
    entries = [entry for kind, drawings in drawn.items() for entry in entries_of(kind, drawings, pictures[kind], trained, seed=seed)]
    files = {name: content for drawings in drawn.values() for drawing in drawings for name, content in drawing.files().items()}
    if len(files) != len(entries):
        raise ValueError(f"two drawings share a file name among {sorted(entry.file for entry in entries)}")
    versions = library_versions()
    pixels, controls = trained.image_size < TILE_SIDE, ""
    if slider is not None:
        sheet = trained.numbered(seed, sum(map(len, drawn[HERO][0].samples)))
        names = [trained.class_name(index) for index in range(trained.num_classes or 0)]
        added = slider_files(slider, sheet=sheet, class_names=names)
        controls = slider_html(slider, added, sheet=sheet, image_size=trained.image_size, pixels=pixels)
        entries += [
            Entry(name, "slider", seed, {}, trained.run.checkpoint_sha256, sha256(file), "Latent slider", {})
            for name, file in added.items()
        ]
        files |= added
    page = page_html(
        trained.run,
        hero=drawn[HERO][0],
        sections=by_section({kind: drawings for kind, drawings in drawn.items() if kind != HERO}, pictures),
        scores=trained.scores,
        pixels=pixels,
        seed=seed,
        versions=versions,
        slider=controls,
    )
    return write_gallery(out_dir, files, Manifest(asdict(trained.run), versions, tuple(entries)), page)


def entries_of(kind: str, drawings: Iterable[Drawing], row: PictureKind, trained: TrainedGenerator, *, seed: int) -> list[Entry]:
    """Return the manifest's entries for the files of one kind."""
    return [
        Entry(
            name,
            kind,
            seed,
            dict(row.parameters),
            trained.run.checkpoint_sha256,
            sha256(content),
            drawing.title,
            dict(drawing.facts),
        )
        for drawing in drawings
        for name, content in drawing.files().items()
    ]


def curve_entries(drawings: Iterable[Drawing], parameters: Mapping[str, Any], *, seed: int) -> list[Entry]:
    """Return the manifest's entries for curves of several runs, which no single weights file gives."""
    return [
        Entry(name, "curves", seed, dict(parameters), "", sha256(content), drawing.title, {})
        for drawing in drawings
        for name, content in drawing.files().items()
    ]


def write_gallery(out_dir: Path, files: Mapping[str, bytes], manifest: Manifest, page: str) -> Path:
    """Write the manifest, the files and last the page, then remove the files of an earlier gallery; return the path of the page.

    The manifest is first: it tells the next build which files belong to a gallery that was not finished.

    Raises:
        UserError: a file of one of these names is there that no gallery has written.

    """
    require_own_page(out_dir)
    earlier = {entry.file for entry in read_manifest(out_dir).pictures} if (out_dir / MANIFEST).is_file() else set()
    foreign = sorted(name for name in set(files) - earlier if (out_dir / name).exists())
    if foreign:
        raise UserError(f"{out_dir / foreign[0]} is not a file of an earlier gallery and is not overwritten: name another folder")
    outdated = earlier - set(files)
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, content in {MANIFEST: manifest_json(manifest), **files, INDEX: page.encode()}.items():
        write_bytes(out_dir / name, content)
    for name in outdated:
        (out_dir / name).unlink(missing_ok=True)
    return out_dir / INDEX


def by_section(drawn: Mapping[str, list[Drawing]], pictures: Mapping[str, PictureKind]) -> dict[str, list[Drawing]]:
    """Return the drawings of each section, in the order of the table."""
    sections: dict[str, list[Drawing]] = {}
    for kind, drawings in drawn.items():
        sections.setdefault(pictures[kind].section, []).extend(drawings)
    return sections
