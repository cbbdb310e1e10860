"""The losses of the discriminator and the generator, as sums: functions of networks and tensors, each followed by one ``backward()``.

They do not depend on a loop, logger, optimiser, process or host value, and can be used in any training loop::

    loss, statistics = discriminator_loss(D, Examples(reals), Examples(fakes), Objective(Hinge(), penalty=R1(gamma=10.0)))
    loss.backward()

The split of mathematics and loop follows R3GAN's ``Trainer.py``.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gconv_gan.augment.adaptive import Augment, Scheduled
from gconv_gan.augment.weak_augment import weak_augment
from gconv_gan.losses.adversarial import AdversarialLoss
from gconv_gan.losses.consistency import Consistency
from gconv_gan.losses.double_backward import DoubleBackward
from gconv_gan.losses.lecam import LeCam
from gconv_gan.losses.penalties import Examples, Penalty, PenaltyInputs, in_full_precision, input_gradients, joined, with_gradient
from gconv_gan.losses.top_k import TopK

Statistics = dict[str, Tensor]
"""Detached scalars [] by name."""
Critic = Callable[[Tensor, Tensor | None], Tensor]
"""``critic(images, labels)``: logits [B]."""
Weights = Callable[[Tensor], Tensor]
"""``weights(logits)``: the factor on the loss of each image, with mean 1 over the batch."""


@dataclass(frozen=True)
class Objective:
    """The adversarial loss and the terms added to it; a term that is None is left out.

    ``apart``: real and generated images, and their transformed copies, pass through the discriminator in separate batches, as in DCGAN,
    because it couples the images of a batch: otherwise its batch statistics would be those of a mixture of real and generated images,
    whereas the generator's step has generated images alone.
    """

    loss: AdversarialLoss
    augment: Augment | None = None
    penalty: Penalty | None = None
    consistency: Consistency | None = None
    lecam: LeCam | None = None
    top_k: TopK | None = None
    apart: bool = False

    def seen(self, examples: Examples) -> Tensor:
        """Return the input of the discriminator: the images augmented with their own numbers."""
        if self.augment is None:
            return examples.images
        assert examples.draws is not None
        images: Tensor = self.augment(examples.images, examples.draws)
        return images

    def parts(self) -> dict[str, nn.Module]:
        """Return the parts that hold tensors."""
        parts = {"augment": self.augment, "lecam": self.lecam, "top_k": self.top_k}
        return {name: part for name, part in parts.items() if isinstance(part, nn.Module)}

    def to(self, device: torch.device) -> "Objective":
        """Move the tensors of all parts to ``device``; return this objective."""
        for part in self.parts().values():
            part.to(device)
        return self

    def state(self) -> dict[str, nn.Module]:
        """Return the parts that change from step to step, by the name of their file in a checkpoint."""
        return {name: part for name, part in self.parts().items() if part.state_dict()}

    def begin(self, images_seen: int) -> None:
        """Set the values that depend on the images seen, for the steps of the next iteration; call it outside of the steps."""
        for part in (self.augment, self.lecam, self.top_k):
            if isinstance(part, Scheduled):
                part.begin(images_seen)


class Numbers(NamedTuple):
    """Uniform numbers in [0, 1) for the parts of an objective in a discriminator step, and statistics of the whole batch."""

    real_twins: Float[Tensor, "b 3"] | None = None
    fake_twins: Float[Tensor, "b 3"] | None = None
    penalty: Float[Tensor, "b m"] | None = None
    real_std: Float[Tensor, ""] | None = None


NO_NUMBERS = Numbers()


def discriminator_loss(
    discriminator: Critic,
    reals: Examples,
    fakes: Examples,
    objective: Objective,
    numbers: Numbers = NO_NUMBERS,
    *,
    penalised: bool = True,
    penalty_factor: Float[Tensor, ""] | None = None,
    exact: nn.Module | None = None,
) -> tuple[Float[Tensor, ""], Statistics]:
    """Return the discriminator's loss, to be differentiated once, and detached scalars.

    Every image passes once. Real and generated images (and their transformed copies under consistency regularisation) share a pass, which
    halves the number of kernel launches. Images at which the penalty takes a gradient pass separately, so that the graph that is
    differentiated twice contains no others. The penalty is on the gradient with respect to the images before augmentation.

    Args:
        discriminator: ``discriminator(images, labels)``; if it averages gradients over processes, those of the penalty are included.
        reals: real images.
        fakes: generated images; their graph is not used.
        objective: the loss and what is added to it.
        numbers: the random numbers of its parts.
        penalised: whether this step has the objective's penalty (lazy regularisation has it in a part of the steps).
        penalty_factor: factor [] on the penalty, on the device, so that a captured step reads the current value; None: 1.
        exact: the bare discriminator, if ``discriminator`` runs under autocast or in TF32: the penalty is then computed from a pass of its
            own in float32, and so is its gradient; None: the penalty has the precision of the other terms.

    """
    fakes = fakes._replace(images=fakes.images.detach())
    penalty = objective.penalty if penalised else None
    inputs = PenaltyInputs(reals, fakes, numbers.penalty, numbers.real_std)
    statistics: Statistics = {}
    own_pass = penalty is not None and (exact is not None or penalty.where == "points")
    points = None if penalty is None or own_pass else with_gradient(penalty.points(inputs))
    alone: set[int] = set()
    if points is None:
        seen = list(objective.seen(joined(reals, fakes)).chunk(2))
    elif penalty is not None and penalty.where == "both":
        seen = list(objective.seen(points).chunk(2))
    else:
        place = ("reals", "fakes").index(str(penalty and penalty.where))
        pair = [reals, fakes]
        pair[place] = points
        seen, alone = [objective.seen(examples) for examples in pair], {place}
    labels = [reals.labels, fakes.labels]
    if objective.consistency is not None:
        assert numbers.real_twins is not None
        assert numbers.fake_twins is not None
        together = torch.cat([images.detach() for images in seen])
        seen += weak_augment(together, torch.cat([numbers.real_twins, numbers.fake_twins])).chunk(2)
        labels *= 2
    with nullcontext() if points is None else DoubleBackward():
        logits = _logits(discriminator, seen, labels, alone=set(range(len(seen))) if objective.apart else alone)
    real_logits, fake_logits = logits[:2]

    value = objective.loss.discriminator(real_logits, fake_logits).mean()
    total = value
    if objective.consistency is not None:
        inconsistency = objective.consistency(*logits)
        statistics["consistency"] = inconsistency.detach()
        total = total + inconsistency
    if objective.lecam is not None:
        lecam = objective.lecam(real_logits, fake_logits)
        statistics["lecam"] = lecam.detach()
        total = total + lecam
    if penalty is not None:
        if points is None:
            critic = discriminator if exact is None else exact

            def judged(examples: Examples) -> Tensor:
                return critic(objective.seen(examples), examples.labels)

            addend = penalty(judged, inputs) if exact is None else in_full_precision(penalty, exact, judged, inputs)
        else:
            at = torch.cat([logits[place] for place in sorted(alone) or (0, 1)])
            addend = penalty.value(input_gradients(at, points.images))
        statistics["penalty"] = addend.detach()
        total = total + (addend if penalty_factor is None else addend * penalty_factor)
    return total, {**statistics, "loss_d": value.detach(), **_logit_statistics(objective.loss, real_logits.detach(), fake_logits.detach())}


def generator_loss(
    discriminator: Critic, fakes: Examples, objective: Objective, *, reals: Examples | None = None, weights: Weights | None = None
) -> tuple[Float[Tensor, ""], Statistics]:
    """Return the generator's loss, to be differentiated once, and detached scalars; ``discriminator`` should be frozen.

    Args:
        discriminator: ``discriminator(images, labels)``.
        fakes: generated images, with their graph.
        objective: the loss and what is added to it.
        reals: real images, for a relativistic loss.
        weights: the factor on the loss of each image as a function of the logits; None: 1.

    """
    if reals is None:
        logits, real_logits = discriminator(objective.seen(fakes), fakes.labels), None
    else:
        seen = list(objective.seen(joined(fakes, reals)).chunk(2))
        logits, real_logits = _logits(discriminator, seen, [fakes.labels, reals.labels], alone={0, 1} if objective.apart else set())
        real_logits = real_logits.detach()
    losses = objective.loss.generator(logits, real_logits)
    value = (losses if weights is None else losses * weights(logits)).mean()
    return value, {"loss_g": value.detach()}


def _logits(critic: Critic, images: list[Tensor], labels: list[Tensor | None], *, alone: set[int]) -> list[Tensor]:
    """Return the logits of equal batches: one pass for each of those ``alone``, one pass for all others."""
    found: dict[int, Tensor] = {index: critic(images[index], labels[index]) for index in alone}
    rest = [index for index in range(len(images)) if index not in alone]
    if rest:
        known = [label for index in rest if (label := labels[index]) is not None]
        together = critic(torch.cat([images[index] for index in rest]), torch.cat(known) if known else None)
        found |= dict(zip(rest, together.chunk(len(rest)), strict=True))
    return [found[index] for index in range(len(images))]


def _logit_statistics(loss: AdversarialLoss, real: Tensor, fake: Tensor) -> Statistics:
    """Return mean logits, accuracies, and the mean sign of the real logits, relative to the loss's boundary between real and fake.

    For a loss without a boundary it is the midpoint of the two means.
    """
    middle = (real.mean() + fake.mean()) / 2 if loss.boundary is None else loss.boundary
    return {
        "d_real": real.mean(),
        "d_fake": fake.mean(),
        "accuracy_real": (real > middle).float().mean(),
        "accuracy_fake": (fake < middle).float().mean(),
        "sign_real": (real - middle).sign().mean(),
    }
