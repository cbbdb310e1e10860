"""A score as pages show it: the numbers of one score file, their card, and which way each is better."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from gconv_gan.config.errors import UserError
from gconv_gan.gallery.page.score_names import NAMES, SPREADS, Direction, direction, keys_of, score_name
from gconv_gan.gallery.pictures.curves.history import number


@dataclass(frozen=True)
class Score:
    """The numbers of one evaluation, made by ``read_score``."""

    numbers: Mapping[str, float]
    """The finite numbers by their keys."""
    card: Mapping[str, Any]
    """Their card as the file holds it, which names at least protocol and extractor."""
    directions: Mapping[str, Direction]
    """Key -> which way is better; without the keys of which neither the file nor the caller knows it."""

    def field(self, group: str, name: str) -> Any:
        """Return ``card[group][name]``; None where either is missing."""
        fields = self.card.get(group)
        return fields.get(name) if isinstance(fields, Mapping) else None

    @property
    def protocol(self) -> str:
        """Return the name of the protocol."""
        return str(self.field("formula", "protocol"))

    @property
    def images_seen(self) -> float | None:
        """Return images seen at the checkpoint of the score; None if the card does not name it."""
        return number(self.field("fakes", "images_seen"))

    @property
    def keys(self) -> list[str]:
        """Return the keys to show, see ``keys_of``."""
        return keys_of(list(self.numbers))

    def name(self, key: str) -> str:
        """Return the words for one of the numbers."""
        return score_name(key, self.numbers)

    def text(self, key: str) -> str:
        """Return one of the numbers, with its standard deviation if there is one."""
        spread = None if key == "kid_mean" and self._kid_is_of_all else self.numbers.get(SPREADS.get(key, ""))
        return f"{self.numbers[key]:.4g}" if spread is None else f"{self.numbers[key]:.4g} ± {spread:.2g}"

    @property
    def _kid_is_of_all(self) -> bool:
        """Return whether each subset of a kernel distance is the whole of both sets; the deviation in older files is then round-off."""
        size, fakes, reals = (self.field("formula", name) for name in ("kid_subset_size", "num_fake", "num_real"))
        return size is not None and size == fakes == reals


def read_score(content: Mapping[str, Any], *, lower_is_better: Collection[str]) -> Score:
    """Return the score of a file's content.

    Args:
        content: ``{"scores": {key: number}, "card": {...}}``.
        lower_is_better: keys of all known metrics for which lower is better, for files of earlier versions, whose cards do not say it.

    Raises:
        UserError: there are no scores, or no protocol or extractor in the card.

    """
    values, card = content.get("scores"), content.get("card")
    if not isinstance(values, Mapping) or not values:
        raise UserError(f"a score file needs an object 'scores' with numbers; this one has the keys {sorted(content)}")
    low = card.get("lower_is_better") if isinstance(card, Mapping) else None
    known = NAMES if low is None else values
    directions = {key: way for key in values if (way := direction(key, lower_is_better if low is None else low, known)) is not None}
    score = Score({key: found for key, value in values.items() if (found := number(value)) is not None}, card or {}, directions)
    if not isinstance(card, Mapping) or not score.field("formula", "protocol") or not score.field("extractor", "name"):
        raise UserError(
            f"the scores {sorted(values)} have no protocol or extractor in their card; score the images again with gconv-gan score"
        )
    return score
