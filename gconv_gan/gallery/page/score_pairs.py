"""The scores of two runs: those of the same protocol and features side by side, those of one run alone in a separate section."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gconv_gan.gallery.page.document import breakable
from gconv_gan.gallery.page.score_table import card_field, card_of, score_rows, scores_html, setting
from gconv_gan.gallery.pictures.score_curves import tabulated
from gconv_gan.gallery.trained_generator import TrainedGenerator

Score = Mapping[str, object]
OF_THE_REFERENCE = (
    ("extractor", "sha256"),
    ("extractor", "resizer"),
    ("reference", "images_sha256"),
)  # in addition to the fields of ``setting``


class Pairs(NamedTuple):
    """Scores of two runs, separated by whether the other run has one of the same kind."""

    common: list[tuple[Score, Score]]
    lone: tuple[list[Score], list[Score]]
    """Those of the first run, and those of the second."""


def kind(score: Score) -> tuple[object, ...]:
    """Return the fields that must be equal for two scores to be comparable: protocol, features, images, and mode of the generator."""
    card = card_of(score)
    return (card_field(card, "formula", "protocol"), setting(card, checkpoint=False), *(card_field(card, *at) for at in OF_THE_REFERENCE))


def pairs(first: Sequence[Score], second: Sequence[Score]) -> Pairs:
    """Return the scores of two runs of the same kind, in the order of the first run, and the scores that one run alone has."""
    rest, common, lone = list(second), [], []
    for score in first:
        other = next((one for one in rest if kind(one) == kind(score)), None)
        if other is None:
            lone.append(score)
        else:
            rest.remove(other)
            common.append((score, other))
    return Pairs(common, (lone, rest))


def scores_section(first: TrainedGenerator, second: TrainedGenerator) -> str:
    """Return the scores of two runs as a section; the empty string if neither has any."""
    names = (first.run.name, second.run.name)
    sides = ([score for score in tabulated(one.scores, checkpoint=one.run.images_seen) if score_rows(score)] for one in (first, second))
    found = pairs(*sides)
    body = "".join(_row(names, ([one], [other])) for one, other in found.common)
    if any(found.lone):
        body += "<div><h3>Scores of one run only</h3><p>Only one of the runs has scores of this protocol in these features: "
        body += f"they cannot be compared.</p>{_row(names, found.lone)}</div>"
    return (
        '<section id="scores" class="wrap stacked" aria-labelledby="scores-title"><div class="intro"><h2 id="scores-title">Scores</h2>'
        f'<p>Scores side by side have the same protocol and the same features.</p></div><div class="plates">{body}</div></section>'
        if body
        else ""
    )


def _row(names: tuple[str, str], sides: tuple[Sequence[Score], Sequence[Score]]) -> str:
    columns = (
        f"<div><h3>{breakable(name)}</h3>{scores_html(scores) or '<p>None.</p>'}</div>" for name, scores in zip(names, sides, strict=True)
    )
    return f'<div class="pair">{"".join(columns)}</div>'
