"""The scores of a run as tables: one for each card, under its protocol, features and number of images; the whole card is below it."""

from collections.abc import Mapping, Sequence
from html import escape

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.document import breakable, facts_html
from gconv_gan.gallery.page.score_names import SPREADS, direction, keys_of, score_name
from gconv_gan.gallery.pictures.curves.history import number


def card_field(card: Mapping[str, object], group: str, field: str) -> object:
    """Return ``card[group][field]``; None where either is missing."""
    fields = card.get(group)
    return fields.get(field) if isinstance(fields, Mapping) else None


def card_of(score: Mapping[str, object]) -> Mapping[str, object]:
    """Return the card of a score file.

    Raises:
        UserError: if the file has no scores, or no protocol or extractor in its card.

    """
    values, card = score.get("scores"), score.get("card")
    if not isinstance(values, Mapping) or not values:
        raise UserError(f"a score file needs an object 'scores' with numbers; this one has the keys {sorted(score)}")
    if not isinstance(card, Mapping) or not card_field(card, "formula", "protocol") or not card_field(card, "extractor", "name"):
        raise UserError(
            f"the scores {sorted(values)} have no protocol or extractor in their card; score the images again with gconv-gan score"
        )
    return card


def score_rows(score: Mapping[str, object]) -> dict[str, str]:
    """Return the numbers of one score file as name -> value, with its standard deviation if there is one; raise as ``card_of`` does."""
    card, values = card_of(score), score["scores"]
    assert isinstance(values, Mapping)
    rows = {}
    for key in keys_of(list(values)):
        spread = None if key == "kid_mean" and kid_is_of_all(card) else number(values.get(SPREADS.get(key, "")))
        value = number(values.get(key))
        if value is not None:
            rows[score_name(key, values)] = f"{value:.4g}" if spread is None else f"{value:.4g} ± {spread:.2g}"
    return rows


def kid_is_of_all(card: Mapping[str, object]) -> bool:
    """Return whether each subset of a kernel distance is the whole of both sets; the deviation in older files is then round-off."""
    size, fakes, reals = (card_field(card, "formula", field) for field in ("kid_subset_size", "num_fake", "num_real"))
    return size is not None and size == fakes == reals


def setting(card: Mapping[str, object], *, checkpoint: bool = True) -> str:
    """Return the setting of a card as text: features, numbers of images, generator with its mode, and checkpoint."""
    fakes, reals = (_count(card_field(card, "formula", field)) for field in ("num_fake", "num_real"))
    parts = [f"features of {card_field(card, 'extractor', 'name')}", f"{fakes} against {reals} images"]
    weights, seen, batch_norm, truncation, seed = (
        card_field(card, "fakes", field) for field in ("weights", "images_seen", "batch_norm", "truncation", "seed")
    )
    if checkpoint and seen is not None:
        parts.append(f"after {_count(seen)} images of training")
    if weights == "raw":
        parts.append("weights of the last step")
    if batch_norm not in (None, "eval"):
        parts.append(f"BatchNorm: {batch_norm}")
    if truncation is not None:
        parts.append(f"{card_field(card, 'fakes', 'truncated') or 'z'} truncated at {truncation}")
    if seed is not None:
        parts.append(f"seed {seed}")
    return ", ".join(parts)


def _count(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else "?"


def flatten(card: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return a nested score card as "group.field" -> text."""
    flat: dict[str, str] = {}
    for name, value in card.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = str(value)
    return flat


def scores_html(scores: Sequence[Mapping[str, object]]) -> str:
    """Return a table for each score file that has a named score; the empty string if there is none."""
    tables = [table_html(rows, score) for score in scores if (rows := score_rows(score))]
    return f'<div class="scores">{"".join(tables)}</div>' if tables else ""


def arrows(score: Mapping[str, object]) -> dict[str, str]:
    """Return an arrow for the name of each score, up where higher is better and down where lower is; "" for the score of a plug-in."""
    values = score["scores"]
    assert isinstance(values, Mapping)
    return {score_name(key, values): _arrow(direction(key).removeprefix(", ")) for key in keys_of(list(values))}


def _arrow(words: str) -> str:
    arrow = "↓" if words.startswith("lower") else "↑"
    return f' <span role="img" aria-label="{words}" title="{words}">{arrow}</span>' if words else ""


def table_html(rows: Mapping[str, str], score: Mapping[str, object]) -> str:
    """Return one table: the protocol and the setting as its caption, a row for each of ``rows`` of a score file, and the card in full."""
    card, better = card_of(score), arrows(score)
    caption = f"<b>{breakable(str(card_field(card, 'formula', 'protocol')))}</b> {breakable(setting(card))}"
    body = "".join(f'<tr><th scope="row">{escape(words)}{better[words]}</th><td>{escape(value)}</td></tr>' for words, value in rows.items())
    full = f"<details><summary>Full score card</summary>{facts_html(flatten(card))}</details>"
    return f"<div><table><caption>{caption}</caption><tbody>{body}</tbody></table>{full}</div>"
