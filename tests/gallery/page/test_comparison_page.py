import dataclasses
import json
from pathlib import Path

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.comparison_page import COMPARED, SIDES, build_comparison, draw_side
from gconv_gan.gallery.page.index import write_index
from gconv_gan.gallery.page.manifest import read_manifest
from gconv_gan.gallery.page.score_pairs import pairs
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.gallery.conftest import changed_files, class_generator, file_among, small_generator

FEW = {kind: COMPARED[kind] for kind in ("unconditional", "classes")}


def test_a_run_beside_itself_shows_the_same_pictures(trained: TrainedGenerator, tmp_path: Path) -> None:
    other = dataclasses.replace(trained, run=dataclasses.replace(trained.run, name="other", checkpoint_sha256="cd" * 32))
    page = build_comparison(tmp_path / "pair", (trained, other), pictures=FEW)
    for file in ("unconditional.png", "classes-000.png"):
        assert (page.parent / f"a-{file}").read_bytes() == (page.parent / f"b-{file}").read_bytes()
    assert changed_files(page.parent) == []
    assert {entry.checkpoint[:2] for entry in read_manifest(page.parent).pictures} == {"ab", "cd"}
    assert "other: Grid" in page.read_text()


def test_every_picture_can_be_drawn_again_from_its_side(trained: TrainedGenerator, tmp_path: Path) -> None:
    other = dataclasses.replace(
        trained, generator=class_generator(), run=dataclasses.replace(trained.run, name="other", checkpoint_sha256="cd" * 32)
    )
    folder = build_comparison(tmp_path / "pair", (trained, other), seed=3).parent
    entries = read_manifest(folder).pictures
    assert {entry.kind for entry in entries} == {"unconditional", "classes", "slerp", "truncation", "logit-ranking", "spectrum"}
    for entry in entries:
        side = entry.file[0]
        of = (trained, other)[SIDES.index(side)]
        assert entry.checkpoint == of.run.checkpoint_sha256
        drawings = draw_side(COMPARED[entry.kind], of, side, seed=entry.seed, **entry.parameters)
        assert file_among(drawings, entry.file) == (folder / entry.file).read_bytes()


def test_runs_that_cannot_share_latents_are_refused(trained: TrainedGenerator, tmp_path: Path) -> None:
    other = dataclasses.replace(trained, generator=small_generator(num_classes=2))
    with pytest.raises(UserError, match="number of classes is 3 and 2"):
        build_comparison(tmp_path, (trained, other))


def test_the_index_lists_every_gallery_and_does_not_overwrite_another_page(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text("[]")
    for name in ("one", "two/gallery"):
        (tmp_path / name).mkdir(parents=True)
        for file in ("manifest.json", "unconditional.png", "index.html"):
            (tmp_path / name / file).write_bytes((gallery / file).read_bytes())
    index = write_index(tmp_path)
    text = index.read_text()
    assert text.count('href="one/index.html"') == text.count('href="two/gallery/index.html"') == 2
    assert "foreign" not in text
    assert json.loads((gallery / "manifest.json").read_text())["run"]["name"].replace("_", "_<wbr>") in text
    assert write_index(tmp_path) == index
    index.write_text("<p>mine</p>")
    with pytest.raises(UserError, match="is another page and is not overwritten"):
        write_index(tmp_path)
    assert index.read_text() == "<p>mine</p>"


def score(value: float, *, protocol: str = "tiny2k", extractor: str = "digits classifier", **fakes: object) -> dict[str, object]:
    card = {
        "formula": {"protocol": protocol, "num_fake": 2000, "num_real": 1797},
        "extractor": {"name": extractor},
        "fakes": {"weights": "ema", "batch_norm": "eval", **fakes},
    }
    return {"scores": {"fd": value}, "card": card}


def test_scores_are_paired_only_under_equal_protocol_and_features() -> None:
    first = [score(285.2, protocol="tiny50k"), score(2066.8, seed=0), score(1.0, extractor="other")]
    second = [score(2198.0, seed=0), score(3.0, protocol="tiny50k", extractor="other"), score(4.0, extractor="other", weights="raw")]
    found = pairs(first, second)
    assert found.common == [(first[1], second[0])]
    assert found.lone == ([first[0], first[2]], [second[1], second[2]])


def test_scores_of_different_checkpoints_are_a_pair() -> None:
    first, second = score(1.0, images_seen=1280), score(2.0, images_seen=640)
    assert pairs([first], [second]).common == [(first, second)]


def test_the_page_names_scores_without_a_counterpart_and_unequal_training(trained: TrainedGenerator, tmp_path: Path) -> None:
    run = dataclasses.replace(trained.run, name="other", images_seen=640)
    other = dataclasses.replace(trained, run=run, scores=(score(7.5, protocol="tiny5k"), trained.scores[0]))
    text = build_comparison(tmp_path / "pair", (trained, other), pictures=FEW).read_text()
    before, _, alone = text.partition("Scores of one run only")
    assert (before.count("<b>tiny2k</b>"), before.count("<b>tiny5k</b>"), alone.count("<b>tiny5k</b>")) == (2, 0, 1)
    assert "has seen <strong>1,200</strong> images and other has seen <strong>640</strong> images" in text
    index = write_index(tmp_path)
    assert "noise: tiny_gconv (pictured) after 1,200 images, other after 640" in index.read_text()
    same = build_comparison(tmp_path / "same", (trained, trained), pictures=FEW).read_text()
    assert "has seen" not in same
    assert "Scores of one run only" not in same
