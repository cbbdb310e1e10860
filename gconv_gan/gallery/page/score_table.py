"""The scores of a run as tables: one for each card, under its protocol, features and number of images; the whole card is below it."""

from collections.abc import Mapping, Sequence
from html import escape

from gconv_gan.gallery.page.document import breakable, facts_html
from gconv_gan.gallery.page.score_names import Direction
from gconv_gan.gallery.score import Score


def setting(score: Score, *, checkpoint: bool = True) -> str:
    """Return the setting of a score as text: features, numbers of images, generator with its mode, and checkpoint."""
    fakes, reals = (_count(score.field("formula", field)) for field in ("num_fake", "num_real"))
    parts = [f"features of {score.field('extractor', 'name')}", f"{fakes} against {reals} images"]
    weights, seen, batch_norm, truncation, seed = (
        score.field("fakes", field) for field in ("weights", "images_seen", "batch_norm", "truncation", "seed")
    )
    if checkpoint and seen is not None:
        parts.append(f"after {_count(seen)} images of training")
    if weights == "raw":
        parts.append("weights of the last step")
    if batch_norm not in (None, "eval"):
        parts.append(f"BatchNorm: {batch_norm}")
    if truncation is not None:
        parts.append(f"{score.field('fakes', 'truncated') or 'z'} truncated at {truncation}")
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


def scores_html(scores: Sequence[Score]) -> str:
    """Return a table for each score that has a number to show; the empty string if there is none."""
    tables = [table_html(score) for score in scores if score.keys]
    return f'<div class="scores">{"".join(tables)}</div>' if tables else ""


def arrow(direction: Direction | None) -> str:
    """Return an arrow behind the name of a score, up where higher is better and down where lower is; "" for an unknown direction."""
    if direction is None:
        return ""
    words = f"{direction} is better"
    return f' <span role="img" aria-label="{words}" title="{words}">{"↓" if direction == "lower" else "↑"}</span>'


def table_html(score: Score) -> str:
    """Return one table: the protocol and the setting as its caption, a row for each number of a score, and the card in full."""
    caption = f"<b>{breakable(score.protocol)}</b> {breakable(setting(score))}"
    body = "".join(
        f'<tr><th scope="row">{escape(score.name(key))}{arrow(score.directions.get(key))}</th><td>{escape(score.text(key))}</td></tr>'
        for key in score.keys
    )
    full = f"<details><summary>Full score card</summary>{facts_html(flatten(score.card))}</details>"
    return f"<div><table><caption>{caption}</caption><tbody>{body}</tbody></table>{full}</div>"
