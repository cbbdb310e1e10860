"""The two steps of adversarial training: functions of networks and tensors that accumulate gradients.

They know no loop, logger, optimiser or process. The micro-batches of a step share its gradient, each weighted by ``share`` (one
over their number). The split of mathematics and loop follows R3GAN's ``Trainer.py``.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gconv_gan.losses.adversarial import AdversarialLoss
from gconv_gan.runtime.modes import frozen

Backward = Callable[[Tensor], None]
Statistics = dict[str, Tensor]


def d_step(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    reals: Float[Tensor, "b 3 s s"],
    real_labels: Int[Tensor, " b"] | None,
    z: Float[Tensor, "b d"],
    fake_labels: Int[Tensor, " b"] | None,
    backward: Backward,
    share: float = 1.0,
) -> Statistics:
    """Accumulate the discriminator's gradient on one micro-batch; return detached scalars.

    The fakes carry no graph. Real and fake go through the discriminator in one pass: half the launches, and one state of any
    normalisation for both.
    """
    with torch.no_grad():
        fakes = generator(z, fake_labels)
    labels = None if real_labels is None or fake_labels is None else torch.cat([real_labels, fake_labels])
    real_logits, fake_logits = discriminator(torch.cat([reals, fakes]), labels).chunk(2)
    value = loss.discriminator(real_logits, fake_logits)
    backward(value * share)
    return {
        "loss_d": value.detach(),
        "d_real": real_logits.detach().mean(),
        "d_fake": fake_logits.detach().mean(),
        "accuracy_real": (real_logits.detach() > 0).float().mean(),
        "accuracy_fake": (fake_logits.detach() < 0).float().mean(),
    }


def g_step(
    generator: nn.Module,
    discriminator: nn.Module,
    loss: AdversarialLoss,
    *,
    z: Float[Tensor, "b d"],
    fake_labels: Int[Tensor, " b"] | None,
    backward: Backward,
    share: float = 1.0,
) -> Statistics:
    """Accumulate the generator's gradient on one micro-batch through a frozen discriminator; return detached scalars."""
    with frozen(discriminator):
        value = loss.generator(discriminator(generator(z, fake_labels), fake_labels))
        backward(value * share)
    return {"loss_g": value.detach()}
