"""The score during training: the averaged generator under one protocol, computed by all processes."""

from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from gconv_gan.commands.score.fakes import BATCH_NORM, generator_source, run_card
from gconv_gan.commands.score.references import chosen_reals, dataset_reals, processes, reference_of
from gconv_gan.config.errors import UserError
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.metrics.evaluate import RealCounts, require_computable, score
from gconv_gan.metrics.extractors.factory import extractor
from gconv_gan.metrics.extractors.inception import Extractor
from gconv_gan.metrics.images.sources import FakeSource
from gconv_gan.metrics.protocols import Protocol, adjusted, other_variant, protocol
from gconv_gan.metrics.score_card import FakesCard
from gconv_gan.metrics.tables import metrics_of
from gconv_gan.runtime.files.atomic import write_text
from gconv_gan.training.adversarial import Scorer

CARDS = "during_training"  # folder below scores/: one file of scores and card per evaluation
NUM_REAL = "evaluation.num_real"


@dataclass(frozen=True)
class ScorePlan:
    """Protocol, extractor and reference of the score during training."""

    protocol: Protocol
    extractor: Extractor


def training_score(config: GANRunConfig, dataset: ImageDataset | None, generator: nn.Module, device: torch.device) -> ScorePlan | None:
    """Return how ``config.evaluation`` scores the averaged generator; None if ``every`` is 0. Nothing is computed yet.

    Args:
        config: the run.
        dataset: its real images; None if they are not downloaded yet: checks that depend on them are then skipped.
        generator: its generator; no image is drawn.
        device: where the extractor runs.

    Raises:
        UserError: the protocol, a metric or the extractor is unknown or absent, or does not fit the data or the numbers of images.

    """
    evaluation = config.evaluation
    if evaluation.every == 0:
        return None
    changes = {"metrics": evaluation.metrics, "num_fake": evaluation.num_fake, "num_real": evaluation.num_real}
    chosen = protocol(evaluation.protocol)
    changed = {key: value for key, value in changes.items() if value}
    chosen = adjusted(chosen, **changed, **other_variant(chosen, evaluation.extractor))
    metrics_of(chosen)
    name = evaluation.extractor or chosen.extractor or "inception"
    try:
        network = extractor(name, weights=Path(evaluation.weights) if evaluation.weights else None, device=device)
    except UserError as error:
        raise UserError(f"{error}".replace("--weights", "evaluation.weights")) from error
    network(
        torch.zeros(2, 3, config.data.size, config.data.size, dtype=torch.uint8)
    )  # raises UserError for an image size that it does not support
    if dataset is not None:
        reals = chosen_reals(
            dataset_reals(dataset, cache_dir=Path(config.data.cache_dir)), chosen, seed=evaluation.seed, count_key=NUM_REAL
        )
        count = chosen.num_fake or len(dataset)
        fakes = FakeSource(generator, count=count, seed=evaluation.seed)
        counts = RealCounts(reals.source, len(reals.images), reals.labels, reals.classes)
        require_computable(fakes, chosen, network, num_fake=count, reals=counts)
    return ScorePlan(chosen, network)


def training_scorer(plan: ScorePlan, config: GANRunConfig, dataset: ImageDataset, accelerator: Accelerator, scores: Path) -> Scorer:
    """Return a function that scores the averaged generator against ``dataset`` according to ``plan``; compute the reference now.

    A number is logged as "protocol/fd", and all are stored with their card as ``scores/during_training/<images>.json``.
    """
    evaluation, chosen, network = config.evaluation, plan.protocol, plan.extractor
    reference = reference_of(
        dataset_reals(dataset, cache_dir=Path(config.data.cache_dir)),
        chosen,
        network,
        seed=evaluation.seed,
        cache_dir=Path(config.data.cache_dir),
        count_key=NUM_REAL,
    )

    def scorer(generator: nn.Module, images_seen: int) -> dict[str, float]:
        count = chosen.num_fake or len(dataset)
        fakes = generator_source(generator, count=count, seed=evaluation.seed, batch_norm=evaluation.batch_norm, device=accelerator.device)
        card = FakesCard(
            source=f"{config.name} in training",
            size=config.data.size,
            weights="ema",
            images_seen=images_seen,
            n_dis=config.trainer.n_dis,
            batch_norm=BATCH_NORM[evaluation.batch_norm],
            precision="fp32",
            labels=fakes.labels,
            seed=evaluation.seed,
        )
        about = run_card(config, rule=None, device=accelerator.device)
        result = score(fakes, reference, network, chosen, fakes=card, run=about, processes=processes())
        if accelerator.is_main_process:
            (scores / CARDS).mkdir(exist_ok=True)
            write_text(scores / CARDS / f"{images_seen}.json", result.to_json() + "\n")
        return {f"{chosen.name}/{key}": value for key, value in result.scores.items()}

    return scorer
