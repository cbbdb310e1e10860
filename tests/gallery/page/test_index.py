import json
from pathlib import Path
from typing import Any

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.build import build_gallery
from gconv_gan.gallery.page.index import index_html, page_of, ranked, write_index
from gconv_gan.gallery.page.own_files import INDEX, require_own_index
from gconv_gan.gallery.pictures.registry import PICTURES
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.gallery.conftest import LOW

SIDE = {"name": "b", "dataset": "noise", "images_seen": 640, "checkpoint": "checkpoint-640", "date": "2026-01-02 03:04"}


def copy(gallery: Path, folder: Path, **run: Any) -> Path:
    """Write the page, the manifest and the first picture of a gallery into a folder, with changes to the facts of its run."""
    folder.mkdir(parents=True)
    manifest = json.loads((gallery / "manifest.json").read_text())
    manifest["run"] = {key: value for key, value in {**manifest["run"], **run}.items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for file in ("unconditional.png", INDEX):
        (folder / file).write_bytes((gallery / file).read_bytes())
    return folder


def folder_of_pages(gallery: Path, folder: Path) -> Path:
    """Write runs, a comparison and an ablation for an index; return the folder."""
    copy(
        gallery, folder / "low" / "gallery", name="low_fd", best_name="fd2k/fd", best_score=9.5, images_seen=1_000, date="2026-01-02 03:04"
    )
    copy(
        gallery, folder / "high" / "gallery", name="high_fd", best_name="fd2k/fd", best_score=10.5, images_seen=200, date="2025-12-31 23:59"
    )
    copy(gallery, folder / "unscored" / "gallery", name="Unscored", dataset="digits", images_seen=30)
    copy(gallery, folder / "low" / "comparisons" / "b", name="low_fd and b", a={**SIDE, "name": "low_fd"}, b=SIDE, checkpoint=None)
    copy(gallery, folder / "ablate" / "page", name="question", checkpoint=None, command="ablate x.toml")
    return folder


def test_runs_comparisons_and_ablations_are_apart_and_a_score_has_its_name(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text("[]")
    text = write_index(folder_of_pages(gallery, tmp_path), lower_is_better=LOW).read_text()
    sections = {part.partition('"')[0]: part for part in text.split('<section id="')[1:]}
    held = {"run": ["low/gallery", "high/gallery", "unscored/gallery"], "comparison": ["low/comparisons/b"], "ablation": ["ablate/page"]}
    for kind, folders in held.items():
        assert all(sections[kind].count(f'href="{folder}/index.html"') == 2 for folder in folders)
        assert sections[kind].count("<img") == len(folders)
    assert "foreign" not in text
    assert "<b>9.5</b> <span>Fréchet distance, fd2k, lower is better</span>" in sections["run"]
    assert "Best score" not in sections["comparison"]
    assert "2026-01-02 03:04" in sections["comparison"]
    assert "3 runs, 1 comparison, 1 ablation." in text


def test_rows_rank_by_the_better_score_of_the_same_name_and_equal_values_alike() -> None:
    assert ranked([3, None, 1, 3]) == ["1", "", "0", "1"]
    assert ranked([]) == []


def test_an_index_of_nothing_says_so() -> None:
    assert "None yet" in index_html([])


def test_the_index_overwrites_an_index_only_and_a_gallery_no_index(gallery: Path, tmp_path: Path, trained: TrainedGenerator) -> None:
    copy(gallery, tmp_path / "one")
    index = write_index(tmp_path, lower_is_better=LOW)
    assert write_index(tmp_path, lower_is_better=LOW) == index
    before = index.read_bytes()
    few = {"unconditional": PICTURES["unconditional"]}
    with pytest.raises(UserError, match="is an index of galleries and is not overwritten"):
        build_gallery(tmp_path, trained, pictures=few)
    assert (index.read_bytes(), sorted(path.name for path in tmp_path.iterdir())) == (before, [INDEX, "one"])
    page = (tmp_path / "one" / INDEX).read_bytes()
    with pytest.raises(UserError, match="is the page of a gallery and is not overwritten"):
        require_own_index(tmp_path / "one")
    with pytest.raises(UserError, match="is the page of a gallery and is not overwritten"):
        write_index(tmp_path / "one", lower_is_better=LOW)
    assert (tmp_path / "one" / INDEX).read_bytes() == page
    index.write_text("<p>mine</p>")
    with pytest.raises(UserError, match="is another page and is not overwritten"):
        write_index(tmp_path, lower_is_better=LOW)
    assert index.read_text() == "<p>mine</p>"


def test_the_index_writes_one_file_and_of_an_older_manifest_it_shows_what_there_is(gallery: Path, tmp_path: Path) -> None:
    copy(gallery, tmp_path / "pages" / "one", best_name=None, best_score=None, date=None)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    index = write_index(tmp_path / "pages", lower_is_better=LOW)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path for path in after if after[path] != before.get(path)} == {index}
    found = page_of(tmp_path / "pages" / "one", tmp_path / "pages", lower_is_better=LOW)
    assert (found.kind, found.best_name, found.date) == ("run", None, "")
    (tmp_path / "pages" / "one" / "unconditional.png").unlink()
    assert page_of(tmp_path / "pages" / "one", tmp_path / "pages", lower_is_better=LOW).thumbnail is None
    assert "<img" not in write_index(tmp_path / "pages", lower_is_better=LOW).read_text()
