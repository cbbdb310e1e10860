"""Tables of scores side by side; scores whose cards forbid a comparison are refused, or marked with the fields that differ."""

from collections.abc import Sequence
from dataclasses import dataclass

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.score_card import Score, ScoreCard, other_differences, unlike_fields, unlike_images
from gconv_gan.metrics.tables import lower_is_better

SPREADS = {"is_mean": "is_std", "kid_mean": "kid_std"}
# Differences that are not reported: the compared runs, and the time.
UNSAID = ("fakes.source", "fakes.images_sha256", "fakes.weights_sha256", "run.config_sha256", "run.seconds")


@dataclass(frozen=True)
class Entry:
    """A score and its label in the table."""

    label: str
    score: Score


def kind_of(card: ScoreCard) -> tuple[str, ...]:
    """Return the card fields that distinguish the scores of one run, except the checkpoint."""
    fakes, extractor = card.fakes, card.extractor
    return (
        card.formula.protocol,
        extractor.name,
        extractor.resizer,
        *(str(field) for field in (fakes.weights, fakes.batch_norm, fakes.labels, fakes.truncation, fakes.seed)),
    )


def groups(sources: Sequence[tuple[str, Sequence[Score]]]) -> list[list[Entry]]:
    """Return the groups of scores to compare: for each kind of score that all sources have, the newest of each source.

    If every source has a single score, these form one group of any kinds; ``table`` then reports the differences.

    Raises:
        UserError: the sources have no kind in common.

    """
    if all(len(scores) == 1 for _, scores in sources):
        return [[Entry(label, scores[0]) for label, scores in sources]]
    newest = [(label, _newest(scores)) for label, scores in sources]
    common = [kind for kind in newest[0][1] if all(kind in kinds for _, kinds in newest)]
    if not common:
        held = "; ".join(f"{label} has {', '.join(sorted({kind[0] for kind in kinds}))}" for label, kinds in newest)
        raise UserError(f"there is no kind of score (protocol, extractor, weights, BatchNorm mode, seed) that all have: {held}")
    return [[Entry(label, kinds[kind]) for label, kinds in newest] for kind in common]


def _newest(scores: Sequence[Score]) -> dict[tuple[str, ...], Score]:
    ordered = sorted(scores, key=lambda score: score.card.fakes.images_seen or 0)
    return {kind_of(score.card): score for score in ordered}


def require_alike(entries: Sequence[Entry], *, way_out: str = "") -> None:
    """Raise ``UserError`` if a score is not comparable with the first, naming the fields that differ, and ``way_out`` behind them."""
    first = entries[0]
    unlike = [(entry.label, unlike_fields(first.score.card, entry.score.card)) for entry in entries]
    if any(fields for _, fields in unlike):
        reasons = "; ".join(f"{label} differs from {first.label} in {', '.join(fields)}" for label, fields in unlike if fields)
        raise UserError(f"these scores cannot be compared: {reasons}{way_out}")


def table(entries: Sequence[Entry], *, mark: bool) -> list[str]:
    """Return a table of scores, each with its change against the first if the two are comparable; ↓: lower is better, ↑: higher.

    Args:
        entries: the scores; changes are relative to the first.
        mark: also print scores that are not comparable with the first, marked "!", with the fields that differ.

    Raises:
        UserError: without ``mark``, naming the fields that forbid a comparison.

    """
    first = entries[0]
    unlike = [unlike_fields(first.score.card, entry.score.card) for entry in entries]
    if not mark:
        require_alike(entries, way_out=" (--mark prints them all the same, marked)")
    keys = list(dict.fromkeys(key for entry in entries for key in entry.score.scores if key not in SPREADS.values()))
    low = lower_is_better()
    rows = [["", "images", *(f"{key} {'↓' if key in low else '↑'}" for key in keys)]]
    for entry, fields in zip(entries, unlike, strict=True):
        seen = entry.score.card.fakes.images_seen
        cells = [_cell(entry.score, first.score, key, alike=not fields, is_first=entry is first) for key in keys]
        rows.append([entry.label, "-" if seen is None else f"{seen:,}", *(cell + " !" if fields else cell for cell in cells)])
    return [_head(first.score.card), *aligned(rows), *_notes(entries, unlike)]


def _cell(score: Score, first: Score, key: str, *, alike: bool, is_first: bool) -> str:
    if key not in score.scores:
        return "-"
    value = score.scores[key]
    spread = None if key == "kid_mean" and score.card.formula.kid_is_of_all else score.scores.get(SPREADS.get(key, ""))
    text = f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"
    before = first.scores.get(key)
    if is_first or not alike or before is None or before == 0:
        return text
    return f"{text} ({100 * (value - before) / abs(before):+.1f}%)"


def _head(card: ScoreCard) -> str:
    reference = card.reference.source if card.reference.split is None else f"{card.reference.source} ({card.reference.split})"
    real = "unknown" if card.formula.num_real is None else f"{card.formula.num_real:,}"
    features = f"features of {card.extractor.name} ({card.extractor.resizer})"
    return f"{card.formula.protocol}: {features}, {card.formula.num_fake:,} fakes against {real} of {reference}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table whose columns are as wide as their widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _notes(entries: Sequence[Entry], unlike: Sequence[Sequence[str]]) -> list[str]:
    first = entries[0]
    notes = [
        f"  ! {entry.label} is not comparable with {first.label}: {'; '.join(fields)}"
        for entry, fields in zip(entries, unlike, strict=True)
        if fields
    ]
    notes += [f"  ! {entry.label}: {difference}" for entry in entries for difference in unlike_images(entry.score.card)]
    for entry in entries[1:]:
        others = [line for line in other_differences(first.score.card, entry.score.card) if line.split(":")[0] not in UNSAID]
        if others:
            notes.append(f"  {entry.label} also differs from {first.label} in {'; '.join(others)}")
    return notes
