"""The supervised training loop, top to bottom.

Every number it draws is a function of the counters, so a run that is killed and started again continues bit for bit.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.config.classifiers import ClassifierRunConfig
from gconv_gan.config.schema import constructor
from gconv_gan.data.class_batches import ClassBatches
from gconv_gan.data.held_out import HeldOut
from gconv_gan.layers.conv_norm import cached_spectra
from gconv_gan.layers.dropout import Dropout
from gconv_gan.losses.classification import mixed_cross_entropy
from gconv_gan.metrics.classification import hits, negative_log_likelihood, predictions
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.runtime.run_folder import RunFolder
from gconv_gan.runtime.seeding import stream_seed
from gconv_gan.training.checkpoint import resume, save_checkpoint
from gconv_gan.training.guards import StoppedBySignalError, disk_full_is_a_guard, noticing_signals, stop_signal
from gconv_gan.training.hooks import Hook
from gconv_gan.training.report import Report
from gconv_gan.training.state import ClassifierState, Progress, due
from gconv_gan.training.step import channels_last, finish_step, micro_batches, set_learning_rate


@dataclass(frozen=True)
class ClassifierTraining:
    """What a run is made of: the bare network in fp32, the data, and where results go."""

    config: ClassifierRunConfig
    network: nn.Module
    data: ClassBatches
    held_out: HeldOut
    """What the network is tested on while it trains."""
    held_out_name: str
    """"validation" or "test"."""
    folder: RunFolder
    facts: dict[str, Any]
    hooks: Sequence[Hook] = ()


def train_classifier(run: ClassifierTraining, accelerator: Accelerator) -> ClassifierState:
    """Train until ``trainer.total_images``, from the newest whole checkpoint of the run folder if there is one.

    Raises:
        GuardError: a gradient is not finite, or the disk is full.
        StoppedBySignalError: SIGINT or SIGTERM arrived; the state was saved.

    """
    config, trainer = run.config, run.config.trainer

    # 1. state: bare network, average, optimiser
    for hook in run.hooks:
        hook.before_fit({"classifier": run.network})
    network = run.network.to(accelerator.device)
    channels_last(network)
    average = config.average
    state = ClassifierState(
        network,
        Ema(network, half_life_images=average.half_life_images, ramp=average.ramp) if average.half_life_images else None,
        constructor(config.optimizer, "optimizer")(network),
        Progress(),
    )
    report = Report(accelerator, run.folder.path / "log.txt", total_images=trainer.total_images)

    # 2. resume
    resume(run.folder, state, run.facts, accelerator, report, config)
    progress = state.progress
    accelerator.init_trackers("events", init_kwargs={"tensorboard": {"purge_step": progress.images_seen + 1}})

    # 3. the network as Accelerate runs it: device, autocast, gradients averaged over processes
    parallel = accelerator.prepare(network)
    finish = partial(finish_step, hooks=run.hooks, max_grad_norm=trainer.max_grad_norm)
    step = partial(
        classifier_step, parallel, smoothing=config.labels.smoothing, backward=accelerator.backward, share=1 / trainer.micro_batches
    )
    report.start(progress.images_seen)

    with noticing_signals() as signals:
        while progress.images_seen < trainer.total_images:
            before = progress.images_seen
            factor = schedule_factor(config.schedule, images_seen=before, total_images=trainer.total_images)
            set_learning_rate(state.optimizer, config.optimizer.learning_rate * factor)

            # 4. one step
            batch = run.data.batch(before)
            images = batch.images.contiguous(memory_format=torch.channels_last)
            parts = micro_batches(trainer.micro_batches, images, batch.labels, batch.others)
            for number, (last, (x, labels, others)) in enumerate(parts):
                seed_dropout(network, stream_seed(config.seed, f"dropout/{number}", before), accelerator)
                with nullcontext() if last else accelerator.no_sync(parallel):
                    report.add(step(x, labels, others, weight=batch.weight))
            report.add({"grad_norm": finish("classifier", network, state.optimizer, images_seen=before)})
            progress.images_seen += trainer.batch_size
            if state.ema is not None:
                state.ema.update(network, batch_images=trainer.batch_size, images_seen=progress.images_seen)
            report.advance(trainer.batch_size)

            # 5. status, test, checkpoint, stop?
            after = progress.images_seen
            finished = after >= trainer.total_images
            stop = stop_signal(accelerator, signals)
            if due(before, after, trainer.log_every) or finished:
                report.line(after)
            with report.paused(), disk_full_is_a_guard(run.folder.path):
                improved = False
                if due(before, after, config.evaluation.every) or finished:
                    improved = score(run, state, accelerator, report)
                if due(before, after, trainer.checkpoint_every) or finished or stop or improved:
                    if accelerator.is_main_process:
                        save_checkpoint(run.folder.path, state, keep=trainer.keep_checkpoints, facts=run.facts)
                    accelerator.wait_for_everyone()
            if stop and not finished:
                report.close()
                raise StoppedBySignalError(stop)

    report.close()
    return state


def classifier_step(
    network: nn.Module,
    images: Float[Tensor, "b 3 s s"],
    labels: Int[Tensor, " b"],
    others: Int[Tensor, " b"],
    *,
    weight: float,
    smoothing: float,
    backward: Callable[[Tensor], None],
    share: float = 1.0,
) -> dict[str, Tensor]:
    """Accumulate the gradient of the cross-entropy on one micro-batch, weighted by ``share``; return detached scalars."""
    with cached_spectra():
        logits = network(images)
        loss = mixed_cross_entropy(logits, labels, others, weight=weight, smoothing=smoothing)
        backward(loss * share)
    return {"loss": loss.detach(), "accuracy": (logits.detach().argmax(1) == labels).float().mean()}


def seed_dropout(network: nn.Module, seed: int, accelerator: Accelerator) -> None:
    """Give every dropout of ``network`` the seed of its next mask, and this process its share of it."""
    layers = [module for module in network.modules() if isinstance(module, Dropout)]
    for index, layer in enumerate(layers):
        layer.seed = stream_seed(seed, "layer", index)
        layer.share = accelerator.process_index, accelerator.num_processes


def held_out_scores(network: nn.Module, data: HeldOut, accelerator: Accelerator) -> dict[str, float]:
    """Return accuracy, top-5 accuracy and mean negative log-likelihood over all processes, each testing its share."""
    logits, labels = predictions(network, data, index=accelerator.process_index, processes=accelerator.num_processes)
    rows = torch.stack([hits(logits, labels), hits(logits, labels, k=5), negative_log_likelihood(logits, labels)])
    sums = accelerator.reduce(rows.double().sum(1).to(accelerator.device), reduction="sum") / len(data)
    return dict(zip(("accuracy", "top5", "loss"), sums.tolist(), strict=True))


def score(run: ClassifierTraining, state: ClassifierState, accelerator: Accelerator, report: Report) -> bool:
    """Test the averaged network (the network, without an average), log the result, and return whether it is the best so far."""
    images, name = state.progress.images_seen, run.held_out_name
    scores = {f"{name}/{key}": value for key, value in held_out_scores(state.tested(), run.held_out, accelerator).items()}
    report.log(scores, images)
    report.say(f"{images / 1000:9.1f} kimg  " + "  ".join(f"{key} {value:.4f}" for key, value in scores.items()))
    return state.progress.improved_by(f"{name}/error", 1 - scores[f"{name}/accuracy"])
