"""The adversarial training loop, top to bottom.

Every number it draws is a function of the counters, so a run that is killed and started again continues bit for bit. Accelerate
holds one micro-step counter for all its models; two networks stepping in turn under its ``accumulate`` would starve one of
them, so gradients are accumulated here. The optimisers are not wrapped: there is no loss scaler to share.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.config.errors import UserError
from gconv_gan.config.runs import GANRunConfig
from gconv_gan.data.loaders import BatchSource
from gconv_gan.layers.conv_norm import cached_spectra
from gconv_gan.losses.adversarial import AdversarialLoss
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.factory import build_optimizer
from gconv_gan.optim.schedules import learning_rate_factor
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.tracking import truncate_metrics
from gconv_gan.training.checkpoint import load_checkpoint, newest_whole, save_checkpoint
from gconv_gan.training.draws import Draws
from gconv_gan.training.gan_step import d_step, g_step
from gconv_gan.training.guards import StoppedBySignalError, disk_full_is_a_guard, noticing_signals, require_finite
from gconv_gan.training.hooks import Hook, Player
from gconv_gan.training.report import Report
from gconv_gan.training.samples import SampleGrids
from gconv_gan.training.state import GANState, Progress, due

Scorer = Callable[[nn.Module, int], dict[str, float]]
"""``scorer(averaged generator, images seen) -> scores``; the first of them is the smaller the better."""


@dataclass(frozen=True)
class GANTraining:
    """What a run is made of: bare networks in fp32, the loss, the data, and where results go."""

    config: GANRunConfig
    generator: nn.Module
    discriminator: nn.Module
    loss: AdversarialLoss
    data: BatchSource
    num_classes: int | None
    folder: RunFolder
    facts: dict[str, Any]
    hooks: Sequence[Hook] = ()
    scorer: Scorer | None = None


def train_gan(run: GANTraining, accelerator: Accelerator) -> Progress:
    """Train until ``trainer.total_images``, from the newest whole checkpoint of the run folder if there is one.

    Raises:
        GuardError: a gradient is not finite, or the disk is full.
        StoppedBySignalError: SIGINT or SIGTERM arrived; the state was saved.

    """
    config, trainer = run.config, run.config.trainer

    # 1. state: bare networks, average, optimisers
    for hook in run.hooks:
        hook.before_fit(run.generator, run.discriminator)
    generator, discriminator = run.generator.to(accelerator.device), run.discriminator.to(accelerator.device)
    channels_last(generator)
    channels_last(discriminator)
    state = GANState(
        generator,
        discriminator,
        Ema(generator, half_life_images=config.ema.half_life_images, ramp=config.ema.ramp),
        build_optimizer(config.generator_optimizer, generator.parameters()),
        build_optimizer(config.discriminator_optimizer, discriminator.parameters()),
        Progress(),
    )
    report = Report(accelerator, run.folder.path / "log.txt", total_images=trainer.total_images)

    # 2. resume
    resume(run, state, accelerator, report)
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
    )
    grids = SampleGrids(run.folder, seed=config.seed, latent_dim=config.generator.latent_dim, num_classes=run.num_classes)
    if accelerator.is_main_process and progress.images_seen == 0:
        grids.save_reals(run.data)
        grids.save(state.ema.network, 0)
    backward, share = accelerator.backward, 1 / trainer.micro_batches
    report.start(progress.images_seen)

    with noticing_signals() as signals:
        while progress.images_seen < trainer.total_images:
            before = progress.images_seen
            factor = learning_rate_factor(config.schedule, images_seen=before, total_images=trainer.total_images)
            set_learning_rate(state.generator_optimizer, config.generator_optimizer.learning_rate * factor)
            set_learning_rate(state.discriminator_optimizer, config.discriminator_optimizer.learning_rate * factor)

            # 4. n_dis discriminator steps
            for _ in range(trainer.n_dis):
                reals, real_labels = run.data.batch(progress.images_seen)
                reals = reals.contiguous(memory_format=torch.channels_last)
                z, fake_labels = draws("d", progress.d_steps)
                if run.num_classes is None:
                    real_labels = None
                with cached_spectra():
                    for last, parts in micro_batches(trainer.micro_batches, reals, real_labels, z, fake_labels):
                        with nullcontext() if last else accelerator.no_sync(parallel_discriminator):
                            report.add(
                                d_step(
                                    generator,
                                    parallel_discriminator,
                                    run.loss,
                                    reals=parts[0],
                                    real_labels=parts[1],
                                    z=parts[2],
                                    fake_labels=parts[3],
                                    backward=backward,
                                    share=share,
                                )
                            )
                norm = finish_step(run, "discriminator", discriminator, state.discriminator_optimizer, progress.images_seen)
                report.add({"grad_norm_d": norm})
                progress.d_steps += 1
                progress.images_seen += trainer.batch_size

            # 5. one generator step. The bare discriminator: frozen, it has no gradients for DDP to wait for
            z, fake_labels = draws("g", progress.g_steps)
            with cached_spectra():
                for last, parts in micro_batches(trainer.micro_batches, z, fake_labels):
                    with nullcontext() if last else accelerator.no_sync(parallel_generator):
                        report.add(
                            g_step(
                                parallel_generator,
                                discriminator,
                                run.loss,
                                z=parts[0],
                                fake_labels=parts[1],
                                backward=backward,
                                share=share,
                            )
                        )
            norm = finish_step(run, "generator", generator, state.generator_optimizer, progress.images_seen)
            report.add({"grad_norm_g": norm})
            progress.g_steps += 1
            state.ema.update(generator, batch_images=trainer.images_per_iteration, images_seen=progress.images_seen)
            report.advance(trainer.images_per_iteration)

            # 6. status, samples, score, checkpoint, stop?
            after = progress.images_seen
            finished = after >= trainer.total_images
            stop = stop_signal(accelerator, signals)
            if due(before, after, trainer.log_every) or finished:
                report.line(after, **grids.gate_entropy(state.ema.network))
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


def resume(run: GANTraining, state: GANState, accelerator: Accelerator, report: Report) -> None:
    """Load the newest whole checkpoint; drop the metrics beyond it, which will be written again.

    Raises:
        UserError: the checkpoint was trained on other data than the run's.

    """
    newest = newest_whole(run.folder.path, report.say)
    if newest is None:
        return
    stored = load_checkpoint(newest, state)
    if stored["data"] != run.facts["data"]:
        raise UserError(f"{newest} was trained on other data (content hash {stored['data'][:12]}…, now {run.facts['data'][:12]}…)")
    if accelerator.is_main_process:
        truncate_metrics(run.folder.metrics, state.progress.images_seen)
    report.say(f"resuming from {newest}")


def channels_last(network: nn.Module) -> None:
    """Lay out convolution weights as convolution libraries are fastest; ``nn.Module.to`` refuses banks, which have five axes."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def micro_batches(count: int, *tensors: Tensor | None) -> Iterator[tuple[bool, list[Any]]]:
    """Yield (whether it is the last, the parts) for each of ``count`` equal parts of the tensors; None stays None."""
    split = [[None] * count if tensor is None else tensor.chunk(count) for tensor in tensors]
    for index in range(count):
        yield index == count - 1, [parts[index] for parts in split]


def finish_step(run: GANTraining, player: Player, network: nn.Module, optimizer: torch.optim.Optimizer, images_seen: int) -> Tensor:
    """Clip the complete gradient, refuse a non-finite one, step, and clear it; return its norm before clipping."""
    for hook in run.hooks:
        hook.after_backward(player, network)
    limit = run.config.trainer.max_grad_norm
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), limit, norm)
    require_finite(norm, network, player, images_seen)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    for hook in run.hooks:
        hook.after_step(player, network, images_seen)
    return norm


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def stop_signal(accelerator: Accelerator, signals: list[int]) -> int:
    """Return the number of a signal that any process has received, 0 for none, the same on every process."""
    mine = signals[0] if signals else 0
    if accelerator.num_processes == 1:
        return mine
    everyone = accelerator.gather(torch.tensor([mine], device=accelerator.device))
    return int(everyone.max())


def score(run: GANTraining, state: GANState, report: Report) -> bool:
    """Score the averaged generator, log the result, and return whether it is the best so far."""
    assert run.scorer is not None
    progress = state.progress
    scores = run.scorer(state.ema.network, progress.images_seen)
    report.log(scores, progress.images_seen)
    report.say(f"{progress.images_seen / 1000:9.1f} kimg  " + "  ".join(f"{name} {value:.4g}" for name, value in scores.items()))
    name, value = next(iter(scores.items()))
    if progress.best_score is not None and progress.best_name == name and value >= progress.best_score:
        return False
    progress.best_score, progress.best_name, progress.best_images = value, name, progress.images_seen
    return True
