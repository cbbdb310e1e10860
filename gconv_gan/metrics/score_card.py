"""The card of a score, which records how it was computed, and the rule by which two scores are comparable.

Scores of one generator differ between pipelines by more than the gains that most papers claim, so a score needs its card.
"""

import importlib.metadata
from typing import Literal

from pydantic import Field

from gconv_gan.config.base import Config
from gconv_gan.data.reading.transforms import QUANTISATION
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.neighbours import Comparison
from gconv_gan.metrics.references.reference_geometry import ReferenceGeometry

Order = Literal["SHA-256 of pixels"]
"""Rule by which files are numbered before any choice, split or subset."""

LIBRARIES = ("torch", "torchvision", "torch-fidelity", "timm", "numpy", "pillow", "gconv_gan")


class FormulaCard(Config):
    """The formulas of the numbers. Fields of metrics that were not computed are None."""

    protocol: str
    num_fake: int
    num_real: int | None
    """Number of reals; None: not known, the reference is another tool's statistics."""
    frechet: Literal["eigenvalues of R2 S1 R2", "eigenvalues of A1 S2 A1'"] | None = None
    frechet_threshold: Literal["order * eps * largest eigenvalue"] | None = None
    covariance_divisor: Literal["n - 1"] = "n - 1"
    is_splits: int | None = None
    is_permutation_seed: int | None = None
    is_logit_bias: bool | None = None
    kid_kernel: Literal["(x.y/d + 1)^3, unbiased"] | None = None
    kid_subsets: int | None = None
    kid_subset_size: int | None = None
    """Images of each subset: the protocol's number, or the smaller set. If it is the whole of both sets, KID has no standard deviation."""
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
    """Name of a metric without fields above -> its lines."""

    @property
    def kid_is_of_all(self) -> bool:
        """Whether each subset is the whole of both sets, so that the standard deviation over subsets is round-off."""
        return self.kid_subset_size is not None and self.kid_subset_size == self.num_fake == self.num_real


class FakesCard(Config):
    """Origin of the scored images. For images of unknown origin only ``source`` and the hash are set."""

    source: str
    """A generator's checkpoint, or a folder, zip or tar."""
    images_sha256: str = ""
    """Hash over the bytes of all images in order; filled in by the evaluation."""
    size: int | None = None
    """Side of the images in pixels; None: not recorded."""
    formats: tuple[str, ...] | None = None
    """Names of the file formats of the images; None: a generator's, or not recorded."""
    order: Order | None = None
    """Rule that orders the images if they are files; None: ordered by a generator's seed, or by file names in cards without ``size``."""
    recipe: str | None = None
    """Conversion of files to images; None for a generator's images."""
    weights_sha256: str | None = None
    weights: Literal["ema", "raw"] | None = None
    images_seen: int | None = None
    generator_step: int | None = None
    n_dis: int | None = None
    batch_norm: str | None = None
    """BatchNorm mode: eval, standing (with number of batches), or batch (with its size)."""
    truncation: float | None = None
    """Threshold of a truncated normal z, or ψ of a truncated w."""
    truncated: Literal["z", "w"] | None = None
    """Which of them."""
    precision: str | None = None
    labels: str | None = None
    """Distribution of the labels: none, uniform or empirical."""
    seed: int | None = None
    """Seed of latents and labels, or of the choice among files."""


class ReferenceCard(Config):
    """The real images of the comparison."""

    source: str
    """The name of the data set, or a folder, zip or tar."""
    fingerprint: str
    """Content hash of the data and, if not all images are used, the choice."""
    split: str | None
    recipe: str
    """Conversion of the pictures to pixels."""
    images_sha256: str
    """Hash over the bytes of all images in order."""
    size: int | None = None
    """Side of the images in pixels; None: not recorded."""
    formats: tuple[str, ...] | None = None
    """Names of the file formats of the images, "array" if they were not files; None: not recorded."""
    order: Order | None = None
    """Rule that orders the images if they are the user's files; None: the data set's own order."""


class ExtractorCard(Config):
    """The extractor and its preprocessing of the images."""

    name: str
    sha256: str
    layer: str
    resizer: str
    normalisation: str
    quantisation: str
    dtype: Literal["float32"] = "float32"
    folded: bool


def extractor_card(extractor: Extractor) -> ExtractorCard:
    """Return the card of ``extractor``."""
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
    """Software, time and device of the computation."""

    config_sha256: str | None = None
    training_seed: int | None = None
    checkpoint_rule: str | None = None
    """Rule of the checkpoint: last, chosen, or best by a score."""
    processes: int = 1
    batch_size: int
    device: str
    versions: dict[str, str]
    seconds: float


class ScoreCard(Config):
    """The settings of one evaluation pass."""

    format: Literal[1] = 1
    formula: FormulaCard
    fakes: FakesCard
    reference: ReferenceCard
    extractor: ExtractorCard
    run: RunCard
    geometry: ReferenceGeometry | None = Field(None, exclude_if=lambda geometry: geometry is None)
    """Geometry of the reference in these features, which explains scores and follows from the reference: it is not compared. None: a card
    of an earlier version, or all images of the reference are alike."""

    lower_is_better: tuple[str, ...] | None = Field(None, exclude_if=lambda keys: keys is None)
    """Keys of the numbers for which lower is better; for the others higher is. It is not compared. None: a card of an earlier version."""

    def to_json(self) -> str:
        """Return the card as indented JSON; ``ScoreCard.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2)


class Score(Config):
    """The numbers of one evaluation pass, and their card."""

    scores: dict[str, float]
    card: ScoreCard
    per_class: dict[str, float] | None = None
    """The distance of each class, if the score is their mean."""

    def to_json(self) -> str:
        """Return ``{"scores": …, "card": …}``, indented; ``Score.model_validate_json`` reads it back."""
        return self.model_dump_json(indent=2, exclude=None if self.per_class else {"per_class"})

    def lines(self) -> list[str]:
        """Return the numbers as text, one per line, under protocol and extractor; lines with "!" name differences of the images."""
        width = max(len(key) for key in self.scores)
        num_real = self.card.formula.num_real
        counts = f"{self.card.formula.num_fake:,} against {'unknown' if num_real is None else format(num_real, ',')} images"
        head = f"{self.card.formula.protocol}: features of {self.card.extractor.name}, {counts}"
        lines = [head, *(f"  {key:<{width}}  {value:.6g}" for key, value in self.scores.items())]
        lines += [f"    {name:<{width}}  {value:.6g}" for name, value in (self.per_class or {}).items()]
        more = ((name, ", ".join(f"{key} {value}" for key, value in said.items())) for name, said in self.card.formula.more.items())
        lines += [f"    {name}: {said}" for name, said in more if said]
        lines += [f"    {line}" for line in self._geometry_lines()]
        return lines + [f"  ! {difference}, which is a part of these scores" for difference in unlike_images(self.card)]

    def _geometry_lines(self) -> list[str]:
        """Return the geometry of the reference as text, with the Fréchet distance that a perfect generator would have."""
        geometry, formula = self.card.geometry, self.card.formula
        if geometry is None:
            return []
        distance = next((key for key in ("fid", "fd") if key in self.scores), None)
        floor = geometry.frechet_floor(formula.num_fake, formula.num_real)
        said = [] if distance is None or floor is None else [f"the {distance} of a perfect generator would be about {floor:.4g}"]
        return said + geometry.lines()


# Scores that differ in one of these fields are not comparable. The origin of the fakes (weights, seed, images seen) is what a
# comparison varies, and ``run`` does not change the numbers. A reference is identified by its content, not by its name.
COMPARED_GROUPS = ("formula", "reference", "extractor")
COMPARED_FAKES = ("batch_norm", "truncation", "truncated", "precision", "labels", "recipe", "size", "formats", "order")
NAMES = ("reference.source",)
# Absent from older cards: compared only if both cards have them.
RECORDED_LATER = ("recipe", "size", "formats")
# Lossless formats, which give the same pixels.
LOSSLESS = frozenset({"PNG", "BMP", "PPM", "array"})


def _differences(a: Config, b: Config, prefix: str) -> list[str]:
    pairs = ((key, getattr(a, key), getattr(b, key)) for key in type(a).model_fields)
    return [f"{prefix}.{key}: {ours!r} != {theirs!r}" for key, ours, theirs in pairs if ours != theirs]


def contradictions(a: Config, b: Config, prefix: str) -> list[str]:
    """Return the fields in which two parts of cards differ; absent fields and lossless formats are not compared."""
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
    """Return the fields ("extractor.resizer: 'a' != 'b'") that forbid a comparison of two scores; empty: they are comparable."""
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
    """Return the differences in size and file format between scored and reference images, which affect every score on this card."""
    fakes, reference = card.fakes, card.reference
    found = []
    if None not in (fakes.size, reference.size) and fakes.size != reference.size:
        found.append(f"the images have {fakes.size}x{fakes.size} pixels, those of the reference {reference.size}x{reference.size}")
    if fakes.formats is not None and reference.formats is not None and set(fakes.formats) - LOSSLESS != set(reference.formats) - LOSSLESS:
        found.append(f"the images are from {', '.join(fakes.formats)}, those of the reference from {', '.join(reference.formats)}")
    return found


def library_versions() -> dict[str, str]:
    """Return the versions of the installed libraries that affect a score."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
