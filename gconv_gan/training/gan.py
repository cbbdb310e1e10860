"""The adversarial training loop, top to bottom.

Every number it draws is a function of the counters, so a run that is killed and started again continues bit for bit. Accelerate
holds one micro-step counter for all its models; two networks stepping in turn under its ``accumulate`` would starve one of
them, so gradients are accumulated here. The optimisers are not wrapped: there is no loss scaler to share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from accelerate import Accelerator
from torch import nn

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.loaders import BatchSource
from gconv_gan.layers.spectral_norm import PowerIterations
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.factory import build_network_optimizer
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.training.checkpoint import resume, save_checkpoint
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_inputs import discriminator_inputs, generator_inputs
from gconv_gan.training.gan_iteration import GANIteration
from gconv_gan.training.guards import FiniteGuard, StoppedBySignalError, disk_full_is_a_guard, noticing_signals, stop_signal
from gconv_gan.training.hooks import Hook
from gconv_gan.training.objective import Objective, penalty_factor, weights_at
from gconv_gan.training.report import Report
from gconv_gan.training.samples import SampleGrids
from gconv_gan.training.state import GANProgress, GANState, due
from gconv_gan.training.step import channels_last

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
        build_network_optimizer(config.generator_optimizer, generator),
        build_network_optimizer(config.discriminator_optimizer, discriminator),
        GANProgress(),
        objective.state(),
    )
    report = Report(accelerator, run.folder.path / "log.txt", total_images=total)

    # 2. resume
    resume(run.folder, state, run.facts, accelerator, report, config)
    progress = state.progress
    accelerator.init_trackers("events", init_kwargs={"tensorboard": {"purge_step": progress.images_seen + 1}})

    # 3. the networks as Accelerate runs them: device, autocast, gradients averaged over processes
    power_iterations = PowerIterations(generator, discriminator)
    parallel_generator, parallel_discriminator = accelerator.prepare(generator, discriminator)
    optimizers = state.optimizers().values()
    guard = FiniteGuard(*optimizers, device=accelerator.device, images_seen=progress.images_seen)
    iteration = GANIteration(
        config, state, parallel_generator, parallel_discriminator, power_iterations, objective, run.hooks, guard, report, accelerator
    )
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
    report.start(progress.images_seen)

    with noticing_signals() as signals:
        while progress.images_seen < total:
            before = progress.images_seen

            # 4. what depends on counters, and the inputs of n_dis discriminator steps and a generator step
            iteration.begin(before)
            d_inputs = []
            for _ in range(trainer.n_dis):
                seen, steps = progress.images_seen, progress.d_steps
                penalty = penalty_factor(config.objective.penalty, d_steps=steps, images_seen=seen, total_images=total)
                d_inputs.append(discriminator_inputs(run.data, draws, objective, progress, accelerator, penalty_factor=penalty))
                progress.d_steps += 1
                progress.images_seen += trainer.batch_size
            weights = weights_at(config.objective.top_k, images_seen=before, batch_size=trainer.batch_size, accelerator=accelerator)
            g_inputs = generator_inputs(run.generator_data, draws, objective, progress, batch_size=trainer.batch_size)
            progress.g_steps += 1

            # 5. the steps, and the average
            iteration(d_inputs, g_inputs, weights=weights, images_seen=before)
            report.advance(trainer.images_per_iteration)

            # 6. status, samples, score, checkpoint, stop?
            after = progress.images_seen
            finished = after >= total
            stop = stop_signal(accelerator, signals)
            logging, sampling = (due(before, after, every) or finished for every in (trainer.log_every, trainer.sample_every))
            scoring = run.scorer is not None and (due(before, after, config.evaluation.every) or finished)
            saving = due(before, after, trainer.checkpoint_every) or finished or stop
            if logging or sampling or scoring or saving:
                guard.require_finite()
            if logging:
                report.line(after, **grids.gate_entropy(state.ema.network), **objective.facts())
            with report.paused(), disk_full_is_a_guard(run.folder.path):
                if sampling and accelerator.is_main_process:
                    grids.save(state.ema.network, after)
                improved = scoring and score(run, state, report)
                if saving or improved:
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
