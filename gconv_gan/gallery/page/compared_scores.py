"""The scores of several runs: a table for each kind of score that two runs or more have, the best of each row marked; then the others."""

import json
from collections.abc import Mapping, Sequence
from html import escape

from gconv_gan.gallery.page.document import breakable, facts_html, wide_table
from gconv_gan.gallery.page.score_names import Direction, keys_of
from gconv_gan.gallery.page.score_table import arrow, flatten, scores_html, setting
from gconv_gan.gallery.pictures.curves.score_curves import tabulated
from gconv_gan.gallery.score import Score
from gconv_gan.gallery.trained_generator import TrainedGenerator

OF_THE_FAKES = ("batch_norm", "truncation", "truncated", "precision", "labels", "recipe", "size", "formats", "order")
"""Fields of the scored images that forbid a comparison; the other fields name the run and its checkpoint."""
BEST = '<span class="best" role="img" aria-label="best" title="best of the row">★</span>'


def kind(score: Score) -> str:
    """Return the fields of a card that must be equal for two scores to be comparable, and those that tell the scores of a run apart.

    They are the formulas, the extractor, the content of the reference, and how the images were generated. As for the command
    ``compare``, the name of the reference, the checkpoint and the machine may differ.
    """
    card = score.card
    reference, fakes = (part if isinstance(part := card.get(name), Mapping) else {} for name in ("reference", "fakes"))
    content = {key: value for key, value in reference.items() if key != "source"}
    mode = {key: fakes.get(key) for key in OF_THE_FAKES}
    return json.dumps([setting(score, checkpoint=False), card.get("formula"), card.get("extractor"), content, mode], sort_keys=True)


def by_kind(runs: Mapping[str, Sequence[Score]]) -> list[dict[str, Score]]:
    """Return run -> score for each kind of score, in the order of the runs; a second score of the same kind is in a second group."""
    found: dict[tuple[str, int], dict[str, Score]] = {}
    for name, scores in runs.items():
        kinds = [kind(score) for score in scores]
        for index, score in enumerate(scores):
            found.setdefault((kinds[index], kinds[:index].count(kinds[index])), {})[name] = score
    return list(found.values())


def best_of(direction: Direction | None, values: Mapping[str, float]) -> set[str]:
    """Return the runs with the best value of a score; nobody where its direction is unknown or all are equal."""
    if direction is None or len(set(values.values())) < 2:
        return set()
    best = (min if direction == "lower" else max)(values.values())
    return {name for name, value in values.items() if value == best}


def scores_html_of(runs: Mapping[str, TrainedGenerator]) -> str:
    """Return the scores of the runs; the empty string if none has any."""
    shown = {name: [score for score in tabulated(one.scores, checkpoint=one.run.images_seen) if score.keys] for name, one in runs.items()}
    groups = by_kind(shown)
    tables = "".join(_table(group) for group in groups if len(group) > 1)
    lone = {name: [group[name] for group in groups if len(group) == 1 and name in group] for name in runs}
    if not any(lone.values()):
        return tables
    columns = "".join(f"<div><h4>{breakable(name)}</h4>{scores_html(scores)}</div>" for name, scores in lone.items() if scores)
    return (
        f"{tables}<div><h3>Scores of one run only</h3><p>No other run has a score of the same protocol, features, reference images and "
        f'mode of the generator: these are not compared.</p><div class="pair">{columns}</div></div>'
    )


def _table(group: Mapping[str, Score]) -> str:
    """Return the table of one kind of score: a column for each run, its best numbers marked, and the cards below."""
    first = next(iter(group.values()))
    heads = ["Score", *(f"{breakable(name)}<small>{_checkpoint(score)}</small>" for name, score in group.items())]
    body = "".join(_row(key, group) for key in keys_of(list(dict.fromkeys(key for score in group.values() for key in score.numbers))))
    caption = f"<b>{breakable(first.protocol)}</b> {breakable(setting(first, checkpoint=False))}"
    cards = "".join(
        f"<details><summary>Full score card of {breakable(name)}</summary>{facts_html(flatten(score.card))}</details>"
        for name, score in group.items()
    )
    return f"<div>{wide_table(f'Scores {first.protocol}', caption=caption, heads=heads, body=body, style='compared')}{cards}</div>"


def _row(key: str, group: Mapping[str, Score]) -> str:
    """Return the row of a number that a run of the group has."""
    have = {name: score for name, score in group.items() if key in score.numbers}
    of = next(iter(have.values()))
    better = of.directions.get(key)
    marked = best_of(better, {name: score.numbers[key] for name, score in have.items()})
    cells = "".join(
        f'<td class="better">{BEST} {escape(score.text(key))}</td>'
        if name in marked
        else f"<td>{escape(score.text(key)) if name in have else '–'}</td>"
        for name, score in group.items()
    )
    return f'<tr><th scope="row">{escape(of.name(key))}{arrow(better)}</th>{cells}</tr>'


def _checkpoint(score: Score) -> str:
    return "" if score.images_seen is None else f"after {score.images_seen:,.0f} images"
