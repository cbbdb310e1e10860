"""Adversarial training as a task: n_dis discriminator steps, one generator step, the average.

Accelerate has one micro-step counter for all its models, so that under its ``accumulate`` one of two networks that step in turn would
never step; gradients are therefore accumulated here. The optimisers are not wrapped, since there is no loss scaler.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.augment.adaptive import Adaptive
from gconv_gan.config.schema import PartConfig, constructor
from gconv_gan.config.sections.objective import AnyPenalty
from gconv_gan.config.sections.runs import GANRunConfig
from gconv_gan.diagnosis.diagnose import Watch
from gconv_gan.diagnosis.overfitting import OverfittingProbe
from gconv_gan.losses.objective import Numbers, Objective, Statistics, discriminator_loss, generator_loss
from gconv_gan.losses.penalties import Examples
from gconv_gan.methods.method import Layout, Method, Player, PlayerName
from gconv_gan.metrics.tables import lower_is_better
from gconv_gan.optim.ema import Ema
from gconv_gan.optim.schedules import schedule_factor
from gconv_gan.runtime.modes import frozen
from gconv_gan.runtime.precision import rounds
from gconv_gan.training.draws import Draws
from gconv_gan.training.fakes import steps_in_a_pass, with_fakes
from gconv_gan.training.gan_inputs import DiscriminatorInputs, GeneratorInputs, RealImages, discriminator_inputs, generator_inputs
from gconv_gan.training.report import Report
from gconv_gan.training.samples import SampleGrids
from gconv_gan.training.step import concatenated, finish_step, half_batches, one_step, over_micro_batches
from gconv_gan.training.task import Task

Scorer = Callable[[nn.Module, int], dict[str, float]]
"""``scorer(averaged generator, images seen) -> scores`` by "protocol/key"; the first score selects the best checkpoint."""


class Schedules(NamedTuple):
    """Values of an iteration that depend on the counters alone, as tensors on the device."""

    images_seen: Int[Tensor, ""]
    """Images seen at the start of the iteration."""
    penalty: Float[Tensor, " n_dis"]
    """Factor on the penalty of each discriminator step."""
    average: Float[Tensor, ""]
    """Weight of the generator in its average."""


class Inputs(NamedTuple):
    """The tensors that an iteration reads."""

    discriminator: tuple[DiscriminatorInputs, ...]
    generator: GeneratorInputs
    schedules: Schedules


class Adversarial(Task):
    """A generator and a discriminator.

    Args:
        config: the run.
        generator: bare, in fp32.
        discriminator: bare, in fp32.
        objective: the losses of both networks.
        data: real images of discriminator steps.
        generator_data: real images of generator steps, for a relativistic loss.
        num_classes: None in an unconditional run.
        pictures: writes the sample grids; None: no grids.
        methods: the training methods, in order.
        scorer: the score during training.
        probe: measures the discriminator on images that are not trained on; None: there are none.
        layouts: the memory layout of each network; of one that is absent it is channels last.
        device: device of training.

    Attributes:
        joined_steps: the number of discriminator steps whose images are generated in one pass, known after ``begin``.

    """

    config: GANRunConfig
    joined_steps: int

    def __init__(
        self,
        config: GANRunConfig,
        generator: nn.Module,
        discriminator: nn.Module,
        objective: Objective,
        *,
        data: RealImages,
        generator_data: RealImages | None,
        num_classes: int | None,
        pictures: SampleGrids | None = None,
        methods: Sequence[Method] = (),
        scorer: Scorer | None = None,
        probe: OverfittingProbe | None = None,
        layouts: Mapping[PlayerName, Layout] = MappingProxyType({}),
        device: torch.device,
    ) -> None:
        ema = partial(Ema, half_life_images=config.ema.half_life_images, ramp=config.ema.ramp, start_images=config.ema.start_images)
        players = [
            Player(
                "generator",
                generator.to(device),
                constructor(config.generator_optimizer, "generator_optimizer"),
                config.generator_optimizer.learning_rate,
                build_average=ema,
                layout=layouts.get("generator", "channels_last"),
            ),
            Player(
                "discriminator",
                discriminator.to(device),
                constructor(config.discriminator_optimizer, "discriminator_optimizer"),
                config.discriminator_optimizer.learning_rate,
                layout=layouts.get("discriminator", "channels_last"),
            ),
        ]
        super().__init__(players, methods, objective.to(device).state(), device)
        self.config, self.objective, self.scorer = config, objective, scorer
        self.data, self.generator_data, self.num_classes = data, generator_data, num_classes
        self.images_per_iteration = config.trainer.images_per_iteration
        self.sample_every, self.evaluate_every = config.trainer.sample_every, config.evaluation.every
        self._pictures = pictures
        self._watch, self._probe = Watch(config), probe
        # for ``losses``: the batches of all processes
        self._whole_data, self._whole_generator_data = data.whole(), None if generator_data is None else generator_data.whole()
        self._whole_draws = self._draws_of(0, 1, 1)

    def _draws_of(self, process_index: int, num_processes: int, micro_batches: int) -> Draws:
        """Return the random numbers of a process."""
        config = self.config
        return Draws(
            config.seed,
            config.trainer.batch_size,
            config.generator.latent_dim,
            self.num_classes,
            process_index,
            num_processes,
            self.device,
            micro_batches,
        )

    def begin(self, accelerator: Accelerator) -> None:
        """See ``Task``."""
        super().begin(accelerator)
        micro_batches = self.config.trainer.micro_batches
        self._accelerator = accelerator
        self._rounds = rounds(self.config.trainer.precision, self.device, autocast=accelerator.mixed_precision == "bf16")
        self._accumulate = partial(over_micro_batches, count=micro_batches)
        self._draws = self._draws_of(accelerator.process_index, accelerator.num_processes, micro_batches)
        self.joined_steps = 1  # each part of a batch has statistics of its own
        if micro_batches == 1:
            z, labels, _ = self._draws("d", 0)
            self.joined_steps = steps_in_a_pass(self.players["generator"].network, z, labels, steps=self.config.trainer.n_dis)

    # ---- the iteration -----------------------------------------------------------------------------------------------

    def prepare(self) -> tuple[tuple[bool, ...], Inputs]:
        """Return which discriminator steps are penalised, and the inputs of all steps."""
        config, trainer, progress = self.config, self.config.trainer, self.progress
        before, batch, total = progress.images_seen, trainer.batch_size, trainer.total_images
        seen = [before + batch * step for step in range(trainer.n_dis)]
        penalties = [
            penalty_factor(config.objective.penalty, d_steps=progress.d_steps + step, images_seen=images, total_images=total)
            for step, images in enumerate(seen)
        ]
        variant = tuple(factor > 0 for factor in penalties)
        self.objective.begin(before)
        ema = self.players["generator"].average
        assert ema is not None
        average = ema.weight(batch_images=trainer.images_per_iteration, images_seen=before + trainer.images_per_iteration)
        vector = torch.tensor([*penalties, average], dtype=torch.float32).to(self.device, non_blocking=True)
        schedules = Schedules(torch.tensor(before).to(self.device, non_blocking=True), vector[:-1], vector[-1])
        steps = tuple(
            discriminator_inputs(
                self.data,
                self._draws,
                self.objective,
                self._accelerator,
                step=progress.d_steps + step,
                images_seen=images,
                penalised=variant[step],
            )
            for step, images in enumerate(seen)
        )
        generator = generator_inputs(self.generator_data, self._draws, self.objective, step=progress.g_steps, batch_size=batch)
        return variant, Inputs(steps, generator, schedules)

    def _iterate(self, variant: tuple[bool, ...], inputs: Inputs) -> None:
        """Run n_dis discriminator steps and one generator step, and update the average."""
        self.discriminator_steps(variant, inputs)
        generator, discriminator = self.players["generator"], self.players["discriminator"]
        with one_step(self._power_iterations), frozen(discriminator.network):
            statistics = self._accumulate(self._generator_step, inputs.generator, generator.network)
        norm = self._finish(generator, inputs.schedules)
        self.means.add({**statistics, "grad_norm_g": norm})
        assert generator.average is not None
        generator.average.update(inputs.schedules.average * (1 - self.guard.failed))

    def discriminator_steps(self, variant: tuple[bool, ...], inputs: Inputs) -> None:
        """Run the discriminator steps of an iteration, with the images that they need of the generator."""
        generator, discriminator = self.players["generator"], self.players["discriminator"]
        batches, joined = list(inputs.discriminator), self.joined_steps
        for index, (penalised, factor) in enumerate(zip(variant, inputs.schedules.penalty, strict=True)):
            step = partial(self._discriminator_step, penalised=penalised, penalty_factor=factor)
            with one_step(self._power_iterations):
                if joined > 1 and index % joined == 0:
                    batches[index : index + joined] = with_fakes(generator.network, batches[index : index + joined])
                statistics = self._accumulate(step, batches[index], discriminator.network)
            norm = self._finish(discriminator, inputs.schedules)
            self._observe(statistics)
            self.means.add({**statistics, "grad_norm_d": norm})

    def _finish(self, player: Player, schedules: Schedules) -> Tensor:
        """Let a player step with its complete gradient; return the gradient's norm []."""
        return finish_step(
            player,
            methods=self.methods,
            guard=self.guard,
            max_grad_norm=self.config.trainer.max_grad_norm,
            images_seen=schedules.images_seen,
        )

    def _discriminator_step(
        self, batch: DiscriminatorInputs, *, penalised: bool, penalty_factor: Tensor, backward: Callable[[Tensor], None], share: float
    ) -> Statistics:
        """Accumulate the discriminator's gradient on one micro-batch; return detached scalars."""
        images = batch.fakes
        if images is None:
            with torch.no_grad():
                images = self.players["generator"].network(batch.z, batch.fake_labels)
        loss, statistics = discriminator_loss(
            self.players["discriminator"].network,
            Examples(batch.reals, batch.real_labels, batch.real_draws),
            Examples(images, batch.fake_labels, batch.fake_draws),
            self.objective,
            Numbers(batch.real_twin_draws, batch.fake_twin_draws, batch.penalty_noise, batch.real_std),
            penalised=penalised,
            penalty_factor=penalty_factor,
            exact=self.players["discriminator"].network if self._rounds else None,
        )
        backward(loss if share == 1 else loss * share)
        return statistics

    def _generator_step(self, batch: GeneratorInputs, *, backward: Callable[[Tensor], None], share: float) -> Statistics:
        """Accumulate the generator's gradient on one micro-batch through the frozen discriminator; return detached scalars."""
        images = self.players["generator"].network(batch.z, batch.fake_labels)
        loss, statistics = generator_loss(
            self.players["discriminator"].network,
            Examples(images, batch.fake_labels, batch.fake_draws),
            self.objective,
            reals=None if batch.reals is None else Examples(batch.reals, batch.real_labels, batch.real_draws),
            weights=None if self.objective.top_k is None else self._weights,
        )
        backward(loss if share == 1 else loss * share)
        return statistics

    def _weights(self, logits: Tensor) -> Tensor:
        """Return weights [b] of this process's images: B/k for those among the k largest logits of *all* processes, 0 for the others."""
        assert self.objective.top_k is not None
        everyone = self._accelerator.gather(logits.detach())
        mine: Tensor = self.objective.top_k(everyone).chunk(self._accelerator.num_processes)[self._accelerator.process_index]
        return mine

    def _observe(self, statistics: Statistics) -> None:
        """Update LeCam and an adaptive augmentation with the mean logits and signs of a discriminator step. Collective."""
        objective = self.objective
        adaptive = objective.augment if isinstance(objective.augment, Adaptive) else None
        if objective.lecam is None and adaptive is None:
            return
        means = torch.stack([statistics[name].float() for name in ("d_real", "d_fake", "sign_real")])
        real, fake, sign = self._accelerator.reduce(means, reduction="mean")
        if objective.lecam is not None:
            objective.lecam.follow(real, fake)
        if adaptive is not None:
            batch = self.config.trainer.batch_size
            adaptive.observe((sign * batch).round(), batch)  # rounded to a whole number: equal on any number of processes

    def advance(self) -> None:
        """See ``Task``."""
        self.progress.d_steps += self.config.trainer.n_dis
        self.progress.g_steps += 1
        self.progress.images_seen += self.images_per_iteration

    # ---- losses, status, pictures, score -----------------------------------------------------------------------------

    def _loss(self, player: PlayerName, halves: Sequence[int], network: Callable[..., Any]) -> Tensor:
        """See ``Task``."""
        batch_size, objective = self.config.trainer.batch_size, self.objective
        if player == "generator":

            def generator_batch(number: int) -> GeneratorInputs:
                return generator_inputs(self._whole_generator_data, self._whole_draws, objective, step=number, batch_size=batch_size)

            g = concatenated(half_batches(generator_batch, halves))
            critic = self.players["discriminator"].network
            top_k = objective.top_k
            with frozen(critic):
                return generator_loss(
                    critic,
                    Examples(network(g.z, g.fake_labels), g.fake_labels, g.fake_draws),
                    objective,
                    reals=None if g.reals is None else Examples(g.reals, g.real_labels, g.real_draws),
                    weights=None if top_k is None else lambda logits: top_k(logits.detach()),
                )[0]

        def discriminator_batch(number: int) -> DiscriminatorInputs:
            seen = number * batch_size
            return discriminator_inputs(
                self._whole_data, self._whole_draws, objective, None, step=number, images_seen=seen, penalised=False
            )

        d = concatenated(half_batches(discriminator_batch, halves))
        with torch.no_grad():
            images = self.players["generator"].network(d.z, d.fake_labels)
        return discriminator_loss(
            network,
            Examples(d.reals, d.real_labels, d.real_draws),
            Examples(images, d.fake_labels, d.fake_draws),
            objective,
            Numbers(d.real_twin_draws, d.fake_twin_draws),
            penalised=False,
        )[0]

    def status(self) -> Mapping[str, float]:
        """Return numbers of the gates, the state of augmentation and LeCam, and the discriminator's overfitting."""
        facts = {} if self._pictures is None else dict(self._pictures.gate_numbers(self.players["generator"].tested))
        probability = getattr(self.objective.augment, "probability", None)
        if probability is not None:
            facts["augment_p"] = float(probability)
        if self.objective.lecam is not None:
            facts |= {"lecam_real": float(self.objective.lecam.real), "lecam_fake": float(self.objective.lecam.fake)}
        if self._probe is not None:
            facts |= self._probe(self.players["generator"].network, self.players["discriminator"].network, self.objective)
        return facts

    def draw(self, images_seen: int) -> Path | None:
        """Write a grid of the averaged generator, before training one of real images too; return the file of the former."""
        if self._pictures is None:
            return None
        if images_seen == 0:
            self._pictures.save_reals()
        return self._pictures.save(self.players["generator"].tested, images_seen)

    def watch(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """See ``Task``; the rules are those of the doctor that need no more than the log."""
        return [f"doctor: {finding.severity}: {finding.line()}" for finding in self._watch.begun(records)]

    def watch_from(self, records: Sequence[Mapping[str, Any]]) -> None:
        """See ``Task``."""
        self._watch.resume(records)

    def score(self, report: Report) -> bool:
        """Score the averaged generator, log the result, and return whether it is the best so far."""
        if self.scorer is None:
            return False
        images = self.progress.images_seen
        scores = self.scorer(self.players["generator"].tested, images)
        report.log(scores, images)
        protocol = next(iter(scores)).rpartition("/")[0]
        numbers = "  ".join(f"{name.removeprefix(f'{protocol}/')} {value:.4g}" for name, value in scores.items())
        report.say(f"{images / 1000:9.1f} kimg  {protocol}{': ' if protocol else ''}{numbers}")
        name, value = next(iter(scores.items()))
        return self.progress.improved_by(name, value, lower_is_better=name.rpartition("/")[2] in lower_is_better())


def penalty_factor(config: PartConfig, *, d_steps: int, images_seen: int, total_images: int) -> float:
    """Return the factor on the penalty of the step after ``d_steps``: ``every`` times the schedule at every ``every``-th step, else 0.

    StyleGAN2 takes a separate optimiser step for a lazy penalty, and corrects Adam for the additional steps (arXiv 1912.04958,
    appendix B); here the penalty is added to the loss of a step, so no correction is needed.
    """
    if not isinstance(config, AnyPenalty) or d_steps % config.every:
        return 0.0
    return config.every * schedule_factor(config.schedule, images_seen=images_seen, total_images=total_images)
