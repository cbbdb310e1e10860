"""One iteration of adversarial training: discriminator steps, a generator step, the average.

It reads no number of the host that changes from iteration to iteration, copies nothing between host and device, and neither draws
random numbers nor chooses by values: on one kind of input (with or without a penalty, see ``GANIteration.__call__``) it is the same
sequence of operations on the same tensors, which a CUDA graph may record. Whatever depends on counters is filled in before, by
``begin``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from accelerate import Accelerator
from torch import nn

from gconv_gan.config.runs import GANRunConfig
from gconv_gan.layers.spectral_norm import PowerIterations
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.training.gan_step import DiscriminatorInputs, GeneratorInputs, d_step, g_step
from gconv_gan.training.guards import FiniteGuard
from gconv_gan.training.hooks import Hook
from gconv_gan.training.objective import Objective, Weights
from gconv_gan.training.report import Report
from gconv_gan.training.state import GANState
from gconv_gan.training.step import finish_step, one_step, over_micro_batches, set_learning_rate


@dataclass(frozen=True)
class GANIteration:
    """What an iteration works on. The ``parallel`` networks are those of ``state`` as Accelerate runs them."""

    config: GANRunConfig
    state: GANState
    parallel_generator: nn.Module
    parallel_discriminator: nn.Module
    power_iterations: PowerIterations
    objective: Objective
    hooks: Sequence[Hook]
    guard: FiniteGuard
    report: Report
    accelerator: Accelerator

    def begin(self, images_seen: int) -> None:
        """Fill the tensors that hold functions of ``images_seen``, those before the iteration: learning rates, the average's weight, …"""
        config, trainer, state = self.config, self.config.trainer, self.state
        factor = schedule_factor(config.schedule, images_seen=images_seen, total_images=trainer.total_images)
        set_learning_rate(state.generator_optimizer, config.generator_optimizer.learning_rate * factor)
        set_learning_rate(state.discriminator_optimizer, config.discriminator_optimizer.learning_rate * factor)
        after = images_seen + trainer.images_per_iteration
        state.ema.begin(batch_images=trainer.images_per_iteration, images_seen=after)
        self.objective.begin(images_seen)
        for hook in self.hooks:
            hook.before_iteration(after)

    def __call__(
        self, d_inputs: Sequence[DiscriminatorInputs], g_inputs: GeneratorInputs, *, weights: Weights | None, images_seen: int
    ) -> None:
        """Take a discriminator step on each of ``d_inputs`` and a generator step on ``g_inputs``; ``images_seen`` before the first."""
        state, objective, trainer = self.state, self.objective, self.config.trainer
        accumulate = partial(over_micro_batches, count=trainer.micro_batches, accelerator=self.accelerator)
        finish = partial(finish_step, guard=self.guard, hooks=self.hooks, max_grad_norm=trainer.max_grad_norm)

        for inputs in d_inputs:
            step = partial(d_step, state.generator, self.parallel_discriminator, objective, images_seen=images_seen)
            with one_step(self.power_iterations):
                statistics = accumulate(step, inputs, self.parallel_discriminator)
            norm = finish("discriminator", state.discriminator, state.discriminator_optimizer, images_seen=images_seen)
            self.guard.count(trainer.batch_size)
            objective.observe(statistics, batch_size=trainer.batch_size, images_seen=images_seen, accelerator=self.accelerator)
            self.report.add({**statistics, "grad_norm_d": norm})
            images_seen += trainer.batch_size

        # the bare discriminator: frozen, it has no gradients for DDP to wait for
        step = partial(g_step, self.parallel_generator, state.discriminator, objective, weights=weights)
        with one_step(self.power_iterations):
            statistics = accumulate(step, g_inputs, self.parallel_generator)
        norm = finish("generator", state.generator, state.generator_optimizer, images_seen=images_seen)
        self.report.add({**statistics, "grad_norm_g": norm})
        state.ema.update(running=self.guard.running)
