"""The two steps of adversarial training: functions of networks and tensors that accumulate gradients.

They know no loop, logger, optimiser or process. The micro-batches of a step share its gradient, each weighted by ``share`` (one
over their number). The split of mathematics and loop follows R3GAN's ``Trainer.py``.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.data.weak_augment import weak_augment
from gconv_gan.losses.penalties import Examples, PenaltyInputs, joined
from gconv_gan.runtime.modes import frozen, full_precision
from gconv_gan.training.objective import Objective, Weights

Backward = Callable[[Tensor], None]
Statistics = dict[str, Tensor]


class DiscriminatorInputs(NamedTuple):
    """One micro-batch of a discriminator step. Uniform numbers are there for those parts of the objective that need them."""

    reals: Float[Tensor, "b 3 s s"]
    real_labels: Int[Tensor, " b"] | None
    z: Float[Tensor, "b d"]
    fake_labels: Int[Tensor, " b"] | None
    real_draws: Float[Tensor, "b n"] | None = None
    fake_draws: Float[Tensor, "b n"] | None = None
    real_twin_draws: Float[Tensor, "b 3"] | None = None
    fake_twin_draws: Float[Tensor, "b 3"] | None = None
    penalty_noise: Float[Tensor, "b m"] | None = None
    real_std: Float[Tensor, ""] | None = None
    penalty_factor: Float[Tensor, ""] | None = None
    """None: a step without the penalty."""


class GeneratorInputs(NamedTuple):
    """One micro-batch of a generator step; the reals are there for a relativistic loss."""

    z: Float[Tensor, "b d"]
    fake_labels: Int[Tensor, " b"] | None
    fake_draws: Float[Tensor, "b n"] | None = None
    reals: Float[Tensor, "b 3 s s"] | None = None
    real_labels: Int[Tensor, " b"] | None = None
    real_draws: Float[Tensor, "b n"] | None = None


def d_step(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    inputs: DiscriminatorInputs,
    *,
    images_seen: int,
    backward: Backward,
    share: float = 1.0,
) -> Statistics:
    """Accumulate the discriminator's gradient on one micro-batch; return detached scalars.

    The fakes carry no graph. Real and fake (and their twins under consistency regularisation) go through the discriminator in
    one pass: half the launches. Where it couples the images of a batch (``objective.apart``) each goes alone, as in DCGAN: otherwise
    its statistics would be of a mixture that the generator's step, which shows it fakes alone, never has. The penalty comes first,
    through the bare network: where ``discriminator`` averages gradients over processes, the pass that follows takes the penalty's
    along.
    """
    with torch.no_grad():
        fakes = generator(inputs.z, inputs.fake_labels)
    real = Examples(inputs.reals, inputs.real_labels, inputs.real_draws)
    fake = Examples(fakes, inputs.fake_labels, inputs.fake_draws)
    statistics: Statistics = {}
    if inputs.penalty_factor is not None:
        assert objective.penalty is not None
        bare = getattr(discriminator, "module", discriminator)
        points = PenaltyInputs(real, fake, inputs.penalty_noise, inputs.real_std)
        with full_precision(bare):
            penalty = objective.penalty.value(lambda examples: bare(objective.seen(examples), examples.labels), points)
        backward(shared(penalty * inputs.penalty_factor, share))
        statistics["penalty"] = penalty.detach()

    both = joined(real, fake)
    seen, labels = objective.seen(both), both.labels
    if objective.consistency is None:
        real_logits, fake_logits = objective.logits(discriminator, seen, labels, parts=2)
        value = objective.loss.discriminator(real_logits, fake_logits).mean()
        total = value
    else:
        assert inputs.real_twin_draws is not None
        assert inputs.fake_twin_draws is not None
        twins = weak_augment(seen, torch.cat([inputs.real_twin_draws, inputs.fake_twin_draws]))
        all_labels = None if labels is None else torch.cat([labels, labels])
        all_logits = objective.logits(discriminator, torch.cat([seen, twins]), all_labels, parts=4)
        real_logits, fake_logits, real_twins, fake_twins = all_logits
        value = objective.loss.discriminator(real_logits, fake_logits).mean()
        inconsistency = objective.consistency(real_logits, fake_logits, real_twins, fake_twins)
        statistics["consistency"] = inconsistency.detach()
        total = value + inconsistency
    if objective.lecam is not None:
        lecam = objective.lecam(real_logits, fake_logits, images_seen=images_seen)
        statistics["lecam"] = lecam.detach()
        total = total + lecam
    backward(shared(total, share))
    return {**statistics, "loss_d": value.detach(), **logit_statistics(objective, real_logits.detach(), fake_logits.detach())}


def shared(value: Tensor, share: float) -> Tensor:
    """Return a micro-batch's part of a value; the value itself, without an operation, where there is one micro-batch."""
    return value if share == 1.0 else value * share


def logit_statistics(objective: Objective, real: Tensor, fake: Tensor) -> Statistics:
    """Return mean logits, accuracies, and the mean sign of the real logits, about the loss's boundary between real and fake.

    Where a loss has none, it lies halfway between the two means.
    """
    boundary = objective.loss.boundary
    middle = (real.mean() + fake.mean()) / 2 if boundary is None else boundary
    return {
        "d_real": real.mean(),
        "d_fake": fake.mean(),
        "accuracy_real": (real > middle).float().mean(),
        "accuracy_fake": (fake < middle).float().mean(),
        "sign_real": (real - middle).sign().mean(),
    }


def g_step(
    generator: nn.Module,
    discriminator: nn.Module,
    objective: Objective,
    inputs: GeneratorInputs,
    *,
    weights: Weights | None = None,
    backward: Backward,
    share: float = 1.0,
) -> Statistics:
    """Accumulate the generator's gradient on one micro-batch through a frozen discriminator; return detached scalars."""
    with frozen(discriminator):
        fake = Examples(generator(inputs.z, inputs.fake_labels), inputs.fake_labels, inputs.fake_draws)
        real_logits = None
        if inputs.reals is None:
            logits = discriminator(objective.seen(fake), fake.labels)
        else:
            both = joined(fake, Examples(inputs.reals, inputs.real_labels, inputs.real_draws))
            logits, real_logits = objective.logits(discriminator, objective.seen(both), both.labels, parts=2)
            real_logits = real_logits.detach()
        losses = objective.loss.generator(logits, real_logits)
        value = (losses if weights is None else losses * weights(logits)).mean()
        backward(shared(value, share))
    return {"loss_g": value.detach()}
