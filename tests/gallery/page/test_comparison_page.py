import dataclasses
from pathlib import Path

import pytest

from gconv_gan.commands.gallery import GalleryCommand
from gconv_gan.config.errors import UserError
from gconv_gan.config.load import parse_command
from gconv_gan.gallery.page.compared_scores import best_of, by_kind, scores_html_of
from gconv_gan.gallery.page.comparison_page import SIDES, build_comparison, compared, draw_side
from gconv_gan.gallery.page.index import write_index
from gconv_gan.gallery.page.manifest import read_manifest
from gconv_gan.gallery.page.score_names import Direction
from gconv_gan.gallery.page.settings_table import settings_html
from gconv_gan.gallery.pictures.curves.overlaid_curves import overlaid_curves
from gconv_gan.gallery.score import Score, read_score
from gconv_gan.gallery.trained_generator import TrainedGenerator
from tests.gallery.conftest import LOW, changed_files, class_generator, file_among, small_generator

FEW = {kind: compared(2)[kind] for kind in ("unconditional", "classes")}


def renamed(trained: TrainedGenerator, name: str, **changes: object) -> TrainedGenerator:
    """The same generator under another name and hash, with changes to its fields or facts."""
    facts = {key: value for key, value in changes.items() if key in ("images_seen", "details")}
    rest = {key: value for key, value in changes.items() if key not in facts}
    return dataclasses.replace(trained, run=dataclasses.replace(trained.run, name=name, checkpoint_sha256="cd" * 32, **facts), **rest)  # type: ignore[arg-type]


def test_a_run_beside_itself_shows_the_same_pictures(trained: TrainedGenerator, tmp_path: Path) -> None:
    page = build_comparison(tmp_path / "pair", (trained, renamed(trained, "other")), pictures=FEW)
    for file in ("unconditional.png", "classes-000.png"):
        assert (page.parent / f"a-{file}").read_bytes() == (page.parent / f"b-{file}").read_bytes()
    assert changed_files(page.parent) == []
    assert {entry.checkpoint[:2] for entry in read_manifest(page.parent).pictures} == {"ab", "cd", ""}
    assert "other: Grid" in page.read_text()


def test_every_picture_can_be_drawn_again_from_its_side(trained: TrainedGenerator, tmp_path: Path) -> None:
    runs = (trained, renamed(trained, "other", generator=class_generator()), renamed(trained, "third"))
    folder = build_comparison(tmp_path / "three", runs, seed=3).parent
    entries = [entry for entry in read_manifest(folder).pictures if entry.kind != "curves"]
    assert {entry.kind for entry in entries} == {"unconditional", "classes", "slerp", "truncation", "logit-ranking", "spectrum"}
    assert {entry.file[0] for entry in entries} == set("abc")
    for (side, _), entry in {(entry.file[0], entry.kind): entry for entry in entries}.items():
        of = runs[SIDES.index(side)]
        assert entry.checkpoint == of.run.checkpoint_sha256
        drawings = draw_side(compared(3)[entry.kind], of, side, of.run.name, seed=entry.seed, **entry.parameters)
        assert file_among(drawings, entry.file) == (folder / entry.file).read_bytes()


def test_runs_that_cannot_share_latents_are_refused(trained: TrainedGenerator, tmp_path: Path) -> None:
    other = dataclasses.replace(trained, generator=small_generator(num_classes=2))
    with pytest.raises(UserError, match="number of classes is 3 and 2"):
        build_comparison(tmp_path, (trained, trained, other))
    with pytest.raises(UserError, match="of 2 to 26 runs, not of 1"):
        build_comparison(tmp_path, (trained,))
    assert parse_command(GalleryCommand, ["a", "b", "c"]).runs == ("a", "b", "c")


def score(value: float, *, protocol: str = "tiny2k", extractor: str = "digits classifier", **fakes: object) -> Score:
    card = {
        "formula": {"protocol": protocol, "num_fake": 2000, "num_real": 1797},
        "extractor": {"name": extractor},
        "reference": {"source": f"reals of {value}", "images_sha256": "12"},
        "fakes": {"weights": "ema", "batch_norm": "eval", **fakes},
    }
    return read_score({"scores": {"fd": value}, "card": card}, lower_is_better=LOW)


def changed(one: Score, *, numbers: dict[str, float] | None = None, **card: object) -> Score:
    """The same score with other numbers, or other groups of its card."""
    content = {"scores": one.numbers if numbers is None else numbers, "card": {**one.card, **card}}
    return read_score(content, lower_is_better=LOW)


def test_scores_share_a_table_only_if_their_cards_are_comparable() -> None:
    first = [score(285.2, protocol="tiny50k"), score(2066.8, seed=0, images_seen=1280), score(1.0, extractor="other")]
    second = [score(2198.0, seed=0, images_seen=640), score(3.0, protocol="tiny50k", extractor="other"), score(4.0, weights="raw")]
    assert [list(group) for group in by_kind({"a": first, "b": second})] == [["a"], ["a", "b"], ["a"], ["b"], ["b"]]
    for group, field, value in (("reference", "images_sha256", "34"), ("extractor", "sha256", "5"), ("formula", "kid_seed", 1)):
        other = changed(score(2.0), **{group: {**score(2.0).card[group], field: value}})
        assert len(by_kind({"a": [score(1.0)], "b": [other]})) == 2, group


@pytest.mark.parametrize(
    ("better", "values", "best"),
    [
        ("lower", {"a": 2.0, "b": 1.0, "c": 1.0}, {"b", "c"}),
        ("higher", {"a": 0.5, "b": 0.4}, {"a"}),
        ("lower", {"a": 1.0, "b": 1.0}, set()),
        (None, {"a": 1.0, "b": 2.0}, set()),
    ],
)
def test_the_better_number_is_that_of_the_direction_of_the_score(
    better: Direction | None, values: dict[str, float], best: set[str]
) -> None:
    assert best_of(better, values) == best


def test_the_better_score_of_a_row_is_marked_and_a_score_without_a_counterpart_is_not(trained: TrainedGenerator) -> None:
    low = changed(score(1.0, seed=0), numbers={"fd": 1.0, "recall": 0.1})
    high = changed(score(2.0, seed=0), numbers={"fd": 2.0, "recall": 0.3, "coverage": 0.9})
    runs = {"a": renamed(trained, "a", scores=(low, score(0.5, protocol="other"))), "b": renamed(trained, "b", scores=(high,))}
    text = scores_html_of(runs)
    table, _, alone = text.partition("Scores of one run only")
    marked = ['class="better"' in cell for row in table.split('<th scope="row">')[1:] for cell in row.split("<td")[1:]]
    assert marked == [True, False, False, True, False, False]
    assert ">–<" in table
    assert "0.5" in alone
    assert "best" not in alone


def test_facts_that_differ_are_marked_and_the_equal_ones_are_listed_once() -> None:
    text = settings_html(
        {"a": {"Data": "x", "Width": "32"}, "b": {"Data": "x", "Width": "32"}, "c": {"Data": "x", "Width": "24", "Norm": "z"}}
    )
    table, _, equal = text.partition("1 facts are equal")
    assert [cell.split("</td>")[0] for cell in table.split("<td>")[1:]] == ["32", "32", "<mark>24</mark>", "–", "–", "<mark>z</mark>"]
    assert "<dd>x</dd>" in equal
    assert "Data" not in table


def test_curves_that_two_runs_have_share_a_panel_and_each_run_keeps_its_colour(trained: TrainedGenerator) -> None:
    less = tuple({key: value for key, value in record.items() if key != "loss_g"} for record in trained.records)
    runs = {"a": trained, "b": renamed(trained, "b", records=less), "c": renamed(trained, "c")}
    drawings = {drawing.title: drawing for drawing in overlaid_curves(runs)}
    assert list(drawings) == ["Fréchet distance, lower is better (tiny2k)", "Losses, discriminator", "Losses, generator"]
    both, without = (drawings[f"Losses, {player}"].content.decode() for player in ("discriminator", "generator"))
    assert [both.count(f'"line series-{index}"') for index in range(3)] == [2, 2, 2]
    assert [without.count(f'"line series-{index}"') for index in range(3)] == [2, 0, 2]
    assert overlaid_curves({"a": trained}) == []


def test_checkpoints_scored_alike_are_one_curve_of_each_run(trained: TrainedGenerator) -> None:
    early, late, other = (
        changed(one, reference={"source": "reals"})
        for one in (score(3.0, images_seen=640), score(1.0, images_seen=1280), score(2.0, images_seen=1280, weights="raw"))
    )
    runs = {
        "a": renamed(trained, "a", scores=(early, late), records=()),
        "b": renamed(trained, "b", scores=(late, early, other), records=()),
    }
    (drawing,) = overlaid_curves(runs)
    assert drawing.content.decode().count('data-values="3 1"') == 2


def test_pictures_come_first_and_unequal_training_is_said(trained: TrainedGenerator, tmp_path: Path) -> None:
    other = renamed(trained, "other", images_seen=640, scores=(score(7.5, protocol="tiny5k"), trained.scores[0]))
    text = build_comparison(tmp_path / "pair", (trained, other), pictures=FEW).read_text()
    places = [text.index(f'<section id="{name}"') for name in ("samples", "scores", "curves", "classes", "facts")]
    assert places == sorted(places)
    assert text.index("<img") < text.index("<table")
    assert "has seen <strong>1,200</strong> images and other has seen <strong>640</strong> images" in text
    index = write_index(tmp_path, lower_is_better=LOW)
    assert "tiny_gconv and other" in index.read_text().replace("<wbr>", "")
    same = build_comparison(tmp_path / "same", (trained, trained), pictures=FEW).read_text()
    assert "has seen" not in same
    assert "Scores of one run only" not in same
    assert "tiny_gconv (b)" in same.replace("<wbr>", "")
