"""Images in, scores and card out; one process and many score the same images and print the same numbers.

Every process takes whole blocks of 256 images in turn, extracts them, and all gather the features of a round in block order.
What follows sees the rows in the order of the images and adds them up in that order, so no sum depends on the number of processes.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor
from torch.nn.functional import pad

from gconv_gan.config.errors import UserError
from gconv_gan.data.transforms import QUANTISATION
from gconv_gan.metrics.extractors import Extractor
from gconv_gan.metrics.frechet import frechet_distance, frechet_distance_few_fakes
from gconv_gan.metrics.generative import inception_score, kid
from gconv_gan.metrics.neighbours import neighbourhoods
from gconv_gan.metrics.protocols import Protocol
from gconv_gan.metrics.reference_statistics import (
    ReferenceStatistics,
    StatisticsKey,
    library_majors,
    load_statistics,
    save_statistics,
    statistics_folder,
)
from gconv_gan.metrics.score_card import (
    ExtractorCard,
    FakesCard,
    FormulaCard,
    ReferenceCard,
    RunCard,
    Score,
    ScoreCard,
    library_versions,
)
from gconv_gan.metrics.sources import BLOCK, ImageSource, StoredImages
from gconv_gan.metrics.statistics import Moments, StreamingMoments


def _alone(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Processes:
    """Who takes part: this process's rank, how many there are, and how their tensors are joined along dimension 0 in rank order.

    With Accelerate: ``Processes(accelerator.process_index, accelerator.num_processes, accelerator.gather)``.
    """

    rank: int = 0
    count: int = 1
    gather: Callable[[Tensor], Tensor] = _alone


ALONE = Processes()


@dataclass(frozen=True)
class Extraction:
    """What was kept of a set of images: moments of the features, and the features [n, d] and logits [n, k] where asked for."""

    moments: Moments
    features: Float32[Tensor, "n d"] | None
    logits: Float32[Tensor, "n k"] | None
    images_sha256: str


def extract(
    source: ImageSource,
    extractor: Extractor,
    *,
    keep_features: bool,
    keep_logits: bool,
    processes: Processes = ALONE,
    batch_size: int = 64,
) -> Extraction:
    """Pass all images through the extractor, each once, whatever the number of processes; every process returns the same.

    Args:
        source: the images.
        extractor: the network.
        keep_features: keep [n, d] in memory (KID, precision and recall need it; the Fréchet distance does not).
        keep_logits: keep [n, k] in memory (the Inception Score needs it).
        processes: who takes part.
        batch_size: images per call of the extractor, at most 256.

    Raises:
        ValueError: where features or logits are not finite, naming the first such image.

    """
    moments = StreamingMoments(extractor.feature_dim, device=extractor.device)
    features, logits, digest, seen = [], [], hashlib.sha256(), 0
    for block_features, block_logits, block_digest in _blocks(source, extractor, keep_logits, processes, batch_size):
        finite = torch.isfinite(block_features).all(1) & torch.isfinite(block_logits).all(1)
        if not finite.all():
            raise ValueError(f"the features of image {seen + int((~finite).nonzero()[0].item())} are not finite")
        moments.update(block_features)
        digest.update(block_digest)
        seen += len(block_features)
        if keep_features:
            features.append(block_features.cpu())
        if keep_logits:
            logits.append(block_logits.cpu())
    assert seen == len(source)
    return Extraction(
        moments.result(),
        torch.cat(features) if keep_features else None,
        torch.cat(logits) if keep_logits else None,
        digest.hexdigest(),
    )


def _blocks(
    source: ImageSource, extractor: Extractor, with_logits: bool, processes: Processes, batch_size: int
) -> Iterator[tuple[Float32[Tensor, "b d"], Float32[Tensor, "b k"], bytes]]:
    """Yield features, logits ([b, 0] unless wanted) and image hash of every block, in order, on every process."""
    blocks = -(-len(source) // BLOCK)
    for first in range(0, blocks, processes.count):
        mine = first + processes.rank
        if mine < blocks:
            features, logits, digest = _extract_block(source.block(mine), extractor, batch_size)
        else:  # fewer blocks than processes are left
            features, logits = (torch.empty(0, width, device=extractor.device) for width in (extractor.feature_dim, extractor.num_logits))
            digest = bytes(32)
        rows = torch.cat([features, logits], 1) if with_logits else features
        gathered = torch.split(processes.gather(pad(rows, (0, 0, 0, BLOCK - len(rows)))), BLOCK)  # equal shapes on all processes
        digests = processes.gather(torch.tensor([list(digest)], dtype=torch.uint8, device=extractor.device))
        for index in range(first, min(first + processes.count, blocks)):
            valid = gathered[index - first][: min(BLOCK, len(source) - BLOCK * index)]
            yield valid[:, : extractor.feature_dim], valid[:, extractor.feature_dim :], bytes(digests[index - first].tolist())


def _extract_block(
    images: UInt8[Tensor, "b 3 h w"], extractor: Extractor, batch_size: int
) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b k"], bytes]:
    pairs = [extractor(batch) for batch in torch.split(images, batch_size)]
    digest = hashlib.sha256(repr(tuple(images.shape)).encode() + images.cpu().contiguous().numpy().tobytes()).digest()
    return torch.cat([features for features, _ in pairs]), torch.cat([logits for _, logits in pairs]), digest


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


def needs_features(protocol: Protocol) -> bool:
    """Whether the protocol needs the features of every image, not only their moments."""
    return not {"kid", "prdc"}.isdisjoint(protocol.metrics)


def reference_statistics(
    images: StoredImages,
    extractor: Extractor,
    *,
    source: str,
    split: str | None,
    recipe: str,
    with_features: bool,
    cache_dir: Path | None,
    processes: Processes = ALONE,
    batch_size: int = 64,
) -> ReferenceStatistics:
    """Return the statistics of the reals, from the cache where they are in it.

    Args:
        images: the reals; their ``fingerprint`` is part of the cache key.
        extractor: the network.
        source: what the card calls them.
        split: which split they are.
        recipe: how pictures became these pixels.
        with_features: keep all features, for KID, precision and recall (``needs_features``).
        cache_dir: where statistics are kept; None: nowhere.
        processes: who takes part; the first one writes.
        batch_size: images per call of the extractor.

    Raises:
        UserError: where cached statistics were changed after they were written.

    """
    key = StatisticsKey(
        fingerprint=images.fingerprint,
        split=split,
        recipe=recipe,
        count=len(images),
        extractor=extractor_card(extractor),
        with_features=with_features,
        library_majors=library_majors(),
    )
    if cache_dir is not None and _all_see(statistics_folder(cache_dir, key), processes, extractor.device):
        return load_statistics(statistics_folder(cache_dir, key))
    extraction = extract(images, extractor, keep_features=with_features, keep_logits=False, processes=processes, batch_size=batch_size)
    card = ReferenceCard(source=source, fingerprint=images.fingerprint, split=split, recipe=recipe, images_sha256=extraction.images_sha256)
    statistics = ReferenceStatistics(extraction.moments, extraction.features, card, key.extractor)
    if cache_dir is not None and processes.rank == 0:
        save_statistics(cache_dir, key, statistics)
    return statistics


def _all_see(folder: Path, processes: Processes, device: torch.device) -> bool:
    """Whether every process sees ``folder``: they must agree, or some would wait for the others for ever."""
    return bool(processes.gather(torch.tensor([int(folder.is_dir())], device=device)).all().item())


def score(
    source: ImageSource,
    reference: ReferenceStatistics,
    extractor: Extractor,
    protocol: Protocol,
    *,
    fakes: FakesCard,
    run: RunCard | None = None,
    processes: Processes = ALONE,
    batch_size: int = 64,
) -> Score:
    """Return the scores of ``source`` against ``reference`` and their card; every process returns the same.

    The keys are fid (fd for any extractor but Inception), is_mean, is_std, kid_mean, kid_std, precision, recall, density and
    coverage, as far as the protocol asks for them.

    Args:
        source: the images to be scored.
        reference: statistics of the reals by the same extractor.
        extractor: the network.
        protocol: what to compute.
        fakes: what is known about the images; their hash is filled in.
        run: what is known about the training run; processes, batch size, device, versions and seconds are filled in.
        processes: who takes part.
        batch_size: images per call of the extractor.

    Raises:
        UserError: where numbers of images are not the protocol's, or the reference is another extractor's or has no features.
        ValueError: where features are not finite, naming the first such image.

    """
    started = time.perf_counter()
    _check(source, reference, extractor, protocol)
    few = len(source) < extractor.feature_dim
    extraction = extract(
        source,
        extractor,
        keep_features=needs_features(protocol) or ("fid" in protocol.metrics and few),
        keep_logits="is" in protocol.metrics,
        processes=processes,
        batch_size=batch_size,
    )
    formula = formula_card(protocol, len(source), reference.moments.count, few=few)
    numbers = scores_of(extraction, reference, extractor, formula)
    about_run = (
        RunCard(batch_size=batch_size, device=str(extractor.device), versions=library_versions(), seconds=0.0) if run is None else run
    )
    card = ScoreCard(
        formula=formula,
        fakes=fakes.model_copy(update={"images_sha256": extraction.images_sha256}),
        reference=reference.reference,
        extractor=reference.extractor,
        run=about_run.model_copy(update={"processes": processes.count, "seconds": round(time.perf_counter() - started, 3)}),
    )
    return Score(scores=numbers, card=card)


def _check(source: ImageSource, reference: ReferenceStatistics, extractor: Extractor, protocol: Protocol) -> None:
    ours = extractor_card(extractor)
    if ours != reference.extractor:
        raise UserError(f"the reference statistics are by {reference.extractor.name} ({reference.extractor.resizer}), not {ours.name}")
    for what, wanted, found in (("fakes", protocol.num_fake, len(source)), ("reals", protocol.num_real, reference.moments.count)):
        if wanted is not None and wanted != found:
            raise UserError(f"protocol {protocol.name} takes {wanted:,} {what}, but there are {found:,}")
    if needs_features(protocol) and reference.features is None:
        raise UserError(f"protocol {protocol.name} needs the features of every real image, but the statistics hold only their moments")


def formula_card(protocol: Protocol, num_fake: int, num_real: int, *, few: bool) -> FormulaCard:
    """Return the formulas of a protocol as they apply to these numbers of images; ``few``: fewer fakes than features."""
    fid, iscore, kernel, balls = (name in protocol.metrics for name in ("fid", "is", "kid", "prdc"))
    return FormulaCard(
        protocol=protocol.name,
        num_fake=num_fake,
        num_real=num_real,
        frechet=("eigenvalues of A1 S2 A1'" if few else "eigenvalues of R2 S1 R2") if fid else None,
        frechet_threshold="order * eps * largest eigenvalue" if fid else None,
        is_splits=protocol.is_splits if iscore else None,
        is_permutation_seed=protocol.is_permutation_seed if iscore else None,
        is_logit_bias=protocol.is_logit_bias if iscore else None,
        kid_kernel="(x.y/d + 1)^3, unbiased" if kernel else None,
        kid_subsets=protocol.kid_subsets if kernel else None,
        kid_subset_size=min(protocol.kid_subset_size, num_fake, num_real) if kernel else None,
        kid_seed=protocol.kid_seed if kernel else None,
        neighbours=protocol.neighbours if balls else None,
        comparison=protocol.comparison if balls else None,
    )


def scores_of(extraction: Extraction, reference: ReferenceStatistics, extractor: Extractor, formula: FormulaCard) -> dict[str, float]:
    """Return the numbers that ``formula`` describes."""
    numbers: dict[str, float] = {}
    fake, real, device = extraction.features, reference.features, extractor.device
    if formula.frechet is not None:
        key = "fid" if extractor.is_inception else "fd"
        moments = Moments(reference.moments.count, reference.moments.mean.to(device), reference.moments.covariance.to(device))
        if formula.frechet == "eigenvalues of A1 S2 A1'":
            assert fake is not None
            numbers[key] = frechet_distance_few_fakes(fake.to(device), moments)
        else:
            numbers[key] = frechet_distance(extraction.moments, moments, real_root=reference.root.to(device))
    if formula.is_splits is not None:
        assert extraction.logits is not None
        bias = extractor.logit_bias if formula.is_logit_bias else None
        logits = extraction.logits if bias is None else extraction.logits + bias.cpu()
        inception = inception_score(logits, splits=formula.is_splits, permutation_seed=formula.is_permutation_seed)
        numbers |= {"is_mean": inception.mean, "is_std": inception.std}
    if formula.kid_subsets is not None and formula.kid_subset_size is not None and formula.kid_seed is not None:
        assert fake is not None
        assert real is not None
        kernel = kid(
            fake.to(device), real.to(device), subsets=formula.kid_subsets, subset_size=formula.kid_subset_size, seed=formula.kid_seed
        )
        numbers |= {"kid_mean": kernel.mean, "kid_std": kernel.std}
    if formula.neighbours is not None and formula.comparison is not None:
        assert fake is not None
        assert real is not None
        balls = neighbourhoods(fake.to(device), real.to(device), k=formula.neighbours, comparison=formula.comparison)
        numbers |= {"precision": balls.precision, "recall": balls.recall, "density": balls.density, "coverage": balls.coverage}
    return numbers
