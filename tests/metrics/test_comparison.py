"""Scores side by side: comparable ones with their changes; others are refused by the fields that differ, or marked."""

import pytest

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.comparison import Entry, groups, table
from gconv_gan.metrics.score_card import Score
from tests.metrics.test_score_card import card


def score(numbers: dict[str, float], **changes: object) -> Score:
    return Score(scores=numbers, card=card(**changes))


PLAIN = Entry("runs/plain", score({"fid": 20.0, "is_mean": 7.0, "is_std": 0.05}, fakes__images_seen=64_000))
GCONV = Entry("runs/gconv", score({"fid": 17.0, "is_mean": 7.35, "is_std": 0.04}, fakes__images_seen=128_000, run__training_seed=1))
OTHER = Entry("b.json", score({"fid": 10.0}, reference__split="test", extractor__resizer="pil_bicubic 299"))


def test_alike_scores_stand_in_a_table_with_their_changes() -> None:
    lines = table([PLAIN, GCONV], mark=False)
    assert lines[0] == "images: features of n (tf1_bilinear 299), 100 fakes against 200 of digits (train)"
    assert [line.split() for line in lines[1:4]] == [
        ["images", "fid", "↓", "is_mean", "↑"],
        ["runs/plain", "64,000", "20", "7", "±", "0.05"],
        ["runs/gconv", "128,000", "17", "(-15.0%)", "7.35", "±", "0.04", "(+5.0%)"],
    ]
    assert lines[4:] == ["  runs/gconv also differs from runs/plain in fakes.images_seen: 64000 != 128000; run.training_seed: None != 1"]


def test_unlike_scores_are_refused_by_name_of_every_field() -> None:
    with pytest.raises(UserError) as caught:
        table([PLAIN, GCONV, OTHER], mark=False)
    message = str(caught.value)
    assert "b.json differs from runs/plain in reference.split: 'train' != 'test', extractor.resizer: 'tf1_bilinear 299' !=" in message
    assert "--mark" in message
    assert "runs/gconv differs" not in message


def test_marked_scores_carry_the_mark_and_no_change() -> None:
    lines = table([PLAIN, GCONV, OTHER], mark=True)
    assert lines[4].split() == ["b.json", "-", "10", "!", "-", "!"]
    assert lines[5].startswith("  ! b.json is not comparable with runs/plain: reference.split")
    assert "!" not in lines[2] + lines[3]


@pytest.mark.parametrize(
    ("field", "value"),
    [("formula__num_fake", 99), ("extractor__sha256", "t"), ("reference__fingerprint", "g"), ("fakes__batch_norm", "batch of 64")],
)
def test_each_of_these_alone_forbids_a_comparison(field: str, value: object) -> None:
    with pytest.raises(UserError, match=field.replace("__", ".")):
        table([PLAIN, Entry("b", score({"fid": 1.0}, **{field: value}))], mark=False)


def test_runs_are_compared_in_every_kind_they_share_at_their_newest_checkpoints() -> None:
    def at(images: int, protocol: str, **changes: object) -> Score:
        return score({"fid": float(images)}, fakes__images_seen=images, formula__protocol=protocol, **changes)

    a = [at(10, "p"), at(30, "p"), at(20, "p"), at(30, "q"), at(30, "p", fakes__batch_norm="standing")]
    b = [at(10, "p"), at(25, "p"), at(25, "r")]
    found = groups([("a", a), ("b", b)])
    assert [[(entry.label, entry.score.scores["fid"]) for entry in group] for group in found] == [[("a", 30.0), ("b", 25.0)]]
    with pytest.raises(UserError, match="no kind of score .*: a has p, q; b has r"):
        groups([("a", a), ("b", b[2:])])


def test_single_scores_are_compared_as_they_are() -> None:
    assert groups([("a", [PLAIN.score]), ("b", [OTHER.score])]) == [[Entry("a", PLAIN.score), Entry("b", OTHER.score)]]


def test_a_kernel_distance_of_whole_sets_has_no_spread() -> None:
    for size, shown in ((100, ["a", "-", "0.1"]), (50, ["a", "-", "0.1", "±", "5e-16"])):
        of = score({"kid_mean": 0.1, "kid_std": 5e-16}, formula__num_real=100, formula__kid_subset_size=size)
        assert table([Entry("a", of)], mark=False)[2].split() == shown
