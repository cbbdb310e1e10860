"""A GAN run from its config: data, networks, loss, loop. The guided tour of training starts here."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.dry_run.gan_plan import plan
from gconv_gan.commands.train.forms import Setting, measured_forms
from gconv_gan.commands.train.gan_checks import CheckedGAN, check
from gconv_gan.commands.train.layouts import Example, chosen_layouts
from gconv_gan.commands.train.next_steps import next_steps
from gconv_gan.commands.train.prepared import Prepared
from gconv_gan.commands.train.training_command import training_command
from gconv_gan.commands.train.training_score import training_scorer
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.data.batches.subset import without_held_out
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.image_dataset import ImageDataset
from gconv_gan.diagnosis.overfitting import probe
from gconv_gan.layers.forms import choose_forms
from gconv_gan.methods.method import Layout, PlayerName, Progress
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
    ready = prepared(config, dataset, accelerator)
    with ready.folder(accelerator):
        progress = train(ready.task, ready.run, accelerator)
        accelerator.end_training()
    if accelerator.is_main_process:
        print("\n".join(next_steps(config, ready.run.folder.path, images_seen=progress.images_seen, num_images=len(dataset))))
    return progress


def prepared(config: GANRunConfig, dataset: ImageDataset, accelerator: Accelerator, *, quiet: bool = False) -> Prepared[Adversarial, None]:
    """Return the run that ``config`` describes, checked and built; ``quiet``: without messages on the terminal."""
    parts = check(config, accelerator, dataset)
    if accelerator.is_main_process and not quiet:
        for sentence in parts.warnings:
            log.warning("warning: %s", sentence)
    run = Run(config, parts.folder, parts.facts, fork=parts.forks, inherited=parts.inherited, quiet=quiet)
    return Prepared(build_task(config, parts, dataset, accelerator), run, save=lambda: None)


def build_task(config: GANRunConfig, parts: CheckedGAN, dataset: ImageDataset, accelerator: Accelerator) -> Adversarial:
    """Return the training task; computes the statistics of ``dataset`` for scores, writes nothing to the run's folder."""
    assert parts.data is not None
    probed = None
    if config.trainer.held_out:
        rows = without_held_out(dataset, share=config.trainer.held_out, seed=config.seed)
        probed = probe(dataset, *rows, latent_dim=config.generator.latent_dim, num_classes=parts.num_classes)
    scorer = None if parts.scored is None else training_scorer(parts.scored, config, dataset, accelerator, parts.folder.scores)
    layouts = measured(config, parts, accelerator)
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
        probe=probed,
        layouts=layouts,
        device=accelerator.device,
    )


def measured(config: GANRunConfig, parts: CheckedGAN, accelerator: Accelerator) -> dict[PlayerName, Layout]:
    """Return the memory layouts of both networks and set the forms of their layers, as measured on a part of the batch of this process."""
    trainer, generator, discriminator = config.trainer, parts.generator, parts.discriminator
    batch = trainer.batch_size // (accelerator.num_processes * trainer.micro_batches)
    labels = () if parts.num_classes is None else (torch.zeros(batch, dtype=torch.long),)
    z, images = torch.zeros(batch, config.generator.latent_dim), torch.zeros(batch, 3, config.data.size, config.data.size)
    facts = [batch, config.data.size, parts.num_classes]
    examples: dict[PlayerName, Callable[[], Example]] = {
        "generator": lambda: (generator, (z, *labels)),
        "discriminator": lambda: (discriminator, (images, *labels)),
    }
    resumes_from, cache_dir, say = parts.resumes_from or parts.forks, Path(config.data.cache_dir), partial(log.warning, "%s")
    layouts = chosen_layouts(
        examples,
        {
            "generator": [*facts, config.generator.model_dump(mode="json")],
            "discriminator": [*facts, config.discriminator.model_dump(mode="json")],
        },
        measure=trainer.measure,
        precision=trainer.precision,
        deterministic=trainer.deterministic,
        resumes_from=resumes_from,
        cache_dir=cache_dir,
        accelerator=accelerator,
        say=say,
    )
    setting = Setting(trainer.precision, trainer.deterministic, accelerator)
    forms = measured_forms(examples, layouts, setting, measure=trainer.measure, resumes_from=resumes_from, cache_dir=cache_dir, say=say)
    choose_forms(generator, forms["generator"])
    choose_forms(discriminator, forms["discriminator"])
    return layouts
