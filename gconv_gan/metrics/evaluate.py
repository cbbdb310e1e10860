"""Scores of images, with their cards: one pass over the images serves any number of protocols and extractors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, runtime_checkable
from typing import Protocol as Interface

import torch
from jaxtyping import Int
from torch import Tensor

from gconv_gan.config.errors import UserError
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.extraction import ALONE, Processes, Wanted, extract, usual_batch_size
from gconv_gan.metrics.images.sources import BLOCK, ImageSource
from gconv_gan.metrics.intra_class import class_sizes
from gconv_gan.metrics.metric import Evaluation, Seen
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.references.reference_statistics import ReferenceStatistics
from gconv_gan.metrics.score_card import FakesCard, FormulaCard, RunCard, Score, ScoreCard, extractor_card, library_versions
from gconv_gan.metrics.tables import metrics_of


@runtime_checkable
class LabelledImages(Interface):
    """An image source that knows the class of each image."""

    def block_labels(self, index: int) -> Int[Tensor, " b"] | None:
        """Return the classes [b] of block ``index``; None without classes."""


def needs_real_features(protocol: Protocol) -> bool:
    """Whether the protocol needs the features of every real image, not only their moments."""
    return any(metric.needs_real_features for metric in metrics_of(protocol).values())


def needs_classes(protocol: Protocol) -> str | None:
    """Return the first metric of the protocol that needs the class of every image; None: none does."""
    return next((name for name, metric in metrics_of(protocol).items() if metric.needs_classes), None)


def _wanted(one: Evaluation) -> Wanted:
    """Return the data that the pass over the images must keep."""
    metrics = metrics_of(one.protocol).values()
    features, logits = any(metric.fake_features_wanted(one) for metric in metrics), any(metric.needs_logits for metric in metrics)
    return Wanted(one.extractor, one.num_fake, features=features, logits=logits)


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
    """Return the scores of ``source`` under one protocol: ``score_all`` for a single evaluation."""
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

    Every image is generated once and passed once through each distinct extractor. The keys are those of
    the protocol's metrics: fid, is_mean, is_std, kid_mean, kid_std, precision, recall, density, coverage, intra_fid, fid_infinity, mind,
    mind_debiased, clipped_density, clipped_density_raw, clipped_coverage and f_score; of any extractor but Inception, fd, intra_fd,
    fd_infinity, monge_distance and monge_distance_debiased; cmmd and cmmd_biased in CLIP's features, mmd and mmd_biased in others.
    kid_std is absent if each subset is the whole of both sets.

    Args:
        source: the images to be scored, as many as the largest evaluation takes.
        evaluations: what to compute; equal extractors must be the same object.
        fakes: card of the images; their hash is filled in.
        run: card of the training run; processes, batch size and seconds are filled in.
        processes: the processes that share the work.
        batch_size: images per call of an extractor; None: ``usual_batch_size``.

    Raises:
        UserError: the numbers of images are not the protocol's or too few for it, the reference is of another extractor or has
            no features, required classes are absent, or features are not finite.

    """
    started = time.perf_counter()
    evaluations = [_checked(source, one) for one in evaluations]
    kept = extract(source, [_wanted(one) for one in evaluations], processes=processes, batch_size=batch_size)
    results = []
    for one, extraction in zip(evaluations, kept, strict=True):
        numbers, per_class = _numbers(Seen(one, extraction))
        seconds = time.perf_counter() - started
        size = batch_size or usual_batch_size(one.extractor.device)
        about = run or RunCard(batch_size=size, device=str(one.extractor.device), versions=library_versions(), seconds=0.0)
        card = ScoreCard(
            formula=_formula_card(one),
            fakes=fakes.model_copy(update={"images_sha256": extraction.images_sha256}),
            reference=one.reference.reference,
            extractor=one.reference.extractor,
            run=about.model_copy(update={"processes": processes.count, "batch_size": size, "seconds": round(seconds, 3)}),
            geometry=one.reference.geometry,
            lower_is_better=tuple(key for metric in metrics_of(one.protocol).values() for key in metric.lower_is_better if key in numbers),
        )
        results.append(Score(scores=numbers, card=card, per_class=per_class))
    return results


def _labels(source: ImageSource, count: int) -> Int[Tensor, " n"]:
    assert isinstance(source, LabelledImages)
    blocks = [source.block_labels(index) for index in range(-(-count // BLOCK))]
    return torch.cat([block for block in blocks if block is not None])[:count]


def _checked(source: ImageSource, one: Evaluation) -> Evaluation:
    """Return the evaluation with the labels of its fakes, if they are needed; raise ``UserError`` as ``score_all``."""
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
    return replace(one, labels=_labels(source, one.num_fake)) if needs_classes(protocol) else one


@dataclass(frozen=True)
class RealCounts:
    """Number and classes of the reals, which are known before their features are computed."""

    source: str
    count: int | None
    labels: Int[Tensor, " n"] | None
    classes: tuple[str, ...]

    @staticmethod
    def of(reference: ReferenceStatistics) -> "RealCounts":
        """Return the counts of computed statistics."""
        return RealCounts(reference.reference.source, reference.moments.count, reference.labels, reference.classes)


def require_computable(source: ImageSource, protocol: Protocol, extractor: Extractor, *, num_fake: int, reals: RealCounts) -> None:
    """Check, before features are computed, that a protocol can be evaluated for these numbers of images, classes and this extractor.

    Args:
        source: the images to be scored; its labels are counted if the protocol compares class by class.
        protocol: the metrics and their formulas.
        extractor: the network whose features they use.
        num_fake: number of images of ``source`` that are scored.
        reals: number and classes of the reference.

    Raises:
        UserError: there are too few images, in total or of a class, or no classes, or no logits.

    """
    for name, metric in metrics_of(protocol).items():
        if metric.needs_logits and not extractor.num_logits:
            score = "Inception Score" if name == "is" else name
            raise UserError(f"{extractor.name} has no classes, so there is no {score} in its features: name other --metrics")
    _check_enough(protocol, num_fake, reals.count)
    if by_class := needs_classes(protocol):
        _check_classes(by_class, source, num_fake, reals)


def _check_enough(protocol: Protocol, num_fake: int, num_real: int | None) -> None:
    """Raise ``UserError`` if there are too few images for a metric; ``num_real`` None is not checked."""
    smaller = num_fake
    if needs_real_features(protocol) and num_real is not None:
        smaller = min(smaller, num_real)
    metrics = metrics_of(protocol)
    for name in protocol.metrics:
        least = metrics[name].least(protocol)
        if smaller < least:
            raise UserError(f"{smaller} images are too few for {name} under protocol {protocol.name}, which needs {least}")


def _check_classes(metric: str, source: ImageSource, num_fake: int, reals: RealCounts) -> None:
    first = source.block_labels(0) if isinstance(source, LabelledImages) else None
    if first is None or reals.labels is None:
        lacking = "the scored images" if first is None else reals.source
        raise UserError(f"{metric} compares class by class, but {lacking} have no classes")
    sizes = class_sizes(_labels(source, num_fake), len(reals.classes))
    if len(sizes) != len(reals.classes):
        raise UserError(f"the generator knows {len(sizes)} classes, the reference {len(reals.classes)}")
    found = zip(reals.classes, sizes, class_sizes(reals.labels, len(sizes)), strict=True)
    few = [f"of {name} there are {fakes} fakes and {reals} reals" for name, fakes, reals in found if min(fakes, reals) < 2]
    if few:
        more = f" (and {len(few) - 5:,} more such classes)" if len(few) > 5 else ""
        raise UserError(f"{metric} needs two images of every class, but {', '.join(few[:5])}{more}")


def formula_card(source: ImageSource, one: Evaluation) -> FormulaCard:
    """Return the card of a protocol's formulas for an evaluation of ``source``, without computing features.

    Raises:
        UserError: as ``score_all``.

    """
    return _formula_card(_checked(source, one))


def _formula_card(one: Evaluation) -> FormulaCard:
    """Return the card fields of the metrics; fields of metrics that are not computed are None."""
    fields: dict[str, Any] = {}
    more: dict[str, dict[str, Any]] = {}
    for name, metric in metrics_of(one.protocol).items():
        if metric.has_card_fields:
            fields |= metric.card(one)
        else:
            more[name] = dict(metric.card(one))
    return FormulaCard(protocol=one.protocol.name, num_fake=one.num_fake, num_real=one.num_real, more=more, **fields)


def _numbers(seen: Seen) -> tuple[dict[str, float], dict[str, float] | None]:
    """Return the numbers of every metric, and the numbers per class if a metric has them."""
    scores: dict[str, float] = {}
    per_class: dict[str, float] = {}
    for name, metric in metrics_of(seen.evaluation.protocol).items():
        found = metric.numbers(seen)
        if taken := scores.keys() & found.scores.keys():
            raise UserError(f"the metric {name} calls its number {sorted(taken)[0]}, as another metric does: give it another key")
        scores |= found.scores
        per_class |= found.per_class
    return scores, per_class or None
