"""The card that travels with every score, and the rule by which two scores may be compared.

Numbers of one generator differ between pipelines by more than most papers claim to gain, so a bare number means nothing.
"""

import importlib.metadata
from typing import Literal

from pydantic import Field

from gconv_gan.config.base import Config
from gconv_gan.data.reading.transforms import QUANTISATION
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.neighbours import Comparison

Order = Literal["SHA-256 of pixels"]
"""How files are numbered before any choice, split or subset."""

LIBRARIES = ("torch", "torchvision", "torch-fidelity", "timm", "numpy", "pillow", "gconv_gan")


class FormulaCard(Config):
    """How features became numbers. Fields of metrics that were not computed are None."""

    protocol: str
    num_fake: int
    num_real: int | None
    """None: not known, the reference is another tool's statistics."""
    frechet: Literal["eigenvalues of R2 S1 R2", "eigenvalues of A1 S2 A1'"] | None = None
    frechet_threshold: Literal["order * eps * largest eigenvalue"] | None = None
    covariance_divisor: Literal["n - 1"] = "n - 1"
    is_splits: int | None = None
    is_permutation_seed: int | None = None
    is_logit_bias: bool | None = None
    kid_kernel: Literal["(x.y/d + 1)^3, unbiased"] | None = None
    kid_subsets: int | None = None
    kid_subset_size: int | None = None
    """Images of each subset: the protocol's number, or the smaller set. If it is the whole of both sets, KID has no spread."""
    kid_seed: int | None = None
    neighbours: int | None = None
    comparison: Comparison | None = None
    intra_num_fake: tuple[int, ...] | None = None
    """Fakes of each class, in the order of the classes."""
    intra_num_real: tuple[int, ...] | None = None
    infinity_counts: tuple[int, ...] | None = None
    """Sizes of the subsets whose distances the line was fitted to."""
    infinity_fit: Literal["least squares, a + b / n"] | None = None
    infinity_seed: int | None = None
    more: dict[str, dict[str, bool | int | float | str | tuple[int, ...] | None]] = Field({}, exclude_if=lambda more: not more)
    """What metrics of plug-ins say, by their names."""

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
    size: int | None = None
    """Side of the images in pixels; None: not recorded."""
    formats: tuple[str, ...] | None = None
    """Names of the file formats of the images; None: a generator's, or not recorded."""
    order: Order | None = None
    """What numbers the images, where they are files; None: a generator's seed, or the names of files in cards without ``size``."""
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
    """Of latents and labels, or of the choice among files."""


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
    size: int | None = None
    """Side of the images in pixels; None: not recorded."""
    formats: tuple[str, ...] | None = None
    """Names of the file formats of the images, "array" where they were none; None: not recorded."""
    order: Order | None = None
    """What numbers the images, where they are the user's files; None: the data set's own order."""


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
        """Return one line per number for people: its name, the value, and in whose features; "!" where unlike images were compared."""
        width = max(len(key) for key in self.scores)
        num_real = self.card.formula.num_real
        counts = f"{self.card.formula.num_fake:,} against {'unknown' if num_real is None else format(num_real, ',')} images"
        head = f"{self.card.formula.protocol}: features of {self.card.extractor.name}, {counts}"
        lines = [head, *(f"  {key:<{width}}  {value:.6g}" for key, value in self.scores.items())]
        lines += [f"    {name:<{width}}  {value:.6g}" for name, value in (self.per_class or {}).items()]
        more = ((name, ", ".join(f"{key} {value}" for key, value in said.items())) for name, said in self.card.formula.more.items())
        lines += [f"    {name}: {said}" for name, said in more if said]
        return lines + [f"  ! {difference}, which is a part of these scores" for difference in unlike_images(self.card)]


# Numbers that differ in one of these are not comparable. The statistics of the fakes' origin (weights, seed, images seen) are
# what one wants to compare, and everything in ``run`` is circumstance. A reference is known by its content, not by its name.
COMPARED_GROUPS = ("formula", "reference", "extractor")
COMPARED_FAKES = ("batch_norm", "truncation", "truncated", "precision", "labels", "recipe", "size", "formats", "order")
NAMES = ("reference.source",)
# Older cards do not have these: they are unlike where both cards tell.
RECORDED_LATER = ("recipe", "size", "formats")
# Formats that keep every pixel: which of them it was makes no difference.
LOSSLESS = frozenset({"PNG", "BMP", "PPM", "array"})


def _differences(a: Config, b: Config, prefix: str) -> list[str]:
    pairs = ((key, getattr(a, key), getattr(b, key)) for key in type(a).model_fields)
    return [f"{prefix}.{key}: {ours!r} != {theirs!r}" for key, ours, theirs in pairs if ours != theirs]


def contradictions(a: Config, b: Config, prefix: str) -> list[str]:
    """Return the fields in which two parts of cards differ, but for what one of them does not tell and what makes no difference."""
    unlike = []
    for line in _differences(a, b, prefix):
        key = line.split(":")[0].removeprefix(f"{prefix}.")
        ours, theirs = getattr(a, key), getattr(b, key)
        if key in RECORDED_LATER and None in (ours, theirs):
            continue
        if key == "formats" and set(ours) - LOSSLESS == set(theirs) - LOSSLESS:
            continue
        unlike.append(line)
    return unlike


def unlike_fields(card_a: ScoreCard, card_b: ScoreCard) -> list[str]:
    """Return the fields ("extractor.resizer: 'a' != 'b'") that forbid a comparison of two scores; none: they are alike."""
    groups = [line for group in COMPARED_GROUPS for line in contradictions(getattr(card_a, group), getattr(card_b, group), group)]
    fakes = contradictions(card_a.fakes, card_b.fakes, "fakes")
    alike = [line for line in groups if line.split(":")[0] not in NAMES]
    return alike + [line for line in fakes if line.split(":")[0].removeprefix("fakes.") in COMPARED_FAKES]


def other_differences(card_a: ScoreCard, card_b: ScoreCard) -> list[str]:
    """Return the fields that differ without forbidding a comparison, in the same form."""
    groups = ("fakes", *COMPARED_GROUPS, "run")
    everything = [line for group in groups for line in _differences(getattr(card_a, group), getattr(card_b, group), group)]
    forbidding = set(unlike_fields(card_a, card_b))
    return [line for line in everything if line not in forbidding]


def unlike_images(card: ScoreCard) -> list[str]:
    """Return in what the scored images are unlike the reference's beyond what they show: a part of every score on this card."""
    fakes, reference = card.fakes, card.reference
    found = []
    if None not in (fakes.size, reference.size) and fakes.size != reference.size:
        found.append(f"the images have {fakes.size}x{fakes.size} pixels, those of the reference {reference.size}x{reference.size}")
    if fakes.formats is not None and reference.formats is not None and set(fakes.formats) - LOSSLESS != set(reference.formats) - LOSSLESS:
        found.append(f"the images are from {', '.join(fakes.formats)}, those of the reference from {', '.join(reference.formats)}")
    return found


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that decide a score."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
