"""Score curves: scores of several checkpoints of a run, computed after training, over images seen."""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gconv_gan.gallery.page.score_names import in_words
from gconv_gan.gallery.page.score_table import setting
from gconv_gan.gallery.pictures.curves.history import Series, score_curve
from gconv_gan.gallery.score import Score

OF_A_CHECKPOINT = (
    "source",
    "images_sha256",
    "weights_sha256",
    "images_seen",
    "generator_step",
)  # fields of a card that differ along a curve


def kind(score: Score) -> str:
    """Return the fields of a card that must be equal along a curve: all but those that name the checkpoint and the run of the command."""
    card, fakes = score.card, score.card.get("fakes")
    mode = {key: value for key, value in fakes.items() if key not in OF_A_CHECKPOINT} if isinstance(fakes, Mapping) else {}
    return json.dumps([card.get("formula"), card.get("extractor"), card.get("reference"), mode], sort_keys=True)


def curves(scores: Sequence[Score]) -> list[dict[float, Score]]:
    """Return images seen -> score, in the order of training, for each kind of score that two checkpoints or more have."""
    found: dict[str, dict[float, Score]] = {}
    for score in scores:
        if (seen := score.images_seen) is not None:
            found.setdefault(kind(score), {})[seen] = score
    return [dict(sorted(curve.items())) for curve in found.values() if len(curve) > 1]


def tabulated(scores: Sequence[Score], *, checkpoint: int) -> list[Score]:
    """Return the scores that a page about this checkpoint shows as numbers: other points of a curve are left out."""
    on_curves = {id(score) for curve in curves(scores) for seen, score in curve.items() if seen != checkpoint}
    return [score for score in scores if id(score) not in on_curves]


class ScoreCurve(NamedTuple):
    """A score over the checkpoints of a run."""

    kind: str
    """Of its cards."""
    key: str
    series: Series
    setting: str
    """In words."""


def checkpoint_curves(scores: Sequence[Score]) -> list[ScoreCurve]:
    """Return each score of each kind that two checkpoints or more have."""
    found = []
    for index, curve in enumerate(curves(scores)):
        first = next(iter(curve.values()))
        for key in first.keys:
            points = tuple((seen, score.numbers[key]) for seen, score in curve.items() if key in score.numbers)
            better = first.directions.get(key)
            title = f"{first.name(key)}{in_words(better)} ({first.protocol})"
            series = score_curve(f"curve-{index}-{key}", title, key, points, better=better)
            found.append(ScoreCurve(kind(first), key, series, setting(first, checkpoint=False)))
    return found


def curve_series(scores: Sequence[Score]) -> list[tuple[Series, str]]:
    """Return a panel for each score of each curve, with a description of its setting."""
    return [(curve.series, curve.setting) for curve in checkpoint_curves(scores)]
