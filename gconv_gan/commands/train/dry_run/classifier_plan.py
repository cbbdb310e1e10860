"""The dry run of a classifier: resolved config, network, steps, MACs, time, disk."""

import json
from functools import partial

import torch

from gconv_gan.commands.train.accelerator import build_accelerator
from gconv_gan.commands.train.classifier_checks import check
from gconv_gan.commands.train.dry_run.gan_plan import goes_on, iterations_left, left_out, rounded_up
from gconv_gan.commands.train.dry_run.step_time import classifier_step_time
from gconv_gan.config.errors import reworded
from gconv_gan.config.schema import constructor
from gconv_gan.config.sections.classifiers import ClassifierRunConfig
from gconv_gan.config.sections.data import in_section
from gconv_gan.data.cache import open_without_fetching
from gconv_gan.data.datasets import not_there_yet, published_classes
from gconv_gan.models.summary import summarise, table
from gconv_gan.optim.optimizers import state_per_weight


def plan(config: ClassifierRunConfig) -> str:
    """Return the resolved config, the network layer by layer, and the run's MACs, time and disk space; download nothing.

    Raises:
        UserError: the run would be refused, as far as this can be checked without data that are not downloaded yet.

    """
    accelerator = build_accelerator(config)
    dataset = open_without_fetching(config.data)
    with reworded(partial(in_section, "test_data")):
        test = open_without_fetching(config.test_data)
    parts = check(config, accelerator, dataset, test)
    network, trainer = parts.network, config.trainer
    if dataset is not None and test is not None and parts.data is not None:
        classes, images = len(dataset.classes), len(parts.data.split.training)
        validation = len(parts.data.split.validation)
        data = f"{images:,} training, {validation:,} validation, {len(test):,} test images; {classes} classes"
        epochs = f" = {-(-trainer.total_images // trainer.batch_size) * trainer.batch_size / images:.1f} epochs"
    else:
        classes, epochs = published_classes(config.data), ""
        data = not_there_yet(config.data) if dataset is None else not_there_yet(config.test_data, "test_data")
    rows = summarise(network, torch.zeros(1, 3, config.image_size, config.image_size))
    macs = sum(row.macs for row in rows)
    steps = -(-trainer.total_images // trainer.batch_size)
    shown = steps * trainer.batch_size
    weights = sum(4 * tensor.numel() for tensor in network.state_dict().values())
    copies = 1 + state_per_weight(constructor(config.optimizer)) + (config.average.half_life_images > 0)
    taken = classifier_step_time(config, network, classes, accelerator)
    return "\n".join(
        [
            json.dumps(config.model_dump(mode="json"), indent=2),
            "",
            table(rows),
            "",
            f"data: {data}",
            *(
                line
                for found, section in ((dataset, "data"), (test, "test_data"))
                if found is not None
                for line in left_out(found, section)
            ),
            *goes_on(parts.resumes_from, config.start_from),
            f"input: {config.image_size}×{config.image_size} of {config.data.size}×{config.data.size}",
            f"images: {shown:,}{epochs} = {steps:,} steps of {trainer.batch_size}{rounded_up(shown, trainer)}",
            f"work: {3 * macs * shown:.3g} MACs, forward and backward",
            taken.text(
                iterations_left(trainer.total_images, trainer.batch_size, parts.resumes_from),
                share=trainer.batch_size // accelerator.num_processes,
                device=accelerator.device,
            ),
            taken.log_text(trainer.log_every, images=trainer.batch_size, total_images=trainer.total_images),
            *taken.memory_text(accelerator.device),
            f"disk: {copies * weights / 2**20:.1f} MiB per checkpoint, at most {trainer.keep_checkpoints + 1} kept",
        ]
    )
