"""From images to scores with their cards: any number of protocols and extractors from one pass over the images."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol as Interface
from typing import runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extraction import ALONE, Extraction, Processes, Wanted, extract, usual_batch_size
from gconv_gan.metrics.extractors import Extractor
from gconv_gan.metrics.extrapolation import counts_to_fit, fid_infinity
from gconv_gan.metrics.frechet import frechet_distance, frechet_distance_few_fakes
from gconv_gan.metrics.generative import inception_score, kid
from gconv_gan.metrics.intra_class import class_sizes, intra_class_distances
from gconv_gan.metrics.neighbours import neighbourhoods
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.score_card import FakesCard, FormulaCard, RunCard, Score, ScoreCard, extractor_card, library_versions
from gconv_gan.metrics.sources import BLOCK, ImageSource
from gconv_gan.metrics.statistics import Moments


@runtime_checkable
class LabelledImages(Interface):
    """A source that knows which class each image was asked to show; None: there are no classes."""

    def block_labels(self, index: int) -> Int[Tensor, " b"] | None: ...


@dataclass(frozen=True)
class Evaluation:
    """One protocol, for the first ``num_fake`` images, in one extractor's features, against one reference."""

    protocol: Protocol
    num_fake: int
    extractor: Extractor
    reference: ReferenceStatistics

    @property
    def few(self) -> bool:
        """Whether there are fewer fakes than features: a smaller eigenproblem gives the same distance."""
        return self.num_fake < self.extractor.feature_dim

    @property
    def wanted(self) -> Wanted:
        """What the pass over the images has to keep."""
        features = needs_features(self.protocol) or ("fid" in self.protocol.metrics and self.few)
        return Wanted(self.extractor, self.num_fake, features=features, logits="is" in self.protocol.metrics)


def needs_features(protocol: Protocol) -> bool:
    """Whether the protocol needs the features of every image, not only their moments."""
    return not {"kid", "prdc", "intra_fid", "fid_infinity"}.isdisjoint(protocol.metrics)


def needs_real_features(protocol: Protocol) -> bool:
    """Whether the protocol needs the features of every real image, not only their moments."""
    return not {"kid", "prdc", "intra_fid"}.isdisjoint(protocol.metrics)


def score(
    source: ImageSource,
    reference: ReferenceStatistics,
    extractor: Extractor,
    protocol: Protocol,
    *,
    fakes: FakesCard,
    run: RunCard | None = None,
    processes: Processes = ALONE,
    batch_size: int | None = None,
) -> Score:
    """Return the scores of all of ``source`` by one protocol: ``score_all`` of one evaluation."""
    one = Evaluation(protocol, len(source), extractor, reference)
    return score_all(source, [one], fakes=fakes, run=run, processes=processes, batch_size=batch_size)[0]


def score_all(
    source: ImageSource,
    evaluations: Sequence[Evaluation],
    *,
    fakes: FakesCard,
    run: RunCard | None = None,
    processes: Processes = ALONE,
    batch_size: int | None = None,
) -> list[Score]:
    """Return the scores of ``source`` and their cards, one for each evaluation; every process returns the same.

    Every image is made once and passed once through each distinct extractor. The keys are fid, is_mean, is_std, kid_mean,
    kid_std, precision, recall, density, coverage, intra_fid and fid_infinity, as far as the protocol asks for them; of any
    extractor but Inception, fd, intra_fd and fd_infinity. There is no kid_std where each subset is the whole of both sets.

    Args:
        source: the images to be scored, as many as the largest evaluation takes.
        evaluations: what to compute; equal extractors must be the same object.
        fakes: what is known about the images; their hash is filled in.
        run: what is known about the training run; processes, batch size and seconds are filled in.
        processes: who takes part.
        batch_size: images per call of an extractor; None: ``usual_batch_size``.

    Raises:
        UserError: where numbers of images are not the protocol's or too few for it, the reference is another extractor's or has
            no features, there are no classes where they are needed, or features are not finite.

    """
    started = time.perf_counter()
    for one in evaluations:
        _check(source, one)
    kept = extract(source, [one.wanted for one in evaluations], processes=processes, batch_size=batch_size)
    results = []
    for one, extraction in zip(evaluations, kept, strict=True):
        labels = _labels(source, one.num_fake) if "intra_fid" in one.protocol.metrics else None
        formula = _formula_card(one, labels)
        numbers, per_class = _numbers(extraction, one, formula, labels)
        seconds = time.perf_counter() - started
        size = batch_size or usual_batch_size(one.extractor.device)
        about = run or RunCard(batch_size=size, device=str(one.extractor.device), versions=library_versions(), seconds=0.0)
        card = ScoreCard(
            formula=formula,
            fakes=fakes.model_copy(update={"images_sha256": extraction.images_sha256}),
            reference=one.reference.reference,
            extractor=one.reference.extractor,
            run=about.model_copy(update={"processes": processes.count, "batch_size": size, "seconds": round(seconds, 3)}),
        )
        results.append(Score(scores=numbers, card=card, per_class=per_class))
    return results


def _labels(source: ImageSource, count: int) -> Int[Tensor, " n"]:
    assert isinstance(source, LabelledImages)
    blocks = [source.block_labels(index) for index in range(-(-count // BLOCK))]
    return torch.cat([block for block in blocks if block is not None])[:count]


def _check(source: ImageSource, one: Evaluation) -> None:
    protocol, reference, ours = one.protocol, one.reference, extractor_card(one.extractor)
    if ours != reference.extractor:
        raise UserError(f"the reference statistics are by {reference.extractor.name} ({reference.extractor.resizer}), not {ours.name}")
    num_real = reference.moments.count
    if protocol.num_real is not None and num_real is None:
        raise UserError(
            f"protocol {protocol.name} takes {protocol.num_real:,} reals, but {reference.reference.source} does not tell of how many "
            "it is: say so with --num-real"
        )
    for what, wanted, found in (("fakes", protocol.num_fake, one.num_fake), ("reals", protocol.num_real, num_real)):
        if wanted is not None and wanted != found:
            raise UserError(f"protocol {protocol.name} takes {wanted:,} {what}, but there are {found:,}")
    if needs_real_features(protocol) and reference.features is None:
        raise UserError(f"protocol {protocol.name} needs the features of every real image, but the statistics hold only their moments")
    require_computable(source, protocol, one.extractor, num_fake=one.num_fake, reals=RealCounts.of(reference))


@dataclass(frozen=True)
class RealCounts:
    """How many reals there are, and of which classes: all that can be asked before their features are computed."""

    source: str
    count: int | None
    labels: Int[Tensor, " n"] | None
    classes: tuple[str, ...]

    @staticmethod
    def of(reference: ReferenceStatistics) -> "RealCounts":
        """Return the counts of computed statistics."""
        return RealCounts(reference.reference.source, reference.moments.count, reference.labels, reference.classes)


def require_computable(source: ImageSource, protocol: Protocol, extractor: Extractor, *, num_fake: int, reals: RealCounts) -> None:
    """Check, without computing anything, that a protocol's formulas exist for so many images, these classes, this extractor.

    Args:
        source: the images to be scored; its labels are counted where the protocol compares class by class.
        protocol: the formulas.
        extractor: whose features they use.
        num_fake: how many images of ``source`` are scored.
        reals: the reference.

    Raises:
        UserError: there are too few images, in all or of a class, or no classes, or no logits.

    """
    if "is" in protocol.metrics and not extractor.num_logits:
        raise UserError(f"{extractor.name} has no classes, so there is no Inception Score in its features: name other --metrics")
    _check_enough(protocol, num_fake, reals.count)
    if "intra_fid" in protocol.metrics:
        _check_classes(source, num_fake, reals)


def _check_enough(protocol: Protocol, num_fake: int, num_real: int | None) -> None:
    """Raise where there are too few images for a formula; of statistics without features only the fakes are counted."""
    smaller = num_fake
    if needs_real_features(protocol) and num_real is not None:
        smaller = min(smaller, num_real)
    least = {"fid": 2, "is": protocol.is_splits, "kid": 2, "prdc": protocol.neighbours + 1, "fid_infinity": 20, "intra_fid": 2}
    for metric in protocol.metrics:
        if smaller < least[metric]:
            raise UserError(f"{smaller} images are too few for {metric} under protocol {protocol.name}, which needs {least[metric]}")


def _check_classes(source: ImageSource, num_fake: int, reals: RealCounts) -> None:
    first = source.block_labels(0) if isinstance(source, LabelledImages) else None
    if first is None or reals.labels is None:
        lacking = "the scored images" if first is None else reals.source
        raise UserError(f"intra_fid compares class by class, but {lacking} have no classes")
    sizes = class_sizes(_labels(source, num_fake), len(reals.classes))
    if len(sizes) != len(reals.classes):
        raise UserError(f"the generator knows {len(sizes)} classes, the reference {len(reals.classes)}")
    found = zip(reals.classes, sizes, class_sizes(reals.labels, len(sizes)), strict=True)
    few = [f"of {name} there are {fakes} fakes and {reals} reals" for name, fakes, reals in found if min(fakes, reals) < 2]
    if few:
        more = f" (and {len(few) - 5:,} more such classes)" if len(few) > 5 else ""
        raise UserError(f"intra_fid needs two images of every class, but {', '.join(few[:5])}{more}")


def formula_card(source: ImageSource, one: Evaluation) -> FormulaCard:
    """Return the formulas of a protocol as they apply to an evaluation of ``source``, without computing anything.

    Raises:
        UserError: as ``score_all``.

    """
    _check(source, one)
    return _formula_card(one, _labels(source, one.num_fake) if "intra_fid" in one.protocol.metrics else None)


def _formula_card(one: Evaluation, labels: Int[Tensor, " n"] | None) -> FormulaCard:
    protocol, num_fake, num_real = one.protocol, one.num_fake, one.reference.moments.count
    fid, iscore, kernel, balls, intra, limit = (
        name in protocol.metrics for name in ("fid", "is", "kid", "prdc", "intra_fid", "fid_infinity")
    )
    classes = len(one.reference.classes)
    return FormulaCard(
        protocol=protocol.name,
        num_fake=num_fake,
        num_real=num_real,
        frechet=("eigenvalues of A1 S2 A1'" if one.few else "eigenvalues of R2 S1 R2") if fid else None,
        frechet_threshold="order * eps * largest eigenvalue" if fid or intra or limit else None,
        is_splits=protocol.is_splits if iscore else None,
        is_permutation_seed=protocol.is_permutation_seed if iscore else None,
        is_logit_bias=protocol.is_logit_bias if iscore else None,
        kid_kernel="(x.y/d + 1)^3, unbiased" if kernel else None,
        kid_subsets=protocol.kid_subsets if kernel else None,
        kid_subset_size=min(protocol.kid_subset_size, num_fake, num_real or num_fake) if kernel else None,
        kid_seed=protocol.kid_seed if kernel else None,
        neighbours=protocol.neighbours if balls else None,
        comparison=protocol.comparison if balls else None,
        intra_num_fake=None if labels is None else class_sizes(labels, classes),
        intra_num_real=class_sizes(one.reference.labels, classes) if intra and one.reference.labels is not None else None,
        infinity_counts=counts_to_fit(num_fake, points=protocol.infinity_points) if limit else None,
        infinity_fit="least squares, a + b / n" if limit else None,
        infinity_seed=protocol.infinity_seed if limit else None,
    )


def _numbers(
    extraction: Extraction, one: Evaluation, formula: FormulaCard, labels: Int[Tensor, " n"] | None
) -> tuple[dict[str, float], dict[str, float] | None]:
    """Return the numbers that ``formula`` describes, and the distance of each class where it asks for them."""
    numbers: dict[str, float] = {}
    per_class = None
    name = "fid" if one.extractor.is_inception else "fd"
    if formula.frechet is not None:
        numbers[name] = _frechet(extraction, one)
    if formula.is_splits is not None:
        numbers |= _inception_score(extraction, one.extractor, formula.is_splits, formula.is_permutation_seed, bool(formula.is_logit_bias))
    if formula.kid_subsets is not None and formula.kid_subset_size is not None and formula.kid_seed is not None:
        fake, real = _features(extraction, one)
        numbers |= _kernel_distance(fake, real, formula.kid_subsets, formula.kid_subset_size, formula.kid_seed)
    if formula.neighbours is not None and formula.comparison is not None:
        k, radii = formula.neighbours, one.reference.squared_radii(formula.neighbours, one.extractor.device)
        balls = neighbourhoods(*_features(extraction, one), k=k, comparison=formula.comparison, real_radii=radii)
        numbers |= {"precision": balls.precision, "recall": balls.recall, "density": balls.density, "coverage": balls.coverage}
    if labels is not None:
        assert one.reference.labels is not None
        fake, real = _features(extraction, one)
        distances = intra_class_distances(fake, labels, real, one.reference.labels, num_classes=len(one.reference.classes))
        per_class = dict(zip(one.reference.classes, distances, strict=True))
        numbers[f"intra_{name}"] = sum(distances) / len(distances)
    if formula.infinity_counts is not None and formula.infinity_seed is not None:
        assert extraction.features is not None
        fake = extraction.features.to(one.extractor.device)
        numbers[f"{name}_infinity"] = fid_infinity(
            fake, _moments(one), counts=formula.infinity_counts, seed=formula.infinity_seed, real_root=_root(one)
        ).value
    return numbers, per_class


def _moments(one: Evaluation) -> Moments:
    moments, device = one.reference.moments, one.extractor.device
    return Moments(moments.count, moments.mean.to(device), moments.covariance.to(device))


def _root(one: Evaluation) -> Tensor:
    return one.reference.root.to(one.extractor.device)


def _features(extraction: Extraction, one: Evaluation) -> tuple[Tensor, Tensor]:
    assert extraction.features is not None
    assert one.reference.features is not None
    return extraction.features.to(one.extractor.device), one.reference.features.to(one.extractor.device)


def _frechet(extraction: Extraction, one: Evaluation) -> float:
    if not one.few:
        return frechet_distance(extraction.moments, _moments(one), real_root=_root(one))
    assert extraction.features is not None
    return frechet_distance_few_fakes(extraction.features.to(one.extractor.device), _moments(one))


def _kernel_distance(fake: Tensor, real: Tensor, subsets: int, size: int, seed: int) -> dict[str, float]:
    """Return mean and spread over subsets; no spread where every subset is the whole of both sets: they would all be the same."""
    if size == len(fake) == len(real):
        return {"kid_mean": kid(fake, real, subsets=1, subset_size=size, seed=seed).mean}
    found = kid(fake, real, subsets=subsets, subset_size=size, seed=seed)
    return {"kid_mean": found.mean, "kid_std": found.std}


def _inception_score(extraction: Extraction, extractor: Extractor, splits: int, seed: int | None, with_bias: bool) -> dict[str, float]:
    assert extraction.logits is not None
    bias = extractor.logit_bias if with_bias else None
    logits = extraction.logits if bias is None else extraction.logits + bias.cpu()
    found = inception_score(logits, splits=splits, permutation_seed=seed)
    return {"is_mean": found.mean, "is_std": found.std}
