"""What a run would do, before it does it: config, networks layer by layer, images, steps, checkpoints, disk."""

import json

import torch

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.cache import open_dataset
from gconv_gan.models.summary import summarise, table
from gconv_gan.recipes.networks import build_networks
from gconv_gan.recipes.objective import build_objective


def plan(config: GANRunConfig) -> str:
    """Return the resolved config, both networks and the plan as text; opens the data, trains nothing, writes no run folder."""
    dataset = open_dataset(config.data)
    num_classes = dataset.num_classes if config.conditional else None
    generator, discriminator = build_networks(config, num_classes)
    build_objective(config, discriminator, num_classes)  # refuses what could not be trained
    y = None if num_classes is None else torch.zeros(1, dtype=torch.long)
    g_rows = summarise(generator, torch.zeros(1, config.generator.latent_dim), y)
    d_rows = summarise(discriminator, torch.zeros(1, 3, config.data.size, config.data.size), y)
    f_g, f_d = sum(row.macs for row in g_rows), sum(row.macs for row in d_rows)
    trainer = config.trainer
    iterations = -(-trainer.total_images // trainer.images_per_iteration)
    # G forward without a graph and D forward and backward on real and fake; then G and, to its input only, D
    macs = trainer.images_per_iteration * (f_g + 6 * f_d) + trainer.batch_size * (3 * f_g + 2 * f_d)
    weights = sum(t.numel() * t.element_size() for net in (generator, discriminator) for t in net.state_dict().values())
    averaged = sum(t.numel() * t.element_size() for t in generator.state_dict().values())
    checkpoint = 3 * weights + averaged  # weights, two Adam moments, the average
    written = -(-trainer.total_images // trainer.checkpoint_every)
    kept = min(written, trainer.keep_checkpoints)
    return "\n".join(
        [
            json.dumps(config.model_dump(mode="json"), indent=2),
            "",
            "generator",
            table(g_rows),
            "",
            "discriminator",
            table(d_rows),
            "",
            f"data: {len(dataset):,} images of {config.data.size}×{config.data.size}, {dataset.num_classes or 'no'} classes",
            f"images: {trainer.total_images:,} shown to the discriminator = {trainer.total_images / len(dataset):.1f} epochs",
            f"steps: {iterations:,} generator steps, {iterations * trainer.n_dis:,} discriminator steps, batch {trainer.batch_size}",
            f"work: {macs:,} MACs per iteration, {macs * iterations:.3g} in all",
            f"checkpoints: {written} written, {kept} kept",
            f"disk: {checkpoint / 2**20:.1f} MiB per checkpoint, {checkpoint * kept / 2**20:.1f} MiB kept",
        ]
    )
