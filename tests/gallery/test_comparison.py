import dataclasses
import json
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.comparison import COMPARED, build_comparison, redraw_side
from gconv_gan.gallery.index import write_index
from gconv_gan.gallery.manifest import changed_files, read_manifest
from gconv_gan.gallery.subject import Subject
from tests.gallery.conftest import class_generator, small_generator

FEW = {kind: COMPARED[kind] for kind in ("unconditional", "classes")}


def test_a_run_beside_itself_shows_the_same_pictures(subject: Subject, tmp_path: Path) -> None:
    other = dataclasses.replace(subject, run=dataclasses.replace(subject.run, name="other", checkpoint_sha256="cd" * 32))
    page = build_comparison(tmp_path / "pair", (subject, other), pictures=FEW)
    for file in ("unconditional.png", "classes-000.png"):
        assert (page.parent / f"a-{file}").read_bytes() == (page.parent / f"b-{file}").read_bytes()
    assert changed_files(page.parent) == []
    assert {entry.checkpoint[:2] for entry in read_manifest(page.parent).pictures} == {"ab", "cd"}
    assert "other: Grid" in page.read_text()


def test_every_picture_can_be_drawn_again_from_its_side(subject: Subject, tmp_path: Path) -> None:
    other = dataclasses.replace(
        subject, generator=class_generator(), run=dataclasses.replace(subject.run, name="other", checkpoint_sha256="cd" * 32)
    )
    folder = build_comparison(tmp_path / "pair", (subject, other), seed=3).parent
    entries = read_manifest(folder).pictures
    assert {entry.kind for entry in entries} == {"unconditional", "classes", "slerp", "truncation", "verdicts", "spectrum"}
    for entry in entries:
        assert redraw_side(entry, (subject, other)) == (folder / entry.file).read_bytes()
    first = entries[0]
    with pytest.raises(UserError, match=r"a-unconditional.png was drawn from weights abab.*, not from cdcd"):
        redraw_side(first, (other, subject))
    with pytest.raises(UserError, match="unconditional.png is of no side: a comparison's files begin with a- or b-"):
        redraw_side(dataclasses.replace(first, file="unconditional.png"), (subject, other))
    with pytest.raises(UserError, match="no kind 'lost' draws a-unconditional.png"):
        redraw_side(dataclasses.replace(first, kind="lost"), (subject, other))


def test_runs_that_cannot_share_latents_are_refused(subject: Subject, tmp_path: Path) -> None:
    other = dataclasses.replace(subject, generator=small_generator(num_classes=2))
    with pytest.raises(UserError, match="number of classes is 3 and 2"):
        build_comparison(tmp_path, (subject, other))


def test_the_index_lists_every_gallery_and_spares_another_page(gallery: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("manifest.json", "unconditional.png"):
            (tmp_path / name / file).write_bytes((gallery / file).read_bytes())
    index = write_index(tmp_path)
    assert index is not None
    text = index.read_text()
    assert text.count('href="one/index.html"') == text.count('href="two/index.html"') == 2
    assert json.loads((gallery / "manifest.json").read_text())["run"]["name"].replace("_", "_<wbr>") in text
    assert write_index(tmp_path) == index
    index.write_text("<p>mine</p>")
    assert write_index(tmp_path) is None
    assert index.read_text() == "<p>mine</p>"
