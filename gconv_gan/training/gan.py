"""The adversarial training loop, top to bottom.

Every number it draws is a function of the counters, so a run that is killed and started again continues bit for bit. Accelerate
holds one micro-step counter for all its models; two networks stepping in turn under its ``accumulate`` would starve one of
them, so gradients are accumulated here. The optimisers are not wrapped: there is no loss scaler to share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from accelerate import Accelerator
from torch import nn

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.config.schema import constructor
from gconv_gan.data.loaders import BatchSource
from gconv_gan.layers.conv_norm import cached_spectra
from gconv_gan.layers.spectral_norm import one_power_iteration
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import resume, save_checkpoint
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_inputs import discriminator_inputs, generator_inputs
from gconv_gan.training.gan_step import d_step, g_step
from gconv_gan.training.guards import StoppedBySignalError, disk_full_is_a_guard, noticing_signals, stop_signal
from gconv_gan.training.hooks import Hook
from gconv_gan.training.objective import Objective, penalty_factor, weights_at
from gconv_gan.training.report import Report
from gconv_gan.training.samples import SampleGrids
from gconv_gan.training.state import GANProgress, GANState, due
from gconv_gan.training.step import channels_last, finish_step, over_micro_batches, set_learning_rate

Scorer = Callable[[nn.Module, int], dict[str, float]]
"""``scorer(averaged generator, images seen) -> scores``; the first of them is the smaller the better."""


@dataclass(frozen=True)
class GANTraining:
    """What a run is made of: bare networks in fp32, the objective, the data, and where results go."""

    config: GANRunConfig
    generator: nn.Module
    discriminator: nn.Module
    objective: Objective
    data: BatchSource
    num_classes: int | None
    folder: RunFolder
    facts: dict[str, Any]
    hooks: Sequence[Hook] = ()
    scorer: Scorer | None = None
    generator_data: BatchSource | None = None
    """The real images of generator steps, for a relativistic loss."""


def train_gan(run: GANTraining, accelerator: Accelerator) -> GANProgress:
    """Train until ``trainer.total_images``, from the newest whole checkpoint of the run folder if there is one.

    Raises:
        GuardError: a gradient is not finite, or the disk is full.
        StoppedBySignalError: SIGINT or SIGTERM arrived; the state was saved.

    """
    config, trainer, objective = run.config, run.config.trainer, run.objective
    total = trainer.total_images

    # 1. state: bare networks, average, optimisers
    for hook in run.hooks:
        hook.before_fit({"generator": run.generator, "discriminator": run.discriminator})
    generator, discriminator = run.generator.to(accelerator.device), run.discriminator.to(accelerator.device)
    channels_last(generator)
    channels_last(discriminator)
    state = GANState(
        generator,
        discriminator,
        Ema(generator, half_life_images=config.ema.half_life_images, ramp=config.ema.ramp, start_images=config.ema.start_images),
        constructor(config.generator_optimizer, "generator_optimizer")(generator),
        constructor(config.discriminator_optimizer, "discriminator_optimizer")(discriminator),
        GANProgress(),
        objective.state(),
    )
    report = Report(accelerator, run.folder.path / "log.txt", total_images=total)

    # 2. resume
    resume(run.folder, state, run.facts, accelerator, report, config)
    progress = state.progress
    accelerator.init_trackers("events", init_kwargs={"tensorboard": {"purge_step": progress.images_seen + 1}})

    # 3. the networks as Accelerate runs them: device, autocast, gradients averaged over processes
    parallel_generator, parallel_discriminator = accelerator.prepare(generator, discriminator)
    draws = Draws(
        config.seed,
        trainer.batch_size,
        config.generator.latent_dim,
        run.num_classes,
        accelerator.process_index,
        accelerator.num_processes,
        accelerator.device,
        trainer.micro_batches,
    )
    grids = SampleGrids(run.folder, latent_dim=config.generator.latent_dim, num_classes=run.num_classes)
    if accelerator.is_main_process and progress.images_seen == 0:
        grids.save_reals(run.data)
        grids.save(state.ema.network, 0)
    accumulate = partial(over_micro_batches, count=trainer.micro_batches, accelerator=accelerator)
    finish = partial(finish_step, hooks=run.hooks, max_grad_norm=trainer.max_grad_norm)
    report.start(progress.images_seen)

    with noticing_signals() as signals:
        while progress.images_seen < total:
            before = progress.images_seen
            factor = schedule_factor(config.schedule, images_seen=before, total_images=total)
            set_learning_rate(state.generator_optimizer, config.generator_optimizer.learning_rate * factor)
            set_learning_rate(state.discriminator_optimizer, config.discriminator_optimizer.learning_rate * factor)

            objective.begin(before)

            # 4. n_dis discriminator steps
            for _ in range(trainer.n_dis):
                seen = progress.images_seen
                penalty = penalty_factor(config.objective.penalty, d_steps=progress.d_steps, images_seen=seen, total_images=total)
                d_inputs = discriminator_inputs(run.data, draws, objective, progress, accelerator, penalised=penalty > 0)
                step = partial(d_step, generator, parallel_discriminator, objective, images_seen=seen, penalty_factor=penalty)
                with cached_spectra(), one_power_iteration(generator, discriminator):
                    statistics = accumulate(step, d_inputs, parallel_discriminator)
                norm = finish("discriminator", discriminator, state.discriminator_optimizer, images_seen=seen)
                objective.observe(statistics, batch_size=trainer.batch_size, images_seen=seen, accelerator=accelerator)
                report.add({**statistics, "grad_norm_d": norm})
                progress.d_steps += 1
                progress.images_seen += trainer.batch_size

            # 5. one generator step. The bare discriminator: frozen, it has no gradients for DDP to wait for
            weights = weights_at(config.objective.top_k, images_seen=before, batch_size=trainer.batch_size, accelerator=accelerator)
            g_inputs = generator_inputs(run.generator_data, draws, objective, progress, batch_size=trainer.batch_size)
            step = partial(g_step, parallel_generator, discriminator, objective, weights=weights)
            with cached_spectra(), one_power_iteration(generator, discriminator):
                statistics = accumulate(step, g_inputs, parallel_generator)
            norm = finish("generator", generator, state.generator_optimizer, images_seen=progress.images_seen)
            report.add({**statistics, "grad_norm_g": norm})
            progress.g_steps += 1
            state.ema.update(generator, batch_images=trainer.images_per_iteration, images_seen=progress.images_seen)
            report.advance(trainer.images_per_iteration)

            # 6. status, samples, score, checkpoint, stop?
            after = progress.images_seen
            finished = after >= total
            stop = stop_signal(accelerator, signals)
            if due(before, after, trainer.log_every) or finished:
                report.line(after, **grids.gate_entropy(state.ema.network), **objective.facts())
            with report.paused(), disk_full_is_a_guard(run.folder.path):
                if accelerator.is_main_process and (due(before, after, trainer.sample_every) or finished):
                    grids.save(state.ema.network, after)
                improved = False
                if run.scorer is not None and (due(before, after, config.evaluation.every) or finished):
                    improved = score(run, state, report)
                if due(before, after, trainer.checkpoint_every) or finished or stop or improved:
                    if accelerator.is_main_process:
                        save_checkpoint(run.folder.path, state, keep=trainer.keep_checkpoints, facts=run.facts)
                    accelerator.wait_for_everyone()
            if stop and not finished:
                report.close()
                raise StoppedBySignalError(stop)

    report.close()
    accelerator.end_training()
    return progress


def score(run: GANTraining, state: GANState, report: Report) -> bool:
    """Score the averaged generator, log the result, and return whether it is the best so far."""
    assert run.scorer is not None
    progress = state.progress
    scores = run.scorer(state.ema.network, progress.images_seen)
    report.log(scores, progress.images_seen)
    protocol = next(iter(scores)).rpartition("/")[0]
    numbers = "  ".join(f"{name.removeprefix(f'{protocol}/')} {value:.4g}" for name, value in scores.items())
    report.say(f"{progress.images_seen / 1000:9.1f} kimg  {protocol}{': ' if protocol else ''}{numbers}")
    return progress.improved_by(*next(iter(scores.items())))
