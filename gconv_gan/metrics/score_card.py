"""The card that travels with every score, and the rule by which two scores may be compared.

Numbers of one generator differ between pipelines by more than most papers claim to gain, so a bare number means nothing.
"""

import importlib.metadata
from typing import Literal

from gconv_gan.config.base import Config
from gconv_gan.config.errors import UserError
from gconv_gan.data.transforms import QUANTISATION
from gconv_gan.metrics.extractors import Extractor
from gconv_gan.metrics.neighbours import Comparison

LIBRARIES = ("torch", "torchvision", "torch-fidelity", "timm", "numpy", "pillow", "gconv_gan")


class FormulaCard(Config):
    """How features became numbers. Fields of metrics that were not computed are None."""

    protocol: str
    num_fake: int
    num_real: int | None
    """None: not known, the reference is another tool's statistics."""
    frechet: Literal["eigenvalues of R2 S1 R2", "eigenvalues of A1 S2 A1'"] | None
    frechet_threshold: Literal["order * eps * largest eigenvalue"] | None
    covariance_divisor: Literal["n - 1"] = "n - 1"
    is_splits: int | None
    is_permutation_seed: int | None
    is_logit_bias: bool | None
    kid_kernel: Literal["(x.y/d + 1)^3, unbiased"] | None
    kid_subsets: int | None
    kid_subset_size: int | None
    """Images of each subset: the protocol's number, or the smaller set. If it is the whole of both sets, KID has no spread."""
    kid_seed: int | None
    neighbours: int | None
    comparison: Comparison | None
    intra_num_fake: tuple[int, ...] | None = None
    """Fakes of each class, in the order of the classes."""
    intra_num_real: tuple[int, ...] | None = None
    infinity_counts: tuple[int, ...] | None = None
    """Sizes of the subsets whose distances the line was fitted to."""
    infinity_fit: Literal["least squares, a + b / n"] | None = None
    infinity_seed: int | None = None

    @property
    def kid_is_of_all(self) -> bool:
        """Whether each subset is the whole of both sets, so that a spread over them is round-off."""
        return self.kid_subset_size is not None and self.kid_subset_size == self.num_fake == self.num_real


class FakesCard(Config):
    """Where the scored images come from. For images of unknown origin only ``source`` and the hash are set."""

    source: str
    """A generator's checkpoint, or a folder, zip or tar."""
    images_sha256: str = ""
    """Hash over the bytes of all images in order; filled in by the evaluation."""
    recipe: str | None = None
    """How files became images; None for a generator's."""
    weights_sha256: str | None = None
    weights: Literal["ema", "raw"] | None = None
    images_seen: int | None = None
    generator_step: int | None = None
    n_dis: int | None = None
    batch_norm: str | None = None
    """eval, standing (over how many batches), or batch (of which size)."""
    truncation: float | None = None
    """Threshold of a truncated normal z, or ψ of a truncated w."""
    truncated: Literal["z", "w"] | None = None
    """Which of them."""
    precision: str | None = None
    labels: str | None = None
    """none, uniform or empirical."""
    seed: int | None = None


class ReferenceCard(Config):
    """What the images are compared with."""

    source: str
    """The name of the data set, or a folder, zip or tar."""
    fingerprint: str
    """Content hash of the data and, where not all are used, which were chosen."""
    split: str | None
    recipe: str
    """How pictures became pixels."""
    images_sha256: str
    """Hash over the bytes of all images in order."""


class ExtractorCard(Config):
    """Which network saw the images, and how they were brought to its input."""

    name: str
    sha256: str
    layer: str
    resizer: str
    normalisation: str
    quantisation: str
    dtype: Literal["float32"] = "float32"
    folded: bool


def extractor_card(extractor: Extractor) -> ExtractorCard:
    """Return what a card says about ``extractor``."""
    return ExtractorCard(
        name=extractor.name,
        sha256=extractor.sha256,
        layer=extractor.layer,
        resizer=extractor.resizer,
        normalisation=extractor.normalisation,
        quantisation=QUANTISATION,
        folded=extractor.folded,
    )


class RunCard(Config):
    """What ran, when, on what."""

    config_sha256: str | None = None
    training_seed: int | None = None
    checkpoint_rule: str | None = None
    """last, or best by what."""
    processes: int = 1
    batch_size: int
    device: str
    versions: dict[str, str]
    seconds: float


class ScoreCard(Config):
    """Everything about one evaluation pass except its numbers."""

    format: Literal[1] = 1
    formula: FormulaCard
    fakes: FakesCard
    reference: ReferenceCard
    extractor: ExtractorCard
    run: RunCard

    def to_json(self) -> str:
        """Return the card as indented JSON; ``ScoreCard.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2)


class Score(Config):
    """The numbers of one pass, and their card."""

    scores: dict[str, float]
    card: ScoreCard
    per_class: dict[str, float] | None = None
    """The distance of each class, where the score is their mean."""

    def to_json(self) -> str:
        """Return ``{"scores": …, "card": …}``, indented; ``Score.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2, exclude=None if self.per_class else {"per_class"})

    def lines(self) -> list[str]:
        """Return one line per number for people: its name, the value, and in whose features."""
        width = max(len(key) for key in self.scores)
        num_real = self.card.formula.num_real
        counts = f"{self.card.formula.num_fake:,} against {'unknown' if num_real is None else format(num_real, ',')} images"
        head = f"{self.card.formula.protocol}: features of {self.card.extractor.name}, {counts}"
        lines = [head, *(f"  {key:<{width}}  {value:.6g}" for key, value in self.scores.items())]
        return lines + [f"    {name:<{width}}  {value:.6g}" for name, value in (self.per_class or {}).items()]


# Numbers that differ in one of these are not comparable. The statistics of the fakes' origin (weights, seed, images seen) are
# what one wants to compare, and everything in ``run`` is circumstance.
COMPARED_GROUPS = ("formula", "reference", "extractor")
COMPARED_FAKES = ("recipe", "batch_norm", "truncation", "truncated", "precision", "labels")


def _differences(a: Config, b: Config, prefix: str) -> list[str]:
    ours, theirs = a.model_dump(), b.model_dump()
    return [f"{prefix}.{key}: {ours[key]!r} != {theirs[key]!r}" for key in ours if ours[key] != theirs[key]]


def unlike_fields(card_a: ScoreCard, card_b: ScoreCard) -> list[str]:
    """Return the fields ("extractor.resizer: 'a' != 'b'") that forbid a comparison of two scores; none: they are alike."""
    groups = [line for group in COMPARED_GROUPS for line in _differences(getattr(card_a, group), getattr(card_b, group), group)]
    fakes = _differences(card_a.fakes, card_b.fakes, "fakes")
    return groups + [line for line in fakes if line.split(":")[0].removeprefix("fakes.") in COMPARED_FAKES]


def other_differences(card_a: ScoreCard, card_b: ScoreCard) -> list[str]:
    """Return the fields that differ without forbidding a comparison, in the same form."""
    everything = [line for group in ("fakes", "run") for line in _differences(getattr(card_a, group), getattr(card_b, group), group)]
    forbidding = set(unlike_fields(card_a, card_b))
    return [line for line in everything if line not in forbidding]


def require_alike(card_a: ScoreCard, card_b: ScoreCard) -> None:
    """Raise ``UserError`` listing the fields that forbid a comparison, where there are any."""
    if unlike := unlike_fields(card_a, card_b):
        raise UserError(f"these scores cannot be compared: {'; '.join(unlike)}")


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that decide a score."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
