"""A GAN run from its config: data, networks, loss, loop. The guided tour of training starts here."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.data.datasets import require_labels
from gconv_gan.data.loaders import BatchSource
from gconv_gan.recipes.accelerator import build_accelerator
from gconv_gan.recipes.entry_point import training_command
from gconv_gan.recipes.networks import build_networks
from gconv_gan.recipes.objective import build_objective
from gconv_gan.recipes.plan import plan
from gconv_gan.recipes.training_score import training_scorer
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.seeding import stream_seed
from gconv_gan.training.gan import GANTraining, train_gan
from gconv_gan.training.hooks import Hook, Player
from gconv_gan.training.orthogonal_regularisation import OrthogonalRegularisation
from gconv_gan.training.state import GANProgress
from gconv_gan.training.temperature import GateTemperature


def main(arguments: Sequence[str]) -> None:
    """Train the GAN that ``CONFIG.toml [overrides] [--dry-run]`` describes; the same command again resumes."""
    training_command(arguments, "train_gan.py", GANRunConfig, plan=plan, fit=fit)


def fit(config: GANRunConfig) -> GANProgress:
    """Build everything ``config`` names and train it, from the run folder's newest checkpoint if there is one."""
    accelerator = build_accelerator(Path(config.runs_dir) / config.name, config.trainer)
    dataset = open_dataset(config.data, progress=accelerator.is_main_process)
    num_classes = None
    if config.conditional:
        require_labels(dataset)
        num_classes = dataset.num_classes
    generator, discriminator = build_networks(config, num_classes)
    objective = build_objective(config, discriminator, num_classes)
    folder = RunFolder(Path(config.runs_dir) / config.name)
    with folder.alone() if accelerator.is_main_process else nullcontext():
        if accelerator.is_main_process:
            folder.prepare(config)
        accelerator.wait_for_everyone()
        batches = partial(
            BatchSource,
            dataset,
            flip=config.data.flip,
            batch_size=config.trainer.batch_size,
            balance=config.trainer.balance,
            micro_batches=config.trainer.micro_batches,
            process_index=accelerator.process_index,
            num_processes=accelerator.num_processes,
            device=accelerator.device,
        )
        facts = {
            "data": dataset.content_hash,
            "data_title": dataset.title,
            "classes": list(dataset.classes) if num_classes is not None else None,
            "image_size": config.data.size,
            "num_processes": accelerator.num_processes,
        }
        training = GANTraining(
            config=config,
            generator=generator,
            discriminator=discriminator,
            objective=objective,
            data=batches(seed=config.seed),
            num_classes=num_classes,
            folder=folder,
            facts=facts,
            hooks=hooks(config),
            scorer=training_scorer(config, dataset, accelerator, folder.scores),
            generator_data=batches(seed=stream_seed(config.seed, "generator_reals", 0)) if objective.loss.relativistic else None,
        )
        return train_gan(training, accelerator)


def hooks(config: GANRunConfig) -> tuple[Hook, ...]:
    """Return what touches training besides the losses: orthogonal regularisation and the gates' temperature, where they are asked for."""
    found: list[Hook] = []
    if config.generator.orthogonal or config.discriminator.orthogonal:
        strengths: dict[Player, float] = {"generator": config.generator.orthogonal, "discriminator": config.discriminator.orthogonal}
        found.append(OrthogonalRegularisation(strengths))
    conv = getattr(config.generator, "conv", None)
    images: int | None = getattr(conv, "anneal_images", None)
    if conv is not None and images is not None:
        found.append(GateTemperature(conv.temperature, images=images))
    return tuple(found)
