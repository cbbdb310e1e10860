"""A GAN run from its config: data, networks, loss, loop. The guided tour of training starts here."""

import logging
from collections.abc import Sequence
from contextlib import nullcontext

from accelerate import Accelerator

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.gan_checks import CheckedGAN, check
from gconv_gan.commands.train.gan_plan import plan
from gconv_gan.commands.train.next_steps import next_steps
from gconv_gan.commands.train.training_command import training_command
from gconv_gan.commands.train.training_score import training_scorer
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.methods.method import Progress
from gconv_gan.runtime.full_disk import writing
from gconv_gan.training.adversarial import Adversarial
from gconv_gan.training.loop import Run, train
from gconv_gan.training.samples import SampleGrids

log = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> None:
    """Train the GAN that ``CONFIG.toml [overrides] [--dry-run]`` describes; the same command again resumes."""
    training_command(arguments, GANRunConfig, plan=plan, fit=fit)


def fit(config: GANRunConfig) -> Progress:
    """Build the parts of ``config``, train from the newest checkpoint of the run folder if there is one, and return the counters.

    Raises:
        UserError: the run cannot start; its folder is then not created.

    """
    accelerator = build_accelerator(config)
    dataset = open_dataset(config.data, progress=accelerator.is_main_process)
    parts = check(config, accelerator, dataset)
    folder = parts.folder
    if accelerator.is_main_process:
        for sentence in parts.warnings:
            log.warning("warning: %s", sentence)
    task = build_task(config, parts, dataset, accelerator)
    with folder.alone() if accelerator.is_main_process else nullcontext(), writing(folder.path):
        if accelerator.is_main_process:
            folder.prepare(config)
        accelerator.wait_for_everyone()
        progress = train(task, Run(config, folder, parts.facts, fork=parts.forks), accelerator)
        accelerator.end_training()
    if accelerator.is_main_process:
        print("\n".join(next_steps(config, folder.path, images_seen=progress.images_seen)))
    return progress


def build_task(config: GANRunConfig, parts: CheckedGAN, dataset: ImageDataset, accelerator: Accelerator) -> Adversarial:
    """Return the training task; computes the statistics of ``dataset`` for scores, writes nothing to the run's folder."""
    assert parts.data is not None
    scorer = None if parts.scored is None else training_scorer(parts.scored, config, dataset, accelerator, parts.folder.scores)
    return Adversarial(
        config,
        parts.generator,
        parts.discriminator,
        parts.objective,
        data=parts.data,
        generator_data=parts.generator_data,
        num_classes=parts.num_classes,
        pictures=SampleGrids(parts.folder, dataset, latent_dim=config.generator.latent_dim, num_classes=parts.num_classes),
        methods=parts.methods,
        scorer=scorer,
        device=accelerator.device,
    )
