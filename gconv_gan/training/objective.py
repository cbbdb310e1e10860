"""What the two players of a run minimise, and what of it changes while they do."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from gconv_gan.config.objective import AnyPenalty, TopKConfig
from gconv_gan.config.schema import PartConfig
from gconv_gan.data.discriminator_augment import AdaptiveAugment, AnyAugment, ScheduledAugment
from gconv_gan.losses.adversarial import AdversarialLoss
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.penalties import Examples, Penalty
from gconv_gan.losses.top_k import top_k_count, top_k_weights
from gconv_gan.optim.schedules import schedule_factor

Weights = Callable[[Tensor], Tensor]
"""``weights(logits)``: the factor on the loss of each image, with mean 1 over the batch."""


@dataclass(frozen=True)
class Objective:
    """The adversarial loss and whatever is added to it; None is left out.

    ``apart``: real and generated images, and the twins of each, pass through the discriminator in batches of their own, as in DCGAN,
    because it couples the images of a batch.
    """

    loss: AdversarialLoss
    augment: AnyAugment | None = None
    penalty: Penalty | None = None
    consistency: Consistency | None = None
    lecam: LeCam | None = None
    apart: bool = False

    def seen(self, examples: Examples) -> Tensor:
        """Return the images as the discriminator sees them: augmented by their own numbers."""
        if self.augment is None:
            return examples.images
        assert examples.draws is not None
        images: Tensor = self.augment(examples.images, examples.draws)
        return images

    def logits(self, discriminator: nn.Module, images: Tensor, labels: Tensor | None, *, parts: int) -> tuple[Tensor, ...]:
        """Return the logits of each of the equal ``parts`` of a batch, in one pass or, where they stay ``apart``, in one pass each."""
        if not self.apart:
            together: Tensor = discriminator(images, labels)
            return together.chunk(parts)
        of_parts = [None] * parts if labels is None else labels.chunk(parts)
        return tuple(discriminator(part, y) for part, y in zip(images.chunk(parts), of_parts, strict=True))

    def state(self) -> dict[str, nn.Module]:
        """Return the parts that change from step to step, by the name of their file in a checkpoint."""
        parts = {"augment": self.augment, "lecam": self.lecam}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    def begin(self, images_seen: int) -> None:
        """Set what depends on the images seen alone."""
        if isinstance(self.augment, ScheduledAugment):
            self.augment.begin(images_seen)

    def observe(self, statistics: dict[str, Tensor], *, batch_size: int, images_seen: int, accelerator: Accelerator) -> None:
        """Take in a discriminator step's mean logits and signs, this process's; ``images_seen`` when the step began. Collective."""
        adaptive = isinstance(self.augment, AdaptiveAugment)
        if self.lecam is None and not adaptive:
            return
        means = torch.stack([statistics[name].float() for name in ("d_real", "d_fake", "sign_real")])
        real, fake, sign = accelerator.reduce(means, reduction="mean")
        if self.lecam is not None:
            self.lecam.follow(real, fake, images_seen=images_seen)
        if isinstance(self.augment, AdaptiveAugment):
            self.augment.observe((sign * batch_size).round(), batch_size)  # a whole number: the same on one process and two

    def facts(self) -> dict[str, float]:
        """Return the numbers that a status line shows of it."""
        facts: dict[str, float] = {}
        if isinstance(self.augment, ScheduledAugment | AdaptiveAugment):
            facts["augment_p"] = float(self.augment.probability)
        if self.lecam is not None:
            facts |= {"lecam_real": float(self.lecam.real), "lecam_fake": float(self.lecam.fake)}
        return facts


def penalty_factor(config: PartConfig, *, d_steps: int, images_seen: int, total_images: int) -> float:
    """Return the factor on the penalty of the step after ``d_steps``: 0, or at every ``every``-th step that number, times the schedule.

    StyleGAN2 takes an optimiser step of its own for a lazy penalty, and corrects Adam for the additional steps (arXiv 1912.04958,
    appendix B); here it shares the step of the loss, and there is nothing to correct.
    """
    if not isinstance(config, AnyPenalty) or d_steps % config.every:
        return 0.0
    return config.every * schedule_factor(config.schedule, images_seen=images_seen, total_images=total_images)


def weights_at(config: TopKConfig, *, images_seen: int, batch_size: int, accelerator: Accelerator) -> Weights | None:
    """Return what weighs the images of a generator step after ``images_seen``; None where all count the same.

    ``weights(logits)`` gives those of this process's images that are among the k best of *all* processes B/k, and the others 0.
    """
    k = top_k_count(batch_size, images_seen, final_fraction=config.final_fraction, decay=config.decay, decay_images=config.decay_images)
    if k == batch_size:
        return None

    def weights(logits: Tensor) -> Tensor:
        everyone = accelerator.gather(logits.detach())
        mine: Tensor = top_k_weights(everyone, k).chunk(accelerator.num_processes)[accelerator.process_index]
        return mine

    return weights
